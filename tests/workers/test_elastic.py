"""An elastic pool with real processes: no job is lost or runs twice, whatever comes and goes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.hosted import UpOnce
from tests.workers.rig import Rig, elastic_pool

import koboshi as kb

pytestmark = pytest.mark.usefixtures("fork_server")


class Held:
    """Jobs that all run at once, and end when they are let go."""

    def __init__(self, path: Path) -> None:
        self.announce, self.lock = str(path / "announce"), str(path / "lock")
        os.mkfifo(self.announce)
        # Open at both ends, so that each line is read as it comes and nobody sees an end.
        self._told = os.open(self.announce, os.O_RDWR)
        self._locked = os.open(self.lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._locked, fcntl.LOCK_EX)
        self.jobs: list[asyncio.Future[int]] = []
        self.pids: list[int] = []

    async def begin(self, pool: Rig, count: int) -> None:
        call = pool.call
        self.jobs = [
            asyncio.ensure_future(call(jobs.announce_and_lock, self.announce, self.lock))
            for _ in range(count)
        ]
        text = ""
        while text.count("\n") < count:
            await readable(self._told)
            text += os.read(self._told, 4096).decode()
        self.pids = [int(line) for line in text.split()]

    def let_go(self) -> None:
        for fd in (self._told, self._locked):
            os.close(fd)


async def readable(fd: int) -> None:
    """Wait for a pipe or for the end of a process."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, ready.set_result, None)
    try:
        async with asyncio.timeout(10):
            await ready
    finally:
        loop.remove_reader(fd)


async def sized(pool: Rig, size: int) -> kb.PoolStatistics:
    """Wait until the pool has that many workers, all up."""
    async with asyncio.timeout(20):
        while True:
            statistics = await pool.statistics()
            if size == statistics.size == len([each for each in statistics.workers if each.pid]):
                return statistics


async def test_it_grows_to_what_waits_and_never_beyond_max(tmp_path: Path) -> None:
    held = Held(tmp_path)
    async with elastic_pool(1, 3) as pool:
        assert 1 == (await pool.statistics()).size
        await held.begin(pool, 3)
        behind = asyncio.ensure_future(pool.call(jobs.add_one, 1))
        statistics = await sized(pool, 3)
        held.let_go()
        assert sorted(held.pids) == sorted(await asyncio.gather(*held.jobs))
        assert 2 == await behind

    assert 3 == len(set(held.pids))
    assert (1, 3, 0, 1) == (statistics.min, statistics.max, statistics.restarts, statistics.queued)
    assert ["w1", "w2", "w3"] == [worker.slot for worker in statistics.workers]


@pytest.mark.slow
async def test_it_shrinks_to_min_when_idle_and_spends_nothing_of_the_budget(tmp_path: Path) -> None:
    held = Held(tmp_path)
    async with elastic_pool(1, 3, idle_after=0.2, max_restarts=0) as pool:
        await held.begin(pool, 3)
        ends = {pid: os.pidfd_open(pid) for pid in held.pids}
        held.let_go()
        await asyncio.gather(*held.jobs)
        statistics = await sized(pool, 1)
        [left] = [worker.pid for worker in statistics.workers]
        for pid, pidfd in ends.items():
            if pid != left:
                await readable(pidfd)
            os.close(pidfd)

        assert left == await pool.call(jobs.pid)
        assert 0 == (await pool.statistics()).restarts
        assert [] == [each for each in pool.events if isinstance(each, kb.events.CrashReport)]


@pytest.mark.slow
async def test_no_job_is_lost_or_runs_twice_while_the_pool_goes_up_and_down(tmp_path: Path) -> None:
    log = tmp_path / "log"
    sizes: set[int] = set()
    async with elastic_pool(1, 4, idle_after=0.03) as pool:
        for turn in range(8):
            burst = range(25 * turn, 25 * turn + 25)
            await asyncio.gather(*(pool.call(jobs.log_slowly, (str(log), n)) for n in burst))
            sizes.add((await pool.statistics()).size)
            sizes.add((await sized(pool, 1)).size)

    assert list(range(200)) == sorted(int(line) for line in log.read_text().split())
    assert {1} < sizes


async def test_a_kill_of_a_worker_while_grown_is_an_ordinary_crash(tmp_path: Path) -> None:
    held = Held(tmp_path)
    async with elastic_pool(1, 2) as pool:
        await held.begin(pool, 2)
        os.kill(held.pids[1], signal.SIGKILL)
        death = await pool.death()
        statistics = await sized(pool, 2)
        held.let_go()
        results = await asyncio.gather(*held.jobs, return_exceptions=True)

    assert (held.pids[1], 1, 1) == (death.exit.pid, statistics.restarts, statistics.crashed)
    assert [kb.WorkerCrashed] == [type(each) for each in results if isinstance(each, Exception)]


async def test_a_further_worker_that_does_not_start_is_reported_and_the_pool_goes_on(tmp_path: Path) -> None:
    failed: asyncio.Queue[kb.events.RestartFailed] = asyncio.Queue()

    def heard(event: kb.events.Event) -> None:
        if isinstance(event, kb.events.RestartFailed):
            failed.put_nowait(event)

    announce, release = tmp_path / "announce", tmp_path / "release"
    for path in (announce, release):
        os.mkfifo(path)
    spec: Any = kb.pool(kb.child(UpOnce, str(tmp_path / "mark")), min=1, max=2).options(id="p")
    async with kb.Supervisor(spec) as tree:
        stop = kb.listen(heard)
        ref = tree.ref(UpOnce, "p").within(10)
        held = asyncio.ensure_future(ref.call(UpOnce.hold, str(announce), str(release)))
        await asyncio.to_thread(announce.read_text)
        behind = asyncio.ensure_future(ref.call(UpOnce.ping))
        async with asyncio.timeout(10):
            event = await failed.get()
        await asyncio.to_thread(release.write_text, "go")
        await held

        assert "pong" == await behind
        assert "w2" in event.child
        assert "up once only" in str(event.reason)
        assert 1 == (await tree.ref(kb.Pool, "p").call(kb.Pool.statistics)).size
        stop()
