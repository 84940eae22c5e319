"""What a router tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._kernel._ref import ActorRef
from ._strategies import RouterStrategy


@dataclass(frozen=True, slots=True)
class RouteeInfo:
    """One routee: its `id` in the router, calls `outstanding` now, `calls` since the router was made."""

    id: Any
    ref: ActorRef[Any]
    alive: bool
    outstanding: int
    calls: int


@dataclass(frozen=True, slots=True)
class RouterStatistics:
    """A router at one moment.

    Attributes:
        routees: each of them.
        outstanding: calls that are not answered yet.
        waiting: callers that wait for a place.
        calls, casts: how many there were.
        rerouted: calls that went on to another routee, because theirs had ended before it began on them.
        refused: casts and calls for which there was no place, or no place in time.
    """

    strategy: RouterStrategy
    routees: tuple[RouteeInfo, ...]
    outstanding: int
    waiting: int
    calls: int
    casts: int
    rerouted: int
    refused: int
