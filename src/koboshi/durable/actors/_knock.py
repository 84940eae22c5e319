"""Waking an actor for messages that were recorded for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._routing import look_at

if TYPE_CHECKING:
    from ..._kernel._ref import ActorRef
    from ._activation import Activation
    from ._kind import Kind

__all__ = ["Knock"]


class Knock:
    """Waits for an actor to wake, and not for another host to let it go."""

    __slots__ = ("_answered", "_key")
    given_up = True

    def __init__(self, answered: Callable[..., None], key: str) -> None:
        self._answered = answered
        self._key = key

    def route(self, other: ActorRef[Kind]) -> None:
        """A node of this program has it awake, and delivers to it."""
        look_at(other)

    def __call__(self, activation: Activation | None, error: BaseException | None) -> None:
        self._answered(self._key, activation, error)
