"""Ends the workers of jobs that run for longer than their pool allows, or than their callers wait."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from .._exit import WorkerDeath
from ..process._process import WorkerProcess
from ._dispatch import Dispatcher

__all__ = ["Deadlines"]

# Until a job that waits at its worker may have begun, in seconds.
_LOOK_AGAIN = 0.05
# A timer that is later than this, in seconds, says that the loop was held up.
_LATE = 0.02


class Deadlines:
    """One timer for all workers of a pool, none while they are idle; a single job costs nothing.

    The clock of a job starts when its worker could have begun it: a worker that is stopped or stuck
    before the job's first line is found as well.
    """

    def __init__(self, timeout: float | None, dispatcher: Dispatcher[WorkerProcess]) -> None:
        self.timeout = timeout
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # Those it has killed and whose end has not been reported, by the outcomes they had then.
        self._overdue: dict[WorkerProcess, int] = {}
        # When the next look is due, and the jobs that have had more time because it came late.
        self._due = 0.0
        self._excused: dict[WorkerProcess, float] = {}

    def watch(self) -> None:
        """Workers may have been given jobs."""
        if self._timer is None and self.timeout is not None:
            self._look_at(self._loop.time() + self.timeout)

    def was_overdue(self, process: WorkerProcess) -> bool:
        """Whether a process that ended was killed for the job that it died with; asked once."""
        self._excused.pop(process, None)
        done = self._overdue.pop(process, None)
        # It may have finished that job at the last moment, and died with the next one.
        return done is not None and done == process.done

    def withdraw(self, taker: Any, tag: object) -> None:
        """Nobody waits for a job any more: if it runs already it goes on."""

    def end(self, taker: Any, tag: object, seconds: float) -> None:
        """Kill the worker that runs this job, or look again later if it is still on an earlier one."""
        held = self._dispatcher.holder(taker, tag)
        if held is None:
            return
        process, oldest = held
        if oldest and process.running:
            process.kill(f"a job was past its deadline of {seconds:.3g} s")
        else:
            self._loop.call_later(_LOOK_AGAIN, self.end, taker, tag, seconds)

    def sort_out(self, process: WorkerProcess, outcomes: Sequence[Any], worker: str) -> int:
        """Outcomes are what they say: no job was ended but with its worker."""
        return 0

    def ended(
        self, process: WorkerProcess, death: WorkerDeath, worker: str
    ) -> tuple[Sequence[Any], frozenset[int]]:
        """What it died with is told by `was_overdue`."""
        return (), death.begun

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, due: float) -> None:
        self._due = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        assert self.timeout is not None
        now = self._loop.time()
        late = now - self._due
        nearest = math.inf
        for process, since in self._dispatcher.in_hand():
            if process in self._overdue:
                continue
            end = since + self.timeout
            nearest = min(nearest, end if end > now else self._end(process, since, late))
        if nearest < math.inf and self._timer is None:
            self._look_at(nearest)

    def _end(self, process: WorkerProcess, since: float, late: float) -> float:
        """Kill a process whose job has had its time; returns when to look again, never for one killed."""
        assert self.timeout is not None
        # The outcome may wait in the socket.
        process.catch_up()
        latest = self._dispatcher.since(process)
        if latest != since:
            return math.inf if latest is None else latest + self.timeout
        if late > _LATE and self._excused.get(process) != since:
            # This loop was held up, and with it perhaps the job on its way there.
            self._excused[process] = since
            return self._loop.time() + min(late, self.timeout)
        self._overdue[process] = process.done
        process.kill(f"it was past a job's timeout of {self.timeout:g} s")
        return math.inf
