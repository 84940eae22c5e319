"""How many jobs one worker may hold: about four milliseconds of work at the pace that it has shown."""

from __future__ import annotations

from collections import deque

from ._batch import Batch

__all__ = ["WINDOW_MAX", "Window"]

WINDOW_SECONDS = 0.004
"""Seconds of work that a worker may hold."""
WINDOW_MAX = 1024
"""Jobs that a worker may hold, however small."""
_PREFETCH_BELOW = 0.020


class Window:
    """What the dispatcher knows of one worker: its jobs, and how many it may hold.

    Args:
        quota: jobs that it may be given, None for any number.
        lane: its place among the workers.
        now: when it was offered, in seconds of some clock.
    """

    __slots__ = ("batches", "congested", "in_flight", "lane", "pace", "quota", "retired", "since", "window")

    def __init__(self, quota: int | None, lane: int, now: float) -> None:
        self.batches: deque[Batch] = deque()
        self.lane = lane
        # Jobs that it may still be given; None for any number.
        self.quota = quota
        # Sum of len(batch.entries) over `batches`.
        self.in_flight = 0
        self.congested = False
        self.retired = False
        self.window = 1
        # Seconds per job, smoothed; 0 while unknown.
        self.pace = 0.0
        # When the job at the head could have begun, at the earliest.
        self.since = now

    @property
    def full(self) -> bool:
        """Whether it takes no more for now, or for ever."""
        return self.congested or self.retired or self.in_flight >= self.window

    @property
    def busyness(self) -> tuple[bool, float]:
        """The less of two workers is the one that is sooner done."""
        return self.full, self.in_flight * max(self.pace, 1e-6)

    @property
    def keyed(self) -> bool:
        """Whether it has jobs of a lane."""
        return any(batch.lane is not None for batch in self.batches)

    def observe(self, count: int, now: float) -> None:
        """Adapt to `count` outcomes at `now`: fall at once, rise by averaging."""
        latest = (now - self.since) / count
        self.since = now
        self.pace = max(latest, 0.5 * self.pace + 0.5 * latest)
        self.window = min(WINDOW_MAX, 1 + int(WINDOW_SECONDS / max(self.pace, 1e-7)))
        if self.pace >= _PREFETCH_BELOW:
            self.window = 1
        elif self.window == 1:
            # The next job waits at the worker, which saves it a round trip.
            self.window = 2
