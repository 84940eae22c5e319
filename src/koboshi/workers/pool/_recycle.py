"""Replaces workers that are due: one in, one out, and what the old one has in hand it finishes.

The new process takes the old one's place when it is ready, so a pool is never short of a worker for it,
its supervisor has nothing to restart, and its budget is not touched.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..process._process import WorkerProcess
from ._crew import Crew
from ._dispatch import Dispatcher
from ._terms import Terms

__all__ = ["Recycling", "resident"]

_PAGE = os.sysconf("SC_PAGESIZE")
# Memory is looked at this often while a worker is at work, in seconds: reading it costs some 20 us.
_LOOK_EVERY = 0.05


class Recycling:
    """Which workers are due, and their replacement.

    Args:
        boot: starts a process that is ready for jobs.
        swap: gives a crew the new process and its jobs to it.
        grace: seconds that a replaced process has to end once it has no job.
    """

    def __init__(
        self,
        terms: Terms,
        dispatcher: Dispatcher[WorkerProcess],
        boot: Callable[[str], Awaitable[WorkerProcess]],
        swap: Callable[[Crew, WorkerProcess], None],
        grace: float,
    ) -> None:
        self.recycled = 0
        self._terms = terms
        self._dispatcher = dispatcher
        self._boot = boot
        self._swap = swap
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._ages: dict[WorkerProcess, asyncio.TimerHandle] = {}
        self._looks: dict[WorkerProcess, asyncio.TimerHandle] = {}
        # Replaced processes that still live, and when those without a job are to be killed.
        self._going: set[WorkerProcess] = set()
        self._ends: dict[WorkerProcess, asyncio.TimerHandle] = {}
        # One for each process that is being replaced.
        self._tasks: dict[WorkerProcess, asyncio.Task[None]] = {}

    def employed(self, crew: Crew, process: WorkerProcess) -> None:
        """A process has begun to take jobs."""
        if self._terms.max_age is not None:
            self._ages[process] = self._loop.call_later(self._terms.max_age, self.replace, crew, process)

    def worked(self, crew: Crew, process: WorkerProcess) -> None:
        """A process has done something."""
        if self._terms.max_memory is not None and process not in self._looks:
            self._looks[process] = self._loop.call_later(_LOOK_EVERY, self._look, crew, process)

    def settled(self, process: WorkerProcess) -> None:
        """A process may have no job left."""
        if process in self._going and process not in self._ends and not self._dispatcher.busy(process):
            detail = "it had been replaced and did not end"
            self._ends[process] = self._loop.call_later(self._grace, process.kill, detail)

    def ended(self, process: WorkerProcess) -> None:
        """A process is gone."""
        self._going.discard(process)
        for timers in (self._ages, self._looks, self._ends):
            timer = timers.pop(process, None)
            if timer is not None:
                timer.cancel()

    async def drain(self, timeout: float) -> None:
        """Wait, up to `timeout` seconds, until those that were replaced have done what they have."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout)

    def close(self) -> None:
        """Replace no more workers."""
        for process in {*self._ages, *self._looks, *self._ends}:
            self.ended(process)
        for task in self._tasks.values():
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait for what `close` has cancelled."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _look(self, crew: Crew, process: WorkerProcess) -> None:
        del self._looks[process]
        assert self._terms.max_memory is not None
        if resident(process.pid) > self._terms.max_memory:
            self.replace(crew, process)

    def replace(self, crew: Crew, process: WorkerProcess) -> None:
        """Have a process replaced that is due, unless it is on its way out already."""
        if process not in self._tasks and _serves(crew, process):
            self._tasks[process] = self._loop.create_task(self._replace(crew, process))

    async def _replace(self, crew: Crew, old: WorkerProcess) -> None:
        try:
            try:
                new = await self._boot(crew.name)
            except Exception as error:
                # Its supervisor shall know, but not before the jobs in hand are done.
                await self._end(crew, old)
                if crew.process is old:
                    crew.died(error)
                return
            if not _serves(crew, old):
                new.kill("the worker that it was to replace has ended")
                return
            self.recycled += 1
            self._swap(crew, new)
            await self._end(crew, old)
        finally:
            crew.leaving.discard(old)
            del self._tasks[old]

    async def _end(self, crew: Crew, old: WorkerProcess) -> None:
        self._dispatcher.retire(old)
        crew.leaving.add(old)
        self._going.add(old)
        self.settled(old)
        # However long its jobs take: they are not to be lost.
        await old.stop(None)


def _serves(crew: Crew, process: WorkerProcess) -> bool:
    return crew.process is process and process.alive and not crew.closing


def resident(pid: int) -> int:
    """Bytes of a process that are in memory now; 0 when it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0
