"""How a process of a pool is made ready: started, set up, and for a spare warmed up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from .._errors import WorkerCrashed, WorkerStartFailed
from ..process._concurrent_process import ConcurrentProcess
from ..process._jobs import Entry, FunctionRef, FunctionTable, encode_arguments
from ..process._outcomes import Failure, decode
from ..process._process import WorkerDeath, WorkerProcess
from ..process._spawner import ForkServer
from ._host import load

__all__ = ["Boot"]

# Between two attempts at a fork for which the machine had not enough of something, in seconds.
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
# A process that is not set up after so many seconds may have been stopped.
_RESUME_EVERY = 0.5


class _FirstJobs:
    """The jobs of a process before it takes any from the queue."""

    __slots__ = ("left", "ready", "required")

    def __init__(self, count: int, required: bool, ready: asyncio.Future[None]) -> None:
        self.left = count
        # Whether the first of them must not fail.
        self.required = required
        self.ready = ready


class Boot:
    """Starts the processes of one pool.

    Args:
        set_up: a job that each process runs first: it makes its actor, or imports its function.
        most: jobs that a process has in hand at once.
        started: told of each process as soon as there is one, with the name of its worker.
    """

    def __init__(
        self,
        server: ForkServer,
        functions: FunctionTable,
        frame_limit: int,
        set_up: tuple[FunctionRef, Entry] | None,
        started: Callable[[WorkerProcess, str], None],
        on_outcomes: Callable[[WorkerProcess, Sequence[Any]], None],
        on_death: Callable[[WorkerProcess, WorkerDeath], None],
        most: int = 1,
    ) -> None:
        self._server = server
        self._functions = functions
        self._limit = frame_limit
        self._set_up = set_up
        self._started = started
        self._on_outcomes = on_outcomes
        self._on_death = on_death
        self._most = most
        self._kind = ConcurrentProcess if most > 1 else WorkerProcess
        self._load = functions.ref(load, frame_limit)
        self._busy: dict[WorkerProcess, _FirstJobs] = {}

    async def start(self, name: str) -> WorkerProcess:
        """Start a process and set it up.

        Raises:
            WorkerStartFailed: it could not be forked.
            WorkerCrashed: it died.
            Exception: what its set-up raised.
        """
        process = await self._fork()
        self._started(process, name)
        if self._set_up is not None:
            ref, entry = self._set_up
            await self._first(process, ref, [entry], required=True)
        return process

    async def _fork(self) -> WorkerProcess:
        """Start a process; what the machine is short of may be there again a moment later."""
        pauses = iter(_PAUSES)
        while True:
            try:
                return await self._kind.start(
                    self._server,
                    on_outcomes=self._on_outcomes,
                    on_death=self._on_death,
                    frame_limit=self._limit,
                    most=self._most,
                )
            except WorkerStartFailed as error:
                pause = next(pauses, None) if error.passing else None
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def warm(self, process: WorkerProcess) -> None:
        """Have a process import the functions that the pool has run so far.

        One that cannot be imported is no failure here: the job that needs it will say so.
        """
        ref = self._load
        known = [each.function for each in self._functions.lasting()]
        entries = [encode_arguments(ref, (function,), {}, self._limit) for function in known]
        await self._first(process, ref, entries, required=False)

    async def _first(
        self, process: WorkerProcess, ref: FunctionRef, entries: list[Entry], *, required: bool
    ) -> None:
        jobs = _FirstJobs(len(entries), required, asyncio.get_running_loop().create_future())
        self._busy[process] = jobs
        process.submit(ref, entries, sum(len(entry) for entry in entries if type(entry) is not tuple))
        try:
            # It may take for ever, and no timeout of jobs is for it; but being stopped is not taking long.
            while not (await asyncio.wait([jobs.ready], timeout=_RESUME_EVERY))[0]:
                process.resume()
            jobs.ready.result()
        except BaseException:
            process.kill("it was not set up")
            raise
        finally:
            self._busy.pop(process, None)

    def took(self, process: WorkerProcess, outcomes: Sequence[Any]) -> bool:
        """Whether these outcomes are those of first jobs, and seen to."""
        jobs = self._busy.get(process)
        if jobs is None:
            return False
        jobs.left -= len(outcomes)
        for outcome in outcomes:
            value = decode(outcome)
            if jobs.required and type(value) is Failure and not jobs.ready.done():
                jobs.ready.set_exception(value.error)
        if jobs.left == 0 and not jobs.ready.done():
            jobs.ready.set_result(None)
        return True

    def ended(self, process: WorkerProcess, death: WorkerDeath, name: str) -> None:
        """A process has ended, perhaps in the middle of its first jobs."""
        jobs = self._busy.get(process)
        if jobs is not None and not jobs.ready.done():
            crash = WorkerCrashed("its set-up", death.exit, worker=name, maybe_executed=death.running)
            jobs.ready.set_exception(crash)
