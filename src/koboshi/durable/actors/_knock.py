"""Waking an actor for messages that were recorded for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._activation import Activation

__all__ = ["Knock"]


class Knock:
    """Waits for an actor to wake, and not for another host to let it go."""

    __slots__ = ("_answered", "_key")
    given_up = True

    def __init__(self, answered: Callable[..., None], key: str) -> None:
        self._answered = answered
        self._key = key

    def __call__(self, activation: Activation | None, error: BaseException | None) -> None:
        self._answered(self._key, activation, error)
