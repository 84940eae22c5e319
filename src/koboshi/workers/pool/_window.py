"""How many jobs one worker may hold: about twenty milliseconds of work at the pace that it has shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from ._batch import Batch

__all__ = ["WINDOW_MAX", "Window"]

WINDOW_SECONDS = 0.020
"""Seconds of work that a worker may hold."""
WINDOW_MAX = 1024
"""Jobs that a worker may hold, however small."""
_PREFETCH_BELOW = 0.020
# Windows of at least so many jobs are filled up by halves.
_BY_HALVES = 4


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

    def add(self, batch: Batch) -> None:
        """Note jobs that the worker is given."""
        self.batches.append(batch)

    def held(self) -> Iterable[Batch]:
        """Its jobs, the oldest first."""
        return self.batches

    def match(self, outcomes: Sequence[Any]) -> Iterator[tuple[Batch, Sequence[Any]]]:
        """Take out the jobs that these outcomes are of: the oldest. Yields each batch part with its own."""
        count = len(outcomes)
        start = 0
        while start < count:
            head = self.batches[0]
            size = len(head.entries)
            if size <= count - start:
                self.batches.popleft()
                part = head
            else:
                size = count - start
                part = head.split(size)
            yield part, outcomes if size == count else outcomes[start : start + size]
            start += size

    def running(self, begun: Collection[int]) -> Batch | None:
        """The batch whose first job the worker is at: of those in `begun` where jobs have numbers."""
        return self.batches[0] if self.batches else None

    def lose(self, *, running: bool, begun: Collection[int]) -> tuple[list[Batch], list[Batch]]:
        """What its worker dies with: the jobs that were running, one by one, and those never touched."""
        hit: list[Batch] = []
        if running and self.batches:
            head = self.batches[0]
            hit.append(head.split(1))
            if not head.entries:
                self.batches.popleft()
        return hit, list(self.batches)

    @property
    def full(self) -> bool:
        """Whether it takes no more for now, or for ever."""
        # By halves, and not job by job: a frame and a turn of two event loops cost as much for one job as for
        # many, and with jobs of a millisecond that was a tenth of two cores.
        most = self.window // 2 if self.window >= _BY_HALVES else self.window - 1
        return self.congested or self.retired or self.in_flight > most

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
