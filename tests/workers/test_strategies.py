"""Who gets a job: the least busy worker, each in turn, or always the same for a key."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.hosted import Journalist
from tests.workers.rig import pool_of
from tests.workers.test_dispatch import TAKER, batch

import koboshi as kb
from koboshi.workers.pool._batch import Batch
from koboshi.workers.pool._dispatch import Dispatcher

pytestmark = pytest.mark.usefixtures("fork_server")


def bound(lane: int, *numbers: int, retries: int = 0) -> Batch:
    made = batch(*numbers, retries=retries)
    made.lane = lane
    return made


def given(dispatcher: Dispatcher[str]) -> list[tuple[str, list[Any]]]:
    return [(each.worker, each.batch.tags or []) for each in dispatcher.assign(0.0)]


def settle(dispatcher: Dispatcher[str], worker: str, count: int = 1) -> None:
    for _ in dispatcher.settle(worker, [None] * count, 1.0):
        pass


# -- decisions -----------------------------------------------------------------------------------


def test_in_turn_each_job_goes_to_the_next_worker_and_a_busy_one_is_passed_over() -> None:
    dispatcher: Dispatcher[str] = Dispatcher(in_turn=True)
    for lane, worker in enumerate("abc"):
        dispatcher.add_worker(worker, lane=lane)
    dispatcher.enqueue(batch(*range(8)))
    first = given(dispatcher)
    settle(dispatcher, "c")
    settle(dispatcher, "b")

    assert [("a", [0]), ("b", [1]), ("c", [2])] == first
    assert [("b", [3]), ("c", [4])] == given(dispatcher)


def test_in_turn_a_replacement_has_the_turn_of_the_worker_before_it() -> None:
    dispatcher: Dispatcher[str] = Dispatcher(in_turn=True)
    for lane, worker in enumerate("abc"):
        dispatcher.add_worker(worker, lane=lane)
    dispatcher.remove_worker("a", running=False)
    dispatcher.add_worker("d", lane=0)
    dispatcher.enqueue(batch(0, 1, 2))

    assert ["d", "b", "c"] == [worker for worker, _ in given(dispatcher)]


def test_jobs_of_a_lane_wait_for_its_worker_and_hold_up_nobody_else() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a", lane=0)
    dispatcher.add_worker("b", lane=1)
    dispatcher.enqueue(bound(0, 1, 2))
    dispatcher.enqueue(bound(1, 3))
    dispatcher.enqueue(batch(4))

    assert [("a", [1]), ("b", [3])] == given(dispatcher)
    settle(dispatcher, "b")
    assert [("b", [4])] == given(dispatcher)
    settle(dispatcher, "a")
    assert [("a", [2])] == given(dispatcher)


def test_the_older_of_a_lanes_job_and_a_common_one_goes_first() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a", lane=0)
    order = []
    for number in range(6):
        dispatcher.enqueue(bound(0, number) if number % 2 else batch(number))
    while told := given(dispatcher):
        for _, tags in told:
            order += tags
            settle(dispatcher, "a", len(tags))

    assert [0, 1, 2, 3, 4, 5] == order


def test_what_a_dead_worker_had_not_begun_waits_for_its_successor_in_order() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a", lane=0)
    dispatcher.add_worker("b", lane=1)
    dispatcher.enqueue(bound(0, 0))
    given(dispatcher)
    for _ in dispatcher.settle("a", [None], 0.001):
        pass
    dispatcher.enqueue(bound(0, 1, 2, 3, retries=1))
    given(dispatcher)
    assert [] == dispatcher.remove_worker("a", running=True)
    dispatcher.enqueue(bound(0, 4))

    assert [] == given(dispatcher)
    dispatcher.add_worker("c", lane=0)
    order = []
    while told := given(dispatcher):
        for worker, tags in told:
            assert "c" == worker
            order += tags
            settle(dispatcher, worker, len(tags))
    assert [1, 2, 3, 4] == order


def test_a_replacement_gets_no_job_of_the_lane_while_the_one_before_it_has_some() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("old", lane=0)
    dispatcher.enqueue(bound(0, 1, 2))
    given(dispatcher)
    dispatcher.retire("old")
    dispatcher.add_worker("new", lane=0)

    assert [] == given(dispatcher)
    settle(dispatcher, "old")
    assert [("new", [2])] == given(dispatcher)


def test_given_up_and_cleared_jobs_of_lanes_are_counted_out() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.enqueue(bound(1, 1, 2))
    dispatcher.enqueue(batch(3))
    dispatcher.enqueue(bound(0, 4))
    TAKER.given_up.add(1)
    dispatcher.abandon()

    assert 3 == dispatcher.statistics().queued
    TAKER.given_up.clear()
    assert [[2], [3], [4]] == [each.tags for each in dispatcher.clear_queue()]
    assert 0 == dispatcher.load


# -- with processes -------------------------------------------------------------------------------


async def test_round_robin_gives_jobs_out_in_turn() -> None:
    async with pool_of(3, strategy="round_robin") as pool:
        pids = [await pool.call(jobs.pid) for _ in range(9)]

    assert pids[:3] * 3 == pids
    assert 3 == len(set(pids))


async def test_the_same_key_goes_to_the_same_worker() -> None:
    async with pool_of(2, strategy="by_key") as pool:
        seen = {
            key: {await pool.jobs.by_key(key).call(jobs.pid) for _ in range(5)}
            for key in (0, 1, 2, "a", "b", "c", "d", "e", "f", "g")
        }

    assert {1} == {len(pids) for pids in seen.values()}
    assert seen[0] == seen[2] != seen[1]
    assert 2 == len(set.union(*(pids for key, pids in seen.items() if isinstance(key, str))))


async def test_a_key_keeps_its_place_after_a_crash_and_the_others_do_not_wait(tmp_path: Path) -> None:
    announce, release = tmp_path / "announce", tmp_path / "release"
    for path in (announce, release):
        os.mkfifo(path)
    async with pool_of(2, strategy="by_key") as pool:
        even, odd = pool.jobs.by_key(0), pool.jobs.by_key(1)
        other = await odd.call(jobs.pid)
        hit = asyncio.ensure_future(even.call(jobs.announce_and_wait, str(announce), str(release)))
        victim = int(await asyncio.to_thread(announce.read_text))
        behind = [asyncio.ensure_future(even.call(jobs.append_to_shared, n)) for n in range(20)]
        os.kill(victim, signal.SIGKILL)
        assert other == await odd.call(jobs.pid)
        with pytest.raises(kb.WorkerCrashed):
            await hit
        lengths = [len(each) for each in await asyncio.gather(*behind)]
        successor = await even.call(jobs.pid)

    assert list(range(1, 21)) == lengths
    assert successor not in (victim, other)


async def test_jobs_of_a_key_stay_in_order_while_processes_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with pool_of(2, strategy="by_key", max_jobs=7) as pool:
        results = pool.jobs.by_key("k").map_unordered(jobs.log_number, [(str(log), n) for n in range(100)])
        assert 100 == len([result async for result in results])

    assert list(range(100)) == [int(line) for line in log.read_text().split()]


async def test_messages_to_pooled_actors_go_by_their_first_argument_or_by_the_key_function() -> None:
    by_first = kb.pool(kb.child(Journalist), size=2, strategy="by_key").options(id="first")
    by_name = kb.pool(kb.child(Journalist), size=2, strategy="by_key", key=by_topic).options(id="topic")
    async with kb.Supervisor(by_first, by_name) as tree:
        first, topic = tree.ref(Journalist, "first"), tree.ref(Journalist, "topic")
        for n in range(10):
            assert n // 2 + 1 == await first.call(Journalist.note, n % 2, topic="x")
            assert n + 1 == await topic.call(Journalist.note, n, topic="x")


async def test_a_key_function_that_fails_fails_that_message_alone() -> None:
    spec = kb.pool(kb.child(Journalist), size=1, strategy="by_key", key=by_topic).options(id="p")
    async with kb.Supervisor(spec) as tree:
        ref = tree.ref(Journalist, "p")
        with pytest.raises(ZeroDivisionError):
            await ref.call(Journalist.note, 0, topic="bad")
        with pytest.raises(kb.UsageError, match="a key is an int"):
            await ref.call(Journalist.note, 0, topic="list")

        assert 1 == await ref.call(Journalist.note, 0, topic="good")


def by_topic(number: int, *, topic: str) -> object:
    if topic == "bad":
        return 1 // 0
    return [topic] if topic == "list" else topic


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: kb.pool(strategy="random"), "strategy is one of 'least_busy', 'round_robin', 'by_key'"),  # type: ignore[call-overload]
        (lambda: kb.pool(strategy="by_key", min=1, max=2), 'strategy="by_key" takes a fixed size'),
        (lambda: kb.pool(strategy="by_key", key=abs), "key is for pools of actors"),  # type: ignore[call-overload]
        (lambda: kb.pool(kb.child(Journalist), key=abs), 'key means nothing with strategy="least_busy"'),
        (lambda: kb.pool(kb.child(Journalist), strategy="by_key", key=1), "key takes a function"),  # type: ignore[call-overload]
    ],
)
def test_options_that_make_no_sense_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(kb.UsageError, match=says):
        make()


async def test_by_key_is_refused_where_it_would_mean_nothing() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(kb.UsageError, match='by_key is for pools with strategy="by_key"'):
            await pool.jobs.by_key(1).call(jobs.pid)
        with pytest.raises(kb.UsageError, match="by_key is for call and maps"):
            pool.jobs.by_key(1).as_executor()
        with pytest.raises(kb.UsageError, match="a key is an int"):
            pool.jobs.by_key([1])  # type: ignore[arg-type]
