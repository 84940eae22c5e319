"""Ends single jobs of workers that have several in hand: by cancelling them, else with their worker.

A coroutine is cancelled in its worker, which costs nobody else anything. Only if it has not ended after a
moment, or is a plain function, which nothing else ends, the worker is killed, and all that it has begun hit.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from .._errors import JobTimeout
from .._exit import WorkerDeath, WorkerExit
from ..process._concurrent_process import ConcurrentProcess
from ..process._outcomes import Failure, NumberedOutcomes, is_failure
from ..process._process import WorkerProcess
from ._dispatch import Dispatcher

__all__ = ["Cancelling"]

# Seconds that a cancelled job has to end.
_PATIENCE = 0.5
# A timer that is later than this, in seconds, says that the loop was held up.
_LATE = 0.02


class Cancelling:
    """Deadlines of jobs and of their callers, and callers that have gone.

    The clock of a job's `timeout` is that of its worker and starts when it begins, so a loop that is held
    up here takes no time from it. One that has begun nothing of what it has for as long is stuck or stopped.
    """

    def __init__(self, timeout: float | None, dispatcher: Dispatcher[WorkerProcess]) -> None:
        self.timeout = timeout
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        # Jobs past the pool's timeout that have no outcome yet.
        self._overdue: dict[WorkerProcess, set[int]] = {}

    # -- callers ---------------------------------------------------------------------------------

    def withdraw(self, taker: Any, tag: object) -> None:
        """Nobody waits for a job any more: it is cancelled, and may take its time over that."""
        found = self._dispatcher.find(taker, tag)
        if found is not None:
            _concurrent(found[0]).cancel(found[1])

    def end(self, taker: Any, tag: object, seconds: float) -> None:
        """The deadline of a job's caller has passed."""
        found = self._dispatcher.find(taker, tag)
        if found is not None:
            self._end(_concurrent(found[0]), found[1], f"a job was past its deadline of {seconds:.3g} s")

    def _end(self, process: ConcurrentProcess, number: int, detail: str) -> None:
        begun = process.begun().get(number)
        if begun is not None and not begun.cancellable:
            process.kill(detail)
        else:
            process.cancel(number)
            self._loop.call_later(_PATIENCE, self._insist, process, number, detail)

    def _insist(self, process: ConcurrentProcess, number: int, detail: str) -> None:
        process.catch_up()
        if number in process.begun():
            process.kill(detail)
        elif process.has(number):
            self._loop.call_later(_PATIENCE, self._insist, process, number, detail)

    # -- the pool's timeout ----------------------------------------------------------------------

    def watch(self) -> None:
        """Workers may have been given jobs."""
        if self._timer is None and self.timeout is not None:
            self._look_at(self._loop.time() + self.timeout)

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def sort_out(self, process: WorkerProcess, outcomes: Sequence[Any], worker: str) -> int:
        """Make those of jobs that were cancelled for being overdue say so; returns how many."""
        overdue = self._overdue.get(process)
        count = 0
        if not overdue or not isinstance(outcomes, NumberedOutcomes):
            return 0
        for index, number in enumerate(outcomes.numbers):
            if number in overdue:
                overdue.discard(number)
                # It may have ended by itself at that very moment, or made something of its being cancelled.
                if is_failure(outcomes[index]):
                    exit = WorkerExit(process.pid, detail="the worker goes on")
                    outcomes[index] = self._verdict(process, number, exit, worker, killed=False)
                    count += 1
        return count

    def was_overdue(self, process: WorkerProcess) -> bool:
        """Never the process: which of its jobs were is told by `ended`."""
        return False

    def ended(
        self, process: WorkerProcess, death: WorkerDeath, worker: str
    ) -> tuple[Sequence[Any], frozenset[int]]:
        """Outcomes of the jobs that a worker died with and that were overdue, and which others had begun."""
        late = sorted(self._overdue.pop(process, set()) & death.begun)
        failures = [self._verdict(process, number, death.exit, worker, killed=True) for number in late]
        return NumberedOutcomes(late, failures), death.begun - set(late)

    def _verdict(
        self, process: WorkerProcess, number: int, exit: WorkerExit, worker: str, *, killed: bool
    ) -> Failure:
        ref = self._dispatcher.running(process, (number,))
        assert ref is not None
        assert self.timeout is not None
        return Failure(JobTimeout(ref.name, exit, self.timeout, worker=worker, killed=killed))

    def _look_at(self, due: float) -> None:
        self._due = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        late = self._loop.time() - self._due > _LATE
        nearest = math.inf
        for process, _ in self._dispatcher.in_hand():
            # Outcomes may wait in the socket.
            process.catch_up()
            nearest = min(nearest, self._look_into(_concurrent(process), late))
        if nearest < math.inf and self._timer is None:
            self._look_at(nearest)

    def _look_into(self, process: ConcurrentProcess, late: bool) -> float:
        """End what is overdue in a worker; returns when to look again."""
        assert self.timeout is not None
        since = self._dispatcher.since(process)
        if since is None:
            return math.inf
        now = self._loop.time()
        begun = process.begun()
        if not begun and since + self.timeout <= now and not late:
            process.kill(f"it had begun no job for {self.timeout:g} s")
            return math.inf
        overdue = self._overdue.setdefault(process, set())
        nearest = now + self.timeout
        for number, job in begun.items():
            if number in overdue:
                continue
            end = job.since + self.timeout
            if end <= now:
                overdue.add(number)
                self._end(process, number, f"it was past a job's timeout of {self.timeout:g} s")
            else:
                nearest = min(nearest, end)
        return nearest


def _concurrent(process: WorkerProcess) -> ConcurrentProcess:
    assert isinstance(process, ConcurrentProcess)
    return process
