"""What the parts of one task processor share: its options, and how each finds the others.

The parts find each other by registered names, which survive restarts of any of them. The store's path is
in the names: an exclusive ledger has one processor at a time, so it is unique on the node.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from .._kernel._actor import Actor
from .._kernel._ref import ActorRef
from .._kernel._self import named
from .._supervision._spec import ChildSpec
from ..workers import Pool
from ._backoff import Backoff
from ._jobs import Result

__all__ = ["Plan", "Source", "Work"]

A = TypeVar("A", bound=Actor)

Work = Callable[[bytes], bytes]
"""Runs in a worker process: payload in, result out. A plain function that can be imported by its name."""

Source = Callable[[], Iterable[tuple[str, bytes]] | AsyncIterable[tuple[str, bytes]]]
"""Gives the jobs as (id, payload), from the first one on, each time it is called."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of one task processor; see `TaskProcessor` for what they mean."""

    store: str
    work: Work
    source: Source | None
    fold: Callable[[Any, Result], Any]  # Any: the processor's own type variable, checked at its face
    initial: Callable[[], Any]
    pool: ChildSpec[Pool]
    in_flight: int
    ahead: int
    lease: float
    max_attempts: int
    max_interruptions: int
    backoff: Backoff

    def name(self, part: str) -> tuple[str, str, str]:
        """The registered name of a part."""
        return ("task processor", self.store, part)

    def find(self, cls: type[A], part: str, within: float | None = None) -> ActorRef[A]:
        """A stable ref to a part; its calls wait without a deadline unless `within` says otherwise.

        Parts work for as long as the disk needs, and a part that ends fails its callers at once.
        """
        return named(cls, self.name(part)).within(within)
