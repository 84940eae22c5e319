"""How many workers a pool has: a fixed number, or what its jobs need between two bounds.

`Demand` is decisions only: what was seen goes in, a size comes out, the clock passed in. A pool grows
when jobs have waited for a moment with nobody free, and at most doubles at a time, so that a burst that is
over at once starts nothing. It shrinks to the most workers that were busy at once in a whole window of
`idle_after` seconds, so that a pool with work every few seconds does not go up and down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ..._kernel._errors import UsageError
from ..._kernel._processors import processors
from ..._supervision._options import seconds, whole
from ..process._process import WorkerProcess
from ._dispatch import Dispatcher

__all__ = ["IDLE_AFTER", "Demand", "Elastic", "Sizing"]

IDLE_AFTER = 10.0
# Seconds for which jobs must have waited before the pool grows.
GROW_AFTER = 0.02
# Seconds without growth after workers did not start.
PAUSE_AFTER_FAILURE = 1.0


@dataclass(frozen=True, slots=True)
class Sizing:
    """The bounds of a pool's size; the same for one of fixed size."""

    least: int
    most: int
    idle_after: float = IDLE_AFTER

    @classmethod
    def of(cls, size: int | None, least: int | None, most: int | None, idle_after: float | None) -> Sizing:
        """Read the options `size`, `min`, `max` and `idle_after` of a pool.

        Raises:
            UsageError: they have no such value, or do not go together.
        """
        cores = processors()
        if least is None and most is None:
            if idle_after is not None:
                raise UsageError("idle_after is for pools with min and max: one of fixed size never shrinks")
            fixed = whole("size", cores if size is None else size, 1)
            return cls(fixed, fixed)
        if size is not None:
            raise UsageError("size is for a fixed number of workers: give size, or min and max")
        least = whole("min", 1 if least is None else least, 1)
        most = whole("max", max(cores, least) if most is None else most, 1)
        if least > most:
            raise UsageError(f"min is at most max, got min={least} and max={most}")
        seconds("idle_after", idle_after, none=True)
        return cls(least, most, IDLE_AFTER if idle_after is None else idle_after)

    @property
    def elastic(self) -> bool:
        """Whether the size changes."""
        return self.least != self.most


class Demand:
    """The size that a pool should have, from what it is seen to do."""

    def __init__(self, sizing: Sizing) -> None:
        self._sizing = sizing
        # Since when jobs have waited, with nobody free.
        self._short_since: float | None = None
        # The most workers that were busy at once in the window that ends then; None at the least size.
        self._peak = 0
        self._window_end: float | None = None

    def wanted(self, now: float, *, size: int, up: int, busy: int, waiting: int) -> int:
        """The size from now on.

        Args:
            size: workers that the pool is to have at present.
            up: those of them that take jobs; the others are being started.
            busy: those that have jobs.
            waiting: jobs that nobody has room for.
        """
        if waiting and up >= size and size < self._sizing.most:
            if self._short_since is None:
                self._short_since = now
            elif now >= self._short_since + GROW_AFTER:
                self._short_since = self._window_end = None
                return min(self._sizing.most, size + min(size, waiting))
        else:
            self._short_since = None
        return self._after_windows(now, size, size if waiting else busy)

    def _after_windows(self, now: float, size: int, needed: int) -> int:
        if size <= self._sizing.least:
            self._window_end = None
            return size
        if self._window_end is None:
            self._window_end, self._peak = now + self._sizing.idle_after, 0
        self._peak = max(self._peak, needed)
        if now < self._window_end:
            return size
        keep = min(size, max(self._sizing.least, self._peak))
        # What is busy now is the beginning of the next window.
        self._window_end, self._peak = now + self._sizing.idle_after, needed
        return keep

    def next_look(self) -> float | None:
        """When the answer may change though nothing happens."""
        grow = None if self._short_since is None else self._short_since + GROW_AFTER
        both = [each for each in (grow, self._window_end) if each is not None]
        return min(both, default=None)


class Elastic:
    """Watches the jobs of a pool and has it resized; one timer, none at the least size with nothing to do.

    Args:
        resize: has the pool take a size; it calls `resized` when that is under way.
    """

    def __init__(
        self, sizing: Sizing, dispatcher: Dispatcher[WorkerProcess], resize: Callable[[int], None]
    ) -> None:
        self._demand = Demand(sizing)
        self._dispatcher = dispatcher
        self._resize = resize
        self._size = sizing.least
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # It was asked for another size, and has not said what became of that.
        self._asked = False
        self._closed = False
        self._paused_until = 0.0

    def look(self) -> None:
        """Jobs have come or gone, or time has passed."""
        if self._closed or self._asked:
            return
        now = self._loop.time()
        up, busy, waiting = self._dispatcher.occupation()
        wanted = self._demand.wanted(now, size=self._size, up=up, busy=busy, waiting=waiting)
        if wanted < self._size or (wanted > self._size and now >= self._paused_until):
            self._asked = True
            self._resize(wanted)
        due = self._demand.next_look()
        if self._timer is not None and (due is None or self._timer.when() > due):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due is not None:
            self._timer = self._loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        self.look()

    def resized(self, size: int) -> None:
        """The pool is to have `size` workers from now on."""
        self._asked = False
        self._size = size
        self.look()

    def failed(self, size: int) -> None:
        """A further worker did not start."""
        self._paused_until = self._loop.time() + PAUSE_AFTER_FAILURE
        self.resized(size)

    def close(self) -> None:
        """Watch no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
