"""Actors that are read where they are: on their own event loop their state is one step away.

What such an actor knows may be read, and changed by its own methods, from any turn of its loop: nothing else
runs meanwhile. From other nodes the same methods are messages.
"""

from __future__ import annotations

from typing import Any, TypeVar

from .._kernel._actor import Actor
from .._kernel._errors import NotInProcess, UsageError
from .._kernel._node import this_node
from .._kernel._ref import ActorRef
from .._kernel._self import named

__all__ = ["as_ref", "caller", "hashable"]

AA = TypeVar("AA", bound=Actor)


def as_ref(cls: type[AA], where: ActorRef[AA] | Any) -> ActorRef[AA]:
    """A ref from a ref, or from a registered name."""
    return where if isinstance(where, ActorRef) else named(cls, where)  # pyright: ignore[reportUnknownVariableType]


def caller(what: str) -> ActorRef[Any]:
    """A pid ref to the process whose code runs now.

    Raises:
        NotInProcess: there is none.
    """
    cell = this_node().current
    if cell is None:
        raise NotInProcess(
            f"{what} is about the process that asks, and none runs here: this is plain asyncio code; do it "
            "in an actor's handler, or in a process made with kb.spawn"
        )
    return ActorRef(cell)


def hashable(what: str, value: Any) -> Any:
    """The value, if it can be a key; raises `UsageError` otherwise."""
    try:
        hash(value)
    except TypeError:
        raise UsageError(f"{what} is something that can be hashed, such as a string; got {value!r}") from None
    return value
