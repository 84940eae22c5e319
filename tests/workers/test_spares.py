"""Warm spares: what takes the place of a dead worker is ready before it is needed."""

from __future__ import annotations

import asyncio
import colorsys
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.hosted import Thumbnailer, UpOnce
from tests.workers.rig import Rig, pool_of

import koboshi as kb
from koboshi.workers import PoolStatistics
from koboshi.workers.pool._spares import Spares


async def with_spares(pool: kb.ActorRef[kb.Pool], count: int) -> PoolStatistics:
    """Wait until that many are ready."""
    async with asyncio.timeout(20):
        while True:
            statistics = await pool.call(kb.Pool.statistics)
            if statistics.spares == count:
                return statistics


async def test_a_dead_worker_is_replaced_by_a_spare_that_has_its_actor_already(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    spec = kb.pool(kb.child(Thumbnailer, 8, str(mark)), size=1, spares=1).options(id="thumbs")
    async with kb.Supervisor(spec) as tree:
        thumbs, pool = tree.ref(Thumbnailer, "thumbs"), tree.ref(kb.Pool, "thumbs")
        await with_spares(pool, 1)
        worker, spare = map(int, mark.read_text().split())
        assert worker == (await thumbs.call(Thumbnailer.where))[0]
        os.kill(worker, signal.SIGKILL)
        await pool.within(10).call(kb.Pool.wait_ready)
        async with asyncio.timeout(10):
            while (await pool.call(kb.Pool.statistics)).restarts == 0:
                pass

        assert spare == (await thumbs.call(Thumbnailer.where))[0]
        await with_spares(pool, 1)


async def test_a_spare_has_imported_what_the_pool_runs() -> None:
    async with pool_of(1, spares=1) as pool:
        await pool.call(colorsys.rgb_to_hsv, 0.1, 0.2, 0.3)
        await with_spares(pool.ref, 1)
        (worker,) = await pool.pids()
        os.kill(worker, signal.SIGKILL)
        await pool.death()

        assert await pool.call(jobs.has_imported, "colorsys")
        assert worker != await pool.call(jobs.pid)


async def test_a_spare_that_dies_is_made_good_and_costs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    spec = kb.pool(kb.child(Thumbnailer, 8, str(mark)), size=1, spares=2).options(id="thumbs")
    async with kb.Supervisor(spec) as tree:
        pool = tree.ref(kb.Pool, "thumbs")
        await with_spares(pool, 2)
        worker, *spares = map(int, mark.read_text().split())
        for spare in spares:
            os.kill(spare, signal.SIGKILL)
        async with asyncio.timeout(20):
            while len(mark.read_text().split()) < 5:
                statistics = await pool.call(kb.Pool.statistics)
        statistics = await with_spares(pool, 2)

        assert (0, [worker]) == (statistics.restarts, [each.pid for each in statistics.workers])


async def test_a_spare_that_does_not_start_is_reported_and_the_pool_works_without(tmp_path: Path) -> None:
    reports: asyncio.Queue[kb.events.RestartFailed] = asyncio.Queue()

    def note(event: kb.events.Event) -> None:
        if isinstance(event, kb.events.RestartFailed):
            reports.put_nowait(event)

    stop = kb.listen(note)
    spec = kb.pool(kb.child(UpOnce, str(tmp_path / "mark")), size=1, spares=1).options(id="pool")
    try:
        async with kb.Supervisor(spec) as tree, asyncio.timeout(10):
            report = await reports.get()
            assert "pong" == await tree.ref(UpOnce, "pool").call(UpOnce.ping)
    finally:
        stop()

    assert "a spare" == report.child
    assert "up once only" in repr(report.reason)


async def test_after_a_few_crashes_there_are_spares_again() -> None:
    async with pool_of(1, spares=1) as pool:
        for _ in range(3):
            with pytest.raises(kb.WorkerCrashed):
                await pool.call(jobs.exit_hard, 3)
        await with_spares(pool.ref, 1)
        await works(pool)


async def works(pool: Rig) -> None:
    assert [2] * 20 == await asyncio.gather(*(pool.call(jobs.add_one, 1) for _ in range(20)))


async def test_a_pool_that_ends_while_spares_are_started_leaves_none_behind() -> None:
    async with pool_of(1, spares=4) as pool:
        await works(pool)


async def test_a_spare_that_is_taken_the_moment_it_is_ready_is_replaced() -> None:
    made: list[object] = []

    class Process:
        alive = True

    async def boot() -> Any:
        made.append(None)
        return Process()

    async def warm(_: Any) -> None:
        """It has nothing to import."""

    spares = Spares(1, boot, warm, lambda error: None)
    spares.fill()
    while not spares.ready:  # noqa: ASYNC110 - at the very next round of the loop
        await asyncio.sleep(0)
    assert spares.take() is not None
    spares.fill()
    while not spares.ready:  # noqa: ASYNC110 - at the very next round of the loop
        await asyncio.sleep(0)

    assert 2 == len(made)
    spares.close()
    await spares.wait_closed()
