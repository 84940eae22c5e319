"""`max_concurrency`: several jobs in hand of one worker, and what its death costs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.workers import concurrent_jobs as jobs
from tests.workers.hosted import Announcing
from tests.workers.rig import descriptors, pool_of, read_line

import koboshi as kb
from koboshi.workers import ResultNotPicklable

pytestmark = pytest.mark.usefixtures("fork_server")


@asynccontextmanager
async def meetings(**options: Any) -> AsyncIterator[kb.ActorRef[jobs.Meeting]]:
    async with kb.Supervisor(kb.pool(kb.child(jobs.Meeting), size=1, **options).options(id="pool")) as tree:
        yield tree.ref(jobs.Meeting, "pool")


async def test_as_many_coroutines_as_allowed_overlap_in_one_process() -> None:
    async with pool_of(1, max_concurrency=8) as pool:
        [pid] = await pool.whole()
        met = await asyncio.gather(*(pool.jobs.call(jobs.meet, 8) for _ in range(8)))

        assert [pid] * 8 == met


async def test_never_more_than_allowed_are_in_hand() -> None:
    async with pool_of(1, max_concurrency=3) as pool:
        most = await asyncio.gather(*(pool.jobs.call(jobs.crowd, 20) for _ in range(50)))

        assert 3 == max(most)


async def test_plain_functions_run_one_at_a_time_on_the_main_thread_without_a_running_loop() -> None:
    async with pool_of(1, max_concurrency=4) as pool:
        seen = await asyncio.gather(*(pool.jobs.call(jobs.plain, 20) for _ in range(12)))

        assert {(1, True)} == set(seen)


async def test_a_plain_function_runs_beside_a_coroutine_that_waits() -> None:
    async with pool_of(1, max_concurrency=2) as pool:
        waiting = asyncio.create_task(pool.jobs.call(jobs.meet, 2))
        pid = await pool.jobs.call(jobs.pid_of, 0)
        assert not waiting.done()

        assert [pid, pid] == await asyncio.gather(pool.jobs.call(jobs.meet, 2), waiting)


@pytest.mark.slow
async def test_a_map_keeps_the_order_of_its_items_although_they_end_the_other_way_round() -> None:
    async with pool_of(1, max_concurrency=5) as pool:
        results = [number async for number in pool.jobs.map(_backwards_of_five, range(5))]
        unordered = [number async for number in pool.map_unordered(_second_backwards_of_five, range(10, 15))]

        assert [0, 1, 2, 3, 4] == results
        assert [14, 13, 12, 11, 10] == unordered


async def _backwards_of_five(number: int) -> int:
    return await jobs.backwards(number, 4)


async def _second_backwards_of_five(number: int) -> int:
    return await jobs.backwards(number, 14)


@pytest.mark.slow
async def test_a_stream_of_thousands_comes_whole_and_in_order_from_two_workers() -> None:
    async with pool_of(2, max_concurrency=16) as pool:
        async with pool.jobs.stream(_echo, range(3000)) as stream:
            results = [number async for number in stream]

        statistics = await pool.statistics()
        assert list(range(3000)) == results
        assert (3000, 0, 0) == (statistics.done, statistics.failed, statistics.running)


async def _echo(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def test_each_failure_is_its_own_and_costs_nobody_anything() -> None:
    async with pool_of(1, max_concurrency=5) as pool:
        [pid] = await pool.whole()
        both = [asyncio.create_task(pool.jobs.call(jobs.meet, 2))]
        with pytest.raises(LookupError, match="one"):
            await pool.jobs.call(jobs.fail, "one")
        with pytest.raises(kb.RemoteError, match="SystemExit"):
            await pool.jobs.call(jobs.leave)
        with pytest.raises(ResultNotPicklable, match="lock"):
            await pool.jobs.call(jobs.unpicklable)
        with pytest.raises(ModuleNotFoundError):
            await pool.jobs.call(_Absent())
        both.append(asyncio.create_task(pool.jobs.call(jobs.meet, 2)))

        assert [pid, pid] == await asyncio.gather(*both)
        assert 4 == (await pool.statistics()).failed


class _Absent:
    """Cannot be unpacked in a worker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("no_such_module_at_all",)

    def __call__(self) -> None:
        """Never runs."""


async def test_results_of_all_sizes_arrive_and_one_over_the_limit_is_told() -> None:
    async with pool_of(1, max_concurrency=4, frame_limit=2_000_000) as pool:
        sizes = [1, 100, 300_000, 1_900_000] * 2
        results = await asyncio.gather(*(pool.jobs.call(jobs.large, size) for size in sizes))
        with pytest.raises(kb.FrameTooLarge):
            await pool.jobs.call(jobs.large, 2_100_000)

        assert sizes == list(map(len, results))


async def test_large_buffers_travel_by_shared_memory_and_leave_no_descriptor() -> None:
    async with pool_of(1, max_concurrency=4) as pool:
        await pool.jobs.call(jobs.buffer, bytearray(10))
        before = descriptors()
        sent = [bytearray([number]) * 4_000_000 for number in range(8)]
        results = await asyncio.gather(*(pool.jobs.call(jobs.buffer, each) for each in sent))

        assert [bytes(each) for each in sent] == [bytes(each) for each in results]
        del results
        assert before == descriptors()


async def test_a_kill_hits_exactly_the_jobs_that_had_begun(tmp_path: Path) -> None:
    pipes = [tmp_path / str(number) for number in range(3)]
    async with pool_of(1, max_concurrency=4) as pool:
        begun: list[asyncio.Task[Any]] = []
        for path in pipes:
            os.mkfifo(path)
            # The last is a plain function: what comes behind it has to wait.
            function: Any = jobs.hold if path is pipes[-1] else jobs.wait_forever
            begun.append(asyncio.create_task(pool.jobs.call(function, str(path))))
            victim = int(await read_line(path))
        behind = [asyncio.create_task(pool.jobs.call(jobs.pid_of, 0)) for _ in range(20)]
        await asyncio.sleep(0)
        statistics = await pool.statistics()
        assert (4, 19) == (statistics.running, statistics.queued)
        os.kill(victim, signal.SIGKILL)
        crashes = await asyncio.gather(*begun, return_exceptions=True)
        done = await asyncio.gather(*behind)

        for crash in crashes:
            assert isinstance(crash, kb.WorkerCrashed)
            assert (victim, "SIGKILL", True) == (crash.exit.pid, crash.exit.name, crash.maybe_executed)
        assert victim not in done
        statistics = await pool.statistics()
        assert (1, 0, 20) == (statistics.crashed, statistics.retried, statistics.done)
        assert "wait_forever" in str((await pool.death()).function)
        await pool.whole()
        assert 1 == (await pool.statistics()).restarts


async def test_the_death_of_one_worker_is_nothing_to_those_in_hand_of_another(tmp_path: Path) -> None:
    pipes = [tmp_path / str(number) for number in range(2)]
    for path in pipes:
        os.mkfifo(path)
    async with pool_of(2, max_concurrency=3) as pool:
        await pool.whole()
        running = [asyncio.create_task(pool.jobs.call(jobs.announce, str(path), 2)) for path in pipes]
        # The less busy of two gets the next job, so each has one.
        victim, survivor = [int(await read_line(path)) for path in pipes]
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(kb.WorkerCrashed):
            await running[0]
        assert not running[1].done()
        while await pool.jobs.call(jobs.arrive) != survivor:
            pass

        assert survivor == await running[1]


async def test_a_page_that_makes_no_sense_at_a_death_counts_all_jobs_of_the_worker_as_begun() -> None:
    async with pool_of(1, max_concurrency=3, retries=0) as pool:
        await pool.whole()
        jobs_in_hand = [pool.jobs.call(jobs.overwrite_the_page, 2**40), pool.jobs.call(jobs.pid_of, 0)]
        ends = await asyncio.gather(*jobs_in_hand, return_exceptions=True)

        assert [kb.WorkerCrashed] * 2 == list(map(type, ends))


async def test_a_child_that_comes_back_from_a_job_answers_for_nobody() -> None:
    async with pool_of(1, max_concurrency=3) as pool:
        met = asyncio.create_task(pool.jobs.call(jobs.meet, 2))
        assert 1 == await pool.jobs.call(jobs.fork_and_return)

        assert 1 == len({*await asyncio.gather(met, pool.jobs.call(jobs.meet, 2))})


async def test_jobs_that_had_begun_run_again_where_that_was_declared(tmp_path: Path) -> None:
    pipes = [tmp_path / str(number) for number in range(2)]
    for path in pipes:
        os.mkfifo(path)
    async with pool_of(1, max_concurrency=3, retries=1) as pool:
        running = [asyncio.create_task(pool.jobs.call(jobs.announce, str(path), 3)) for path in pipes]
        first = {int(await read_line(path)) for path in pipes}
        [victim] = first
        os.kill(victim, signal.SIGKILL)
        second = {int(await read_line(path)) for path in pipes}

        assert second == set(await asyncio.gather(*running, pool.jobs.call(jobs.meet, 3, "announced")))
        assert first.isdisjoint(second)
        assert (2, 1) == ((await pool.statistics()).retried, (await pool.statistics()).crashed)


async def test_a_job_that_kills_every_worker_is_put_aside() -> None:
    async with pool_of(1, max_concurrency=2, retries=9, quarantine=2) as pool:
        with pytest.raises(kb.Quarantined) as caught:
            await pool.jobs.call(jobs.die_beside, 1, "alone")

        assert ["SIGKILL", "SIGKILL"] == [exit.name for exit in caught.value.dossier.exits]


@pytest.mark.slow
async def test_a_coroutine_over_its_time_is_cancelled_and_its_worker_goes_on(pipe: Path) -> None:
    async with pool_of(1, max_concurrency=3, timeout=0.3) as pool:
        late = asyncio.create_task(pool.jobs.call(jobs.wait_forever, str(pipe)))
        pid = int(await read_line(pipe))
        assert "cancelled" == await read_line(pipe)
        with pytest.raises(kb.JobTimeout, match=r"longer than 0\.3 s.*it was cancelled") as caught:
            await late

        assert (pid, None, None) == (caught.value.exit.pid, caught.value.exit.code, caught.value.exit.signal)
        assert [pid] == await pool.pids()
        assert pid == await pool.jobs.call(jobs.pid_of, 0)
        statistics = await pool.statistics()
        assert (1, 0, 0) == (statistics.overdue, statistics.crashed, statistics.restarts)


@pytest.mark.slow
async def test_one_that_will_not_be_cancelled_is_killed_with_its_worker(pipe: Path) -> None:
    async with pool_of(1, max_concurrency=2, timeout=0.3, retries=3) as pool:
        clinging = asyncio.create_task(pool.jobs.call(jobs.cling, str(pipe)))
        pid = int(await read_line(pipe))
        with pytest.raises(kb.JobTimeout, match="was killed") as caught:
            await clinging

        assert (pid, "SIGKILL") == (caught.value.exit.pid, caught.value.exit.name)
        statistics = await pool.statistics()
        assert (1, 1, 0) == (statistics.overdue, statistics.crashed, statistics.retried)


@pytest.mark.slow
async def test_a_plain_function_over_its_time_is_killed_and_what_waits_behind_it_runs_elsewhere(
    pipe: Path,
) -> None:
    async with pool_of(1, max_concurrency=2, timeout=0.5) as pool:
        plain = asyncio.create_task(pool.jobs.call(jobs.hold, str(pipe)))
        pid = int(await read_line(pipe))
        waiting = asyncio.create_task(pool.jobs.call(jobs.pid_of, 0))
        with pytest.raises(kb.JobTimeout) as caught:
            await plain

        assert (pid, "SIGKILL") == (caught.value.exit.pid, caught.value.exit.name)
        assert pid != await waiting


@pytest.mark.slow
async def test_a_stopped_worker_that_has_begun_nothing_is_replaced_and_no_job_is_hit() -> None:
    async with pool_of(1, max_concurrency=2, timeout=0.3) as pool:
        [pid] = await pool.whole()
        os.kill(pid, signal.SIGSTOP)

        assert pid != await pool.jobs.call(jobs.pid_of, 0)
        assert 0 == (await pool.statistics()).overdue


async def test_a_caller_that_is_cancelled_takes_its_coroutine_along(pipe: Path) -> None:
    async with pool_of(1, max_concurrency=2) as pool:
        running = asyncio.create_task(pool.jobs.call(jobs.wait_forever, str(pipe)))
        pid = int(await read_line(pipe))
        running.cancel()
        assert "cancelled" == await read_line(pipe)
        with pytest.raises(asyncio.CancelledError):
            await running

        assert pid == await pool.jobs.call(jobs.pid_of, 0)
        assert [pid] == await pool.pids()


@pytest.mark.slow
async def test_a_deadline_of_the_caller_cancels_the_coroutine_and_nothing_else(pipe: Path) -> None:
    async with pool_of(1, max_concurrency=3) as pool:
        beside = asyncio.create_task(pool.jobs.call(jobs.meet, 2))
        running = asyncio.create_task(pool.jobs.within(0.2).call(jobs.wait_forever, str(pipe)))
        pid = int(await read_line(pipe))
        with pytest.raises(kb.CallTimeout) as caught:
            await running
        assert "cancelled" == await read_line(pipe)

        assert caught.value.maybe_executed
        assert [pid, pid] == await asyncio.gather(beside, pool.jobs.call(jobs.meet, 2))


@pytest.mark.slow
async def test_a_deadline_of_the_caller_kills_the_worker_of_a_plain_function(pipe: Path) -> None:
    async with pool_of(1, max_concurrency=2) as pool:
        running = asyncio.create_task(pool.jobs.within(0.2).call(jobs.hold, str(pipe)))
        pid = int(await read_line(pipe))
        with pytest.raises(kb.CallTimeout):
            await running

        assert pid == (await pool.death()).exit.pid
        assert pid != await pool.jobs.call(jobs.pid_of, 0)


async def test_a_replaced_worker_finishes_what_it_has_in_hand() -> None:
    async with pool_of(1, max_concurrency=4, max_jobs=4) as pool:
        met = await asyncio.gather(*(pool.jobs.call(jobs.meet, 4) for _ in range(4)))
        again = await asyncio.gather(*(pool.jobs.call(jobs.meet, 4) for _ in range(4)))

        assert (1, 1) == (len(set(met)), len(set(again)))
        assert met[0] != again[0]
        assert 0 == (await pool.statistics()).restarts


async def test_a_spare_takes_the_place_of_a_worker_that_dies() -> None:
    async with pool_of(1, max_concurrency=2, spares=1) as pool:
        with pytest.raises(kb.WorkerCrashed):
            await pool.jobs.call(jobs.die_beside, 1, "alone")
        met = await asyncio.gather(*(pool.jobs.call(jobs.meet, 2) for _ in range(2)))

        assert 1 == len(set(met))


async def test_an_executor_of_such_a_pool_gives_coroutines_to_other_threads() -> None:
    async with pool_of(1, max_concurrency=4) as pool:
        executor = pool.jobs.as_executor()
        met = await asyncio.to_thread(lambda: list(executor.map(jobs.meet, [4] * 4)))

        assert 1 == len(set(met))


@pytest.mark.slow
async def test_a_pool_that_stops_gives_coroutines_its_grace_and_then_kills_them(pipe: Path) -> None:
    async with pool_of(1, max_concurrency=2, grace=0.1) as pool:
        running = asyncio.create_task(pool.jobs.call(jobs.wait_forever, str(pipe)))
        await read_line(pipe)
    with pytest.raises(kb.WorkerCrashed):
        await running


async def test_messages_overlap_in_one_worker_and_each_has_an_actor_of_its_own() -> None:
    async with meetings(max_concurrency=4) as ref:
        pid = await ref.call(jobs.Meeting.pid)
        met = await asyncio.gather(*(ref.call(jobs.Meeting.meet, 4) for _ in range(4)))

        # An actor that had two of them would have counted to two.
        assert [(pid, 1)] * 4 == met


async def test_never_more_messages_than_allowed_are_in_hand() -> None:
    async with meetings(max_concurrency=3) as ref:
        assert 3 == max(await asyncio.gather(*(ref.call(jobs.Meeting.crowd, 20) for _ in range(30))))


async def test_an_actor_that_crashes_is_the_only_one() -> None:
    async with meetings(max_concurrency=3) as ref:
        pid = await ref.call(jobs.Meeting.pid)
        waiting = [asyncio.create_task(ref.call(jobs.Meeting.meet, 3)) for _ in range(2)]
        with pytest.raises(kb.ActorExited) as caught:
            await ref.call(jobs.Meeting.fail_beside, 3)

        assert isinstance(caught.value.__cause__, LookupError)
        assert [pid, pid] == [met for met, _ in await asyncio.gather(*waiting)]
        assert pid == await ref.call(jobs.Meeting.pid)


async def test_a_kill_of_a_worker_hits_all_messages_in_its_hands() -> None:
    async with meetings(max_concurrency=3) as ref:
        waiting = [asyncio.create_task(ref.call(jobs.Meeting.meet, 3)) for _ in range(2)]
        killer = asyncio.create_task(ref.call(jobs.Meeting.die_beside, 3))
        ends = await asyncio.gather(*waiting, killer, return_exceptions=True)

        for end in ends:
            assert isinstance(end, kb.ActorExited)
            assert end.maybe_executed
            assert isinstance(end.__cause__, kb.WorkerCrashed)
        assert await ref.call(jobs.Meeting.pid)


@pytest.mark.slow
async def test_a_message_over_the_time_of_the_pool_is_cancelled_in_its_actor(pipe: Path) -> None:
    async with meetings(max_concurrency=2, timeout=0.3) as ref:
        late = asyncio.create_task(ref.within(None).call(jobs.Meeting.wait_forever, str(pipe)))
        pid = int(await read_line(pipe))
        assert "cancelled" == await read_line(pipe)
        with pytest.raises(kb.ActorExited) as caught:
            await late

        assert isinstance(caught.value.__cause__, kb.JobTimeout)
        assert pid == await ref.call(jobs.Meeting.pid)


async def test_actors_end_in_order_with_their_worker(tmp_path: Path) -> None:
    spec = kb.pool(kb.child(Announcing, str(tmp_path / "end")), size=1, max_concurrency=2)
    async with kb.Supervisor(spec.options(id="pool")) as tree:
        assert "pong" == await tree.ref(Announcing, "pool").call(Announcing.ping)

    assert "Shutdown" in (tmp_path / "end").read_text()


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "4", None, 1025])
def test_what_is_no_number_of_jobs_is_refused(value: Any) -> None:
    with pytest.raises(kb.UsageError, match=r"max_concurrency (is|takes)"):
        kb.pool(max_concurrency=value)


def test_jobs_of_one_key_run_one_by_one_so_the_two_do_not_go_together() -> None:
    with pytest.raises(kb.UsageError, match="by_key"):
        kb.pool(max_concurrency=2, strategy="by_key")
