"""Any crash costs exactly the job that it hit: each cause, and the same oracle for all of them.

The caller is told the cause by name; jobs of others come back right, once each, from processes that were
not touched; the pool is whole again; and no zombie, descriptor or shared page is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.workers import fails_in_workers
from tests.workers import worker_jobs as jobs
from tests.workers.rig import Rig, descriptors, pool_of

import koboshi as kb

pytestmark = pytest.mark.usefixtures("fork_server")

SIZE = 3
TIMEOUT = 0.4


@dataclass(frozen=True)
class Cause:
    """A way to go wrong, what its caller gets, and how its worker ends, which is None when it lives on."""

    name: str
    job: Callable[..., Any]
    args: tuple[Any, ...]
    error: type[Exception]
    exit: str | None = None


OVERDUE = f"was killed by SIGKILL (it was past a job's timeout of {TIMEOUT:g} s)"

CAUSES = [
    Cause("kill -9", jobs.raise_signal, (9,), kb.WorkerCrashed, "was killed by SIGKILL"),
    Cause("SIGTERM", jobs.raise_signal, (15,), kb.WorkerCrashed, "was killed by SIGTERM"),
    Cause("SIGSEGV", jobs.segfault, (), kb.WorkerCrashed, "was killed by SIGSEGV"),
    Cause("os._exit", jobs.exit_hard, (3,), kb.WorkerCrashed, "exited with code 3"),
    Cause("os._exit(0)", jobs.exit_hard, (0,), kb.WorkerCrashed, "exited with code 0"),
    Cause("exit while unpickling", jobs.identity, (jobs.BreaksOnArrival("exit"),), kb.WorkerCrashed,
          "exited with code 9"),
    Cause("closed socket", jobs.close_every_descriptor, (), kb.WorkerCrashed,
          "was killed by SIGKILL (it had closed its socket)"),
    Cause("infinite Python loop", jobs.spin_in_python, (), kb.JobTimeout, OVERDUE),
    Cause("infinite C loop", jobs.spin_in_c, (), kb.JobTimeout, OVERDUE),
    Cause("deadlocked thread", jobs.deadlock, (), kb.JobTimeout, OVERDUE),
    Cause("SIGSTOP", jobs.stop_self, (), kb.JobTimeout, OVERDUE),
    Cause("SIGTERM ignored", jobs.ignore_sigterm, (), kb.JobTimeout, OVERDUE),
    Cause("CancelledError swallowed", jobs.swallow_cancellation, (), kb.JobTimeout, OVERDUE),
    Cause("MemoryError under RLIMIT_AS", jobs.raise_memory_error_for_real, (), MemoryError),
    Cause("unpicklable result", jobs.unpicklable, (), kb.ResultNotPicklable),
    Cause("message that cannot be unpickled", jobs.identity, (jobs.BreaksOnArrival("error"),), ValueError),
    Cause("module that fails on import", fails_in_workers.job, (), ImportError),
    Cause("exception that cannot be rebuilt", jobs.raise_two_arguments, (), kb.RemoteError),
]  # fmt: skip

DEADLY = [cause for cause in CAUSES if cause.exit is not None]


def zombies_of(parent: int) -> list[int]:
    """Dead children that nobody has collected."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                found.append(pid)
    return found


def shared_pages() -> int:
    """Journals of workers that this process has mapped."""
    return Path("/proc/self/maps").read_text().count("koboshi-journal")


@dataclass(frozen=True)
class Before:
    """What a pool was like; `check_same` says that it is so again."""

    pids: list[int]
    server: int
    descriptors: int
    shared: int

    @classmethod
    async def of(cls, pool: Rig) -> Before:
        await asyncio.gather(*(pool.call(jobs.add_one, 1) for _ in range(20)))
        pids = await pool.whole()
        _, server = await pool.call(jobs.parent_pids)
        return cls(pids, server, descriptors(), shared_pages())

    async def check_same(self, pool: Rig, deaths: int) -> None:
        pids = await pool.whole()
        statistics = await pool.statistics()
        assert SIZE == len(set(pids))
        assert max(0, SIZE - deaths) <= len(set(self.pids) & set(pids))
        assert deaths == statistics.restarts
        assert (0, 0) == (statistics.queued, statistics.running)
        assert [2] * 50 == await asyncio.gather(*(pool.call(jobs.add_one, 1) for _ in range(50)))
        assert self.descriptors == descriptors()
        assert self.shared == shared_pages() == SIZE
        assert [] == zombies_of(self.server)
        assert [] == zombies_of(os.getpid())


async def bystanders(pool: Rig) -> None:
    """Jobs of somebody else, all the while."""
    results = [result async for result in pool.jobs.map(jobs.identity, range(3000), ahead=50)]
    assert list(range(3000)) == results


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
async def test_it_costs_its_own_job_and_nothing_else(cause: Cause, capfd: pytest.CaptureFixture[str]) -> None:
    async with pool_of(SIZE, timeout=TIMEOUT) as pool:
        before = await Before.of(pool)
        async with asyncio.TaskGroup() as group:
            group.create_task(bystanders(pool))
            with pytest.raises(cause.error) as caught:
                await pool.call(cause.job, *cause.args)

        assert cause.error is type(caught.value)
        if cause.exit is not None:
            assert isinstance(caught.value, kb.WorkerCrashed)
            death = await pool.death()
            assert (cause.exit, caught.value.exit) == (death.exit.describe(), death.exit)
            assert caught.value.exit.pid in before.pids
        await before.check_same(pool, deaths=0 if cause.exit is None else 1)


def test_causes_that_are_told_apart_have_names_of_their_own() -> None:
    ends = [cause.exit for cause in DEADLY if cause.error is kb.WorkerCrashed]

    assert len(ends) == len(set(ends))


async def test_a_worker_that_is_killed_while_idle_costs_nothing() -> None:
    async with pool_of(SIZE, timeout=TIMEOUT) as pool:
        before = await Before.of(pool)
        os.kill(before.pids[0], signal.SIGKILL)
        death = await pool.death()

        assert ("was killed by SIGKILL", None) == (death.exit.describe(), death.function)
        await before.check_same(pool, deaths=1)


async def test_a_worker_that_is_stopped_while_idle_costs_nothing() -> None:
    async with pool_of(SIZE, timeout=TIMEOUT) as pool:
        before = await Before.of(pool)
        os.kill(before.pids[0], signal.SIGSTOP)
        assert [2] * 50 == await asyncio.gather(*(pool.call(jobs.add_one, 1) for _ in range(50)))
        death = await pool.death()

        assert (before.pids[0], OVERDUE) == (death.exit.pid, death.exit.describe())
        await before.check_same(pool, deaths=1)


@pytest.mark.parametrize("spares", [0, 2])
async def test_in_a_storm_of_crashes_each_is_told_its_own_cause(
    spares: int, capfd: pytest.CaptureFixture[str]
) -> None:
    causes = [cause for cause in DEADLY if cause.error is kb.WorkerCrashed] * 3
    async with pool_of(SIZE, timeout=30, spares=spares) as pool:
        fine = [asyncio.create_task(pool.call(jobs.add_one, number)) for number in range(200)]
        crashes = await asyncio.gather(
            *(pool.call(cause.job, *cause.args) for cause in causes), return_exceptions=True
        )

        assert list(range(1, 201)) == await asyncio.gather(*fine)
        told = [crash.exit.describe() for crash in crashes if isinstance(crash, kb.WorkerCrashed)]
        assert [cause.exit for cause in causes] == told
        for _ in causes:
            await pool.death()
        assert SIZE == len(await pool.whole())
        assert len(causes) == (await pool.statistics()).restarts


async def test_shutdown_while_all_of_this_goes_on_is_bounded_and_answers_everybody(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with pool_of(SIZE, grace=0.1, spares=1, max_jobs=20) as pool:
        pids = await pool.whole()
        calls = [asyncio.create_task(pool.call(cause.job, *cause.args)) for cause in CAUSES * 2]
        fine = [asyncio.create_task(pool.call(jobs.add_one, number)) for number in range(50)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        began = time.monotonic()
    took = time.monotonic() - began

    outcomes = await asyncio.gather(*calls, *fine, return_exceptions=True)
    allowed = (kb.WorkerCrashed, kb.ActorExited, *(cause.error for cause in CAUSES))
    assert all(isinstance(each, (int, *allowed)) for each in outcomes)
    # The pool's own limit is its grace and a second; the rest is for a busy machine.
    assert took < 5.0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert 0 == shared_pages()
