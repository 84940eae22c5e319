"""What the parts of one task processor share: its options, and how each finds the others."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ..._kernel._actor import Actor
from ..._kernel._ref import ActorRef
from ..._kernel._self import named
from ..tasks import Queue, Task
from ..tasks._live import Live, find_live
from ..tasks._plan import Plan as QueuePlan

__all__ = ["OrderedQueue", "Plan", "Result", "Source"]

A = TypeVar("A", bound=Actor)
R = TypeVar("R", covariant=True)
T = TypeVar("T")

#: Gives (id, argument) pairs, from the first one on, each time it is called.
Source = Callable[[], Iterable[tuple[str, T]] | AsyncIterable[tuple[str, T]]]


@dataclass(frozen=True, slots=True)
class Result(Generic[R]):
    """What one task returned. `position` counts results in the order of their commits, from 1."""

    position: int
    id: str
    value: R


class OrderedQueue(Queue):
    """A queue whose results are numbered in the order of their commits, and kept."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, keep_results=None, **options)
        self._plan = replace(self._plan, ordered=True)

    @property
    def plan(self) -> QueuePlan:
        """Its options, for the parts."""
        return self._plan


@dataclass(frozen=True)
class Plan:
    """The options of one task processor; see `TaskProcessor` for what they mean."""

    queue: OrderedQueue
    work: Task[..., Any]
    source: Source[Any] | None
    fold: Callable[[Any, Result[Any]], Any]  # Any: the processor's own type variables, checked at its face
    initial: Callable[[], Any]

    def part(self, name: str) -> tuple[str, str, Any, str]:
        """The registered name of a part: the queue's name and store are in it, and it survives restarts."""
        return self.queue.plan.part(name)

    def find(self, cls: type[A], part: str, within: float | None = None) -> ActorRef[A]:
        """A stable ref to a part; its calls wait without a deadline unless `within` says otherwise.

        Parts work for as long as the store needs, and a part that ends fails its callers at once.
        """
        return named(cls, self.part(part)).within(within)

    def live(self) -> Live:
        """The queue as it is up now."""
        return find_live(self.queue.plan)
