"""One worker process with several jobs in hand, as the root sees it: outcomes come by number, as they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...wire import Descriptor, FrameBroken
from ...wire._buffers import attach
from ...wire._pickle import loads
from .._exit import WorkerDeath, WorkerExit
from ._concurrent_worker import CANCEL
from ._in_hand import Begun, read_begun
from ._jobs import Entry, FunctionRef
from ._outcomes import NumberedOutcomes
from ._process import WorkerProcess

__all__ = ["ConcurrentProcess"]


class ConcurrentProcess(WorkerProcess):
    """A living worker process whose outcomes are `NumberedOutcomes`; numbers count from its first job."""

    def __init__(self, *args: Any) -> None:
        """For `start` alone."""
        super().__init__(*args)
        # Numbers of the jobs without an outcome.
        self._open: set[int] = set()
        # What one read has brought.
        self._taken = NumberedOutcomes([], [])

    @property
    def running(self) -> bool:
        """Whether some job without an outcome has begun."""
        return bool(self.begun())

    def begun(self) -> dict[int, Begun]:
        """The jobs that have begun and have no outcome here, by number."""
        if self.death is not None:
            return {}
        found = read_begun(self._journal.words, self._most)
        return {number: each for number, each in found.items() if number in self._open}

    def has(self, number: int) -> bool:
        """Whether a job has no outcome here."""
        return self.death is None and number in self._open

    def submit(self, function: FunctionRef, entries: list[Entry], size: int = 0) -> None:
        self._open.update(range(self._sent, self._sent + len(entries)))
        super().submit(function, entries, size)

    def cancel(self, number: int) -> None:
        """Have a job cancelled, if it is a coroutine or has not begun; its outcome comes as any other."""
        if number in self._open and not self._gone:
            self._queue(CANCEL, None, [(number,)])

    def _receive(self) -> bool:
        going_on = super()._receive()
        if self._taken:
            taken, self._taken = self._taken, NumberedOutcomes([], [])
            self._on_outcomes(self, taken)
        return going_on

    def _take(self, payload: memoryview, descriptors: Sequence[Descriptor | None]) -> None:
        try:
            number, outcome = loads(payload)
            known = number in self._open
            if descriptors:
                attach([outcome[1]], descriptors)
        except Exception as error:
            raise FrameBroken(f"{type(error).__name__}: {error}") from error
        if not known:
            raise FrameBroken(f"an outcome of job {number!r}, which it does not have")
        self._open.discard(number)
        self._done += 1
        self._taken.numbers.append(number)
        self._taken.append(outcome)

    def _watch_progress(self) -> None:
        """Nothing waits in the worker behind a slow job."""

    def _recover(self) -> None:
        """The page holds no outcomes."""

    def _last_words(self, end: WorkerExit) -> WorkerDeath:
        found = read_begun(self._journal.words, self._most)
        # In a damaged page nobody can see what had begun; never to run a job twice counts for more.
        damaged = any(not 0 <= number < self._sent for number in found)
        begun = frozenset(self._open if damaged else self._open & found.keys())
        return WorkerDeath(end, running=bool(begun), begun=begun)
