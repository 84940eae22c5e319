"""The jobs of a worker that has several in hand: each with its number, since any may be the next to end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from ..process._outcomes import NumberedOutcomes
from ._batch import Batch
from ._window import Window

__all__ = ["NumberedWindow"]


class NumberedWindow(Window):
    """What the dispatcher knows of such a worker.

    Args:
        most: jobs that it may have in hand at once.
        first: the number of the first job that it is given here.
    """

    __slots__ = ("jobs", "next")

    def __init__(self, quota: int | None, lane: int, now: float, most: int, first: int) -> None:
        super().__init__(quota, lane, now)
        self.window = most
        # Of one job each, in the order of their numbers.
        self.jobs: dict[int, Batch] = {}
        self.next = first

    def add(self, batch: Batch) -> None:
        for single in batch.singles():
            self.jobs[self.next] = single
            self.next += 1

    def held(self) -> Iterable[Batch]:
        return self.jobs.values()

    def match(self, outcomes: Sequence[Any]) -> Iterator[tuple[Batch, Sequence[Any]]]:
        """Take out the jobs that these outcomes, `NumberedOutcomes`, are of."""
        assert isinstance(outcomes, NumberedOutcomes)
        for number, outcome in zip(outcomes.numbers, outcomes, strict=True):
            yield self.jobs.pop(number), [outcome]

    def running(self, begun: Collection[int]) -> Batch | None:
        return self.jobs.get(min(begun)) if begun else None

    def lose(self, *, running: bool, begun: Collection[int]) -> tuple[list[Batch], list[Batch]]:
        hit = [batch for number, batch in self.jobs.items() if number in begun]
        return hit, [batch for number, batch in self.jobs.items() if number not in begun]

    @property
    def full(self) -> bool:
        return self.congested or self.retired or self.in_flight >= self.window

    @property
    def busyness(self) -> tuple[bool, float]:
        return self.full, float(self.in_flight)

    def observe(self, count: int, now: float) -> None:
        """Its room is fixed: jobs that wait say nothing of how many more may."""
        self.since = now

    def number(self, taker: Any, tag: object) -> int | None:
        """The number of a job, None when the worker does not have it."""
        for number, batch in self.jobs.items():
            if batch.taker is taker and batch.tags is not None and batch.tags[0] is tag:
                return number
        return None
