"""Workers are replaced after so many jobs, seconds or bytes, and no job is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.hosted import Thumbnailer, UpOnce
from tests.workers.rig import pool_of, read_line

import koboshi as kb

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture
def pipes(tmp_path: Path) -> tuple[str, str]:
    for name in ("announce", "release"):
        os.mkfifo(tmp_path / name)
    return str(tmp_path / "announce"), str(tmp_path / "release")


async def write(path: str) -> None:
    await asyncio.to_thread(Path(path).write_text, "go\n")


async def test_no_worker_gets_more_jobs_than_it_may_and_none_is_lost() -> None:
    async with pool_of(2, max_jobs=50) as pool:
        pids = [pid async for pid in pool.map_unordered(jobs.pid, range(1000))]
        statistics = await pool.statistics()

    per_process = Counter(pids)
    assert 1000 == len(pids)
    assert 50 == max(per_process.values())
    assert (1000, 0, 0) == (statistics.done, statistics.restarts, statistics.crashed)
    assert statistics.recycled >= 18


async def test_messages_to_pooled_actors_count_as_well() -> None:
    spec = kb.pool(kb.child(Thumbnailer), size=1, max_jobs=3).options(id="thumbs")
    async with kb.Supervisor(spec) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        pids = [(await thumbs.call(Thumbnailer.where))[0] for _ in range(9)]

    assert [3, 3, 3] == list(Counter(pids).values())


async def test_a_worker_that_is_due_finishes_its_job_while_another_has_its_place(
    pipes: tuple[str, str],
) -> None:
    async with pool_of(1, max_jobs=1) as pool:
        held = asyncio.create_task(pool.call(jobs.announce_and_wait, *pipes))
        old = int(await read_line(pipes[0]))
        others = {await pool.call(jobs.pid) for _ in range(3)}
        await write(pipes[1])

        assert old == await held
        assert old not in others


async def test_a_pool_that_stops_grants_its_time_to_workers_that_were_due(pipes: tuple[str, str]) -> None:
    async with pool_of(1, max_jobs=1) as pool:
        held = asyncio.create_task(pool.call(jobs.announce_and_wait, *pipes))
        old = int(await read_line(pipes[0]))
        await pool.call(jobs.pid)
        releasing = asyncio.create_task(write(pipes[1]))

    await releasing
    assert old == await held


async def test_a_worker_is_replaced_when_it_is_old_enough_even_when_idle() -> None:
    async with pool_of(2, max_age=0.3) as pool:
        first = await pool.whole()
        async with asyncio.timeout(10):
            while set(first) & set(await pool.pids()):
                assert 2 == await pool.call(jobs.add_one, 1)
        statistics = await pool.statistics()

    assert (0, 0) == (statistics.restarts, statistics.crashed)


async def test_a_worker_that_keeps_too_much_memory_is_replaced() -> None:
    async with pool_of(1, max_memory=120 * 2**20) as pool:
        first = await pool.call(jobs.pid)
        for _ in range(20):
            assert first == await pool.call(jobs.pid)
        await pool.call(jobs.keep, 150 * 2**20)
        async with asyncio.timeout(10):
            while first == await pool.call(jobs.pid):
                pass
        statistics = await pool.statistics()

    assert (1, 0) == (statistics.recycled, statistics.restarts)


async def test_a_due_worker_that_dies_costs_its_own_job_only(pipes: tuple[str, str]) -> None:
    async with pool_of(1, max_jobs=1) as pool:
        held = asyncio.create_task(pool.call(jobs.announce_and_wait, *pipes))
        old = int(await read_line(pipes[0]))
        await pool.call(jobs.pid)
        os.kill(old, signal.SIGKILL)
        with pytest.raises(kb.WorkerCrashed, match="SIGKILL while running"):
            await held

        assert 2 == await pool.call(jobs.add_one, 1)
        assert 0 == (await pool.statistics()).restarts


async def test_a_replaced_process_that_does_not_end_is_killed() -> None:
    async with pool_of(1, max_jobs=1, grace=0.1) as pool:
        old = os.pidfd_open(await pool.call(jobs.hang_at_exit))
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(old, gone.set)
        try:
            async with asyncio.timeout(10):
                await gone.wait()
        finally:
            asyncio.get_running_loop().remove_reader(old)
            os.close(old)

        assert 2 == await pool.call(jobs.add_one, 1)
        assert 0 == (await pool.statistics()).restarts


async def test_when_the_new_one_does_not_start_the_old_one_finishes_and_the_supervisor_hears(
    tmp_path: Path, pipes: tuple[str, str]
) -> None:
    pool = kb.pool(kb.child(UpOnce, str(tmp_path / "mark")), size=1, max_jobs=1).options(id="pool")
    reports: list[kb.events.Event] = []
    stop = kb.listen(reports.append)
    try:
        with pytest.raises(kb.SupervisorGaveUp) as caught:
            async with kb.Supervisor(pool, max_restarts=0) as tree:
                ref = tree.ref(UpOnce, "pool")
                held = asyncio.create_task(ref.within(None).call(UpOnce.hold, *pipes))
                old = int(await read_line(pipes[0]))
                await write(pipes[1])

                assert old == await held
                await asyncio.get_running_loop().create_future()  # until the tree ends
    finally:
        stop()

    assert "up once only" in repr(caught.value.__cause__) + repr(caught.value)


async def test_under_random_kills_and_recycling_every_job_is_done_or_was_hit() -> None:
    chooser = random.Random(11)
    killed: set[int] = set()
    async with pool_of(2, max_jobs=200, max_age=0.2, spares=1) as pool:
        done: list[object] = []
        crashed = 0
        results = pool.map_unordered(jobs.identity, range(10_000), ahead=500)
        while True:
            try:
                done.append(await anext(results))
            except kb.WorkerCrashed:
                crashed += 1
            except StopAsyncIteration:
                break
            pids = sorted(set(await pool.pids()) - killed) if len(done) % 1000 == 500 else []
            if pids:
                victim = chooser.choice(pids)
                # It may have been replaced, and have ended, since it was listed.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.add(victim)
        await pool.whole()

        assert (10_000, len(done)) == (len(done) + crashed, len(set(done)))
        assert len(killed) >= 5
        assert [2] * 20 == await asyncio.gather(*(pool.call(jobs.add_one, 1) for _ in range(20)))


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_jobs", 0), ("max_age", 0), ("max_memory", 1.5), ("max_jobs", True), ("spares", -1)],
)
def test_an_option_that_makes_no_sense_is_refused(option: str, value: object) -> None:
    with pytest.raises(kb.UsageError, match=option):
        kb.pool(size=1, **{option: value})  # type: ignore[call-overload]
