"""What each operation of a queue leaves in its rows: ids, unique keys, times, rates, retention, batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.durable.tasks.conftest import Clock
from tests.durable.tasks.desk import NAME, Desk, desks

import koboshi as kb
from koboshi.durable.stores import MemoryEngine, SqliteEngine
from koboshi.durable.tasks._batches import PutBatch, read_batches
from koboshi.durable.tasks._claim import Strays


@pytest.fixture
async def desk(clock: Clock) -> AsyncIterator[Desk]:
    async with desks(1, lambda: MemoryEngine("rows", clock=clock)) as [found]:
        yield found


# -- ids and keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ready", "later", "claimed", "done", "dead", "cancelled"])
async def test_an_id_is_put_once_whatever_has_become_of_its_task(desk: Desk, state: str) -> None:
    await desk.put(id="one", delay=60.0 if state == "later" else None, number=1)
    if state not in ("ready", "later"):
        [claimed] = await desk.claim()
        if state == "cancelled":
            await desk.cancel("one")
        elif state != "claimed":
            await desk.settle(claimed, state, keep=100.0, report="boom" if state == "dead" else None)
    before = await desk.info("one")

    again = await desk.put(id="one", number=2, priority=9)

    assert ("one", False) == again
    assert before == await desk.info("one")
    assert state == await desk.state("one")


async def test_an_id_is_free_again_when_its_result_is_not_kept_any_more(desk: Desk, clock: Clock) -> None:
    await desk.put(id="one")
    [claimed] = await desk.claim()
    await desk.settle(claimed, keep=100.0)
    clock.advance(99.0)
    early = await desk.purge()
    clock.advance(1.0)
    late = await desk.purge()

    assert (0, 1) == (early, late)
    assert ("one", True) == await desk.put(id="one")


@pytest.mark.parametrize("end", ["done", "dead", "cancelled"])
async def test_a_unique_key_is_free_as_soon_as_its_task_has_ended(desk: Desk, clock: Clock, end: str) -> None:
    first, _ = await desk.put(unique="user 1")
    while_ready = await desk.put(unique="user 1")
    [claimed] = await desk.claim()
    while_claimed = await desk.put(unique="user 1")
    await desk.settle(claimed, "retry", delay=10.0)
    while_later = await desk.put(unique="user 1")
    clock.advance(10.0)
    [claimed] = await desk.claim()
    if end == "cancelled":
        await desk.cancel(first)
    else:
        await desk.settle(claimed, end)

    assert [(first, False)] * 3 == [while_ready, while_claimed, while_later]
    assert (await desk.put(unique="user 1"))[1]


async def test_of_two_with_one_id_in_one_transaction_the_first_is_put(desk: Desk) -> None:
    queue = desk.queue
    async with kb.Supervisor(queue.producer()):
        jobs = await queue.put_many(echoed, [1, 2, 1], ids=str)
        infos = [await job.info() for job in jobs]

    assert [True, True, False] == [job.new for job in jobs]
    assert ["1", "2", "1"] == [info.id for info in infos if info is not None]


@kb.task
async def echoed(number: int) -> int:
    return number


# -- times -------------------------------------------------------------------------------------------------------


async def test_a_task_waits_for_its_time_and_no_longer(desk: Desk, clock: Clock) -> None:
    await desk.put(id="by time", run_at=clock.now + 30.0)
    await desk.put(id="by delay", delay=20.0)
    await desk.put(id="past", run_at=clock.now - 30.0)
    found = await desk.claims()
    due: dict[float, list[str]] = {}
    for second in (19.0, 1.0, 9.0, 1.0):
        clock.advance(second)
        due[clock.now] = [each.id for each in await desk.claim()]

    assert ["past"] == [each.id for each in found.claimed]
    assert clock.now - 10.0 == found.next_due
    assert [[], ["by delay"], [], ["by time"]] == list(due.values())


async def test_a_clock_that_is_set_back_does_not_run_a_task_early(desk: Desk, clock: Clock) -> None:
    await desk.put(run_at=clock.now + 10.0)
    clock.advance(-3_600.0)

    assert [] == await desk.claim()


async def test_those_whose_time_has_come_keep_to_their_priority(desk: Desk, clock: Clock) -> None:
    for number, priority in enumerate([0, 5, -5, 5]):
        await desk.put(id=f"{number}", priority=priority, delay=10.0 - number)
    clock.advance(10.0)

    assert ["3", "1", "0", "2"] == [each.id for each in await desk.claim()]


async def test_more_due_tasks_than_one_look_moves_are_moved_by_the_next_ones(
    desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("koboshi.durable.tasks._claim._PORTION", 3)
    for number in range(7):
        await desk.put(id=f"{number}", delay=1.0 + number)
    clock.advance(10.0)
    looks = [await desk.claims(10) for _ in range(4)]

    assert [3, 3, 1, 0] == [len(each.claimed) for each in looks]
    # There is more: the next look is due at once.
    assert [clock.now, clock.now, None, None] == [each.next_due for each in looks]


# -- rates -------------------------------------------------------------------------------------------------------


async def test_a_rate_starts_so_many_in_its_time_and_a_burst_after_a_quiet_one(
    desk: Desk, clock: Clock
) -> None:
    rate = kb.Rate(10, per=1.0, burst=4)
    for _ in range(100):
        await desk.put()
    started = []
    for _ in range(20):
        started.append(len(await desk.claim(50, rate)))
        clock.advance(0.05)
    clock.advance(5.0)
    after_quiet = len(await desk.claim(50, rate))

    assert 4 == started[0]
    # One in a tenth of a second, after the four at once.
    assert 4 + 9 == sum(started)
    assert 4 == after_quiet


async def test_several_programs_keep_to_one_rate(tmp_path: object, clock: Clock) -> None:
    rate = kb.Rate(5, per=1.0, burst=5)
    async with desks(3, lambda: SqliteEngine(f"{tmp_path}/rate.db", clock=clock)) as programs:
        for _ in range(60):
            await programs[0].put()
        started = 0
        for _ in range(9):
            for each in programs:
                started += len(await each.claim(10, rate))
            clock.advance(0.25)

    assert 5 + 10 == started


async def test_a_rate_holds_nothing_back_where_nothing_waits(desk: Desk) -> None:
    found = await desk.claims(10, kb.Rate(1, per=60.0))

    assert ([], 0.0) == (found.claimed, found.wait)


async def test_a_transaction_whose_time_is_a_moment_earlier_gets_its_share_of_the_burst(
    desk: Desk, clock: Clock
) -> None:
    rate = kb.Rate(1, per=60.0, burst=7)
    for _ in range(20):
        await desk.put()
    first = len(await desk.claim(5, rate))
    clock.advance(-0.05)
    second = len(await desk.claim(5, rate))
    clock.advance(60.0)
    later = len(await desk.claim(5, rate))

    assert (5, 2, 1) == (first, second, later)


async def test_a_rate_does_not_stand_still_after_the_clock_was_ahead(desk: Desk, clock: Clock) -> None:
    rate = kb.Rate(1, per=1.0, burst=2)
    for _ in range(9):
        await desk.put()
    clock.advance(18_000.0)
    ahead = len(await desk.claim(10, rate))
    clock.advance(-18_000.0)
    started = []
    for _ in range(4):
        started.append(len(await desk.claim(10, rate)))
        clock.advance(1.0)

    assert 2 == ahead
    assert [0, 1, 1, 1] == started


# -- retention ---------------------------------------------------------------------------------------------------


async def test_results_are_forgotten_in_their_time_and_dead_letters_are_not(desk: Desk, clock: Clock) -> None:
    for id in ("done", "for ever", "dead", "cancelled", "waiting"):
        await desk.put(id=id, priority=0 if id == "waiting" else 1)
    for each in await desk.claim(4):
        if each.id == "cancelled":
            await desk.cancel(each.id, keep=50.0)
        else:
            kind = "dead" if each.id == "dead" else "done"
            await desk.settle(each, kind, keep=None if each.id == "for ever" else 50.0)
    clock.advance(50.0)
    gone = await desk.purge()
    clock.advance(1e9)
    await desk.purge()

    assert 2 == gone
    assert [None, "done", "dead", None, "ready"] == [
        await desk.state(id) for id in ("done", "for ever", "dead", "cancelled", "waiting")
    ]


async def test_dead_letters_are_kept_for_as_long_as_the_queue_says(desk: Desk, clock: Clock) -> None:
    await desk.put(id="old")
    await desk.settle((await desk.claim())[0], "dead")
    clock.advance(60.0)
    await desk.put(id="young")
    await desk.settle((await desk.claim())[0], "dead")
    clock.advance(40.0)
    gone = await desk.purge(keep_dead=100.0)

    assert 1 == gone
    assert (None, "dead") == (await desk.state("old"), await desk.state("young"))


async def test_a_batch_is_known_of_for_as_long_as_the_result_of_its_last_task(
    desk: Desk, clock: Clock
) -> None:
    rows = [desk.row(id=f"{number}")._replace(batch="all") for number in range(2)]
    await desk.store.run(PutBatch(NAME, "all", rows, None, 50.0))
    for each in await desk.claim():
        await desk.settle(each, keep=50.0)
        clock.advance(40.0)
    before = await desk.store.read(lambda session: read_batches(session, [(NAME, "all")]))
    clock.advance(9.0)
    await desk.purge()
    kept = await desk.store.read(lambda session: read_batches(session, [(NAME, "all")]))
    clock.advance(1.0)
    await desk.purge()
    after = await desk.store.read(lambda session: read_batches(session, [(NAME, "all")]))

    assert (2, 0, 0) == (before[0].total, before[0].pending, before[0].failed)
    assert (before, []) == (kept, after)


async def test_a_batch_that_waits_is_never_forgotten(desk: Desk, clock: Clock) -> None:
    await desk.store.run(PutBatch(NAME, "all", [desk.row()._replace(batch="all")], None, 50.0))
    clock.advance(1e9)
    await desk.purge()

    assert await desk.store.read(lambda session: read_batches(session, [(NAME, "all")]))


# -- claims ------------------------------------------------------------------------------------------------------


async def test_what_settles_a_claim_that_is_somebody_elses_by_now_changes_nothing(desk: Desk) -> None:
    await desk.put(id="one")
    [lost] = await desk.claim()
    await desk.recover(own=True)
    [again] = await desk.claim()
    late = [await desk.settle(lost, kind) for kind in ("done", "retry", "dead", "release")]
    held = await desk.info("one")

    assert [False] * 4 == late
    assert held is not None
    assert ("claimed", 1) == (held.state, held.attempts)
    assert await desk.settle(again)


async def test_a_settlement_that_is_repeated_holds_and_is_not_done_twice(desk: Desk) -> None:
    rows = [desk.row(id=f"{number}")._replace(batch="all") for number in range(2)]
    await desk.store.run(PutBatch(NAME, "all", rows, None, 50.0))
    [first, _] = await desk.claim()
    held = [await desk.settle(first), await desk.settle(first)]
    [batch] = await desk.store.read(lambda session: read_batches(session, [(NAME, "all")]))

    assert [True, True] == held
    assert 1 == batch.pending


@pytest.mark.parametrize("other", ["cancelled", "recorded before"])
async def test_effects_of_a_commit_happen_beside_a_settlement_that_changes_nothing(
    desk: Desk, other: str
) -> None:
    rows = [desk.row(id=f"{number}")._replace(batch="all") for number in range(3)]
    await desk.store.run(PutBatch(NAME, "all", rows, desk.row(id="then"), 50.0))
    claims = await desk.claim()
    if other == "cancelled":
        await desk.cancel(claims[1].id)
    else:
        await desk.settle(claims[1])
    # What is asked for in one tick is one commit.
    held = await asyncio.gather(
        *(desk.settle(each, rows=[desk.row(id=f"after {each.id}")]) for each in claims)
    )

    assert [True, other != "cancelled", True] == held
    assert ["ready", None, "ready"] == [await desk.state(f"after {each.id}") for each in claims]
    assert "ready" == await desk.state("all.then")


async def test_claims_of_ours_that_we_do_not_know_of_are_freed_and_no_others(desk: Desk) -> None:
    for id in ("known", "stray"):
        await desk.put(id=id)
    claimed = {each.id: each for each in await desk.claim()}
    freed = await desk.store.run(Strays(NAME, desk.store.host, frozenset({"known"})))
    stray = await desk.info("stray")

    assert 1 == freed
    assert stray is not None
    assert ("ready", 0, 0) == (stray.state, stray.attempts, stray.interruptions)
    assert await desk.settle(claimed["known"])
    assert not await desk.settle(claimed["stray"])


async def test_a_cancelled_claim_is_lost_to_whoever_runs_it(desk: Desk) -> None:
    await desk.put(id="one")
    [claimed] = await desk.claim()
    cancelled = [await desk.cancel("one"), await desk.cancel("one"), await desk.cancel("nobody")]

    assert [True, False, False] == cancelled
    assert not await desk.settle(claimed)
    assert "cancelled" == await desk.state("one")


async def test_only_dead_letters_are_requeued_and_they_have_all_their_attempts_again(desk: Desk) -> None:
    for id in ("dead", "done", "ready"):
        await desk.put(id=id, priority={"ready": 0}.get(id, 1))
    for each in await desk.claim(2):
        await desk.settle(each, each.id, keep=50.0)
    found = await desk.requeue("dead", "done", "ready", "nobody")
    again = await desk.info("dead")
    [next_one] = await desk.claim(1)

    assert 1 == found
    assert again is not None
    assert ("ready", 0, 0) == (again.state, again.attempts, again.interruptions)
    assert "dead" == next_one.id  # it keeps its priority
    assert "done" == await desk.state("done")


async def test_put_keeps_to_the_limit_and_counts_what_waits_for_its_time(desk: Desk) -> None:
    found = [(await desk.put(limit=3, delay=delay))[1] for delay in (None, 60.0, None, None)]
    await desk.claim(1)
    room = (await desk.put(limit=3))[1]

    assert [True, True, True, False] == found
    assert room
