"""What a trace tells of an actor: each message that it takes, each reply, each change of its state."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any, ClassVar

from ..._kernel._events import Event
from ...wire._pickle import dumps


@dataclass(frozen=True, slots=True)
class TraceEvent(Event):
    """One event of a traced actor; `process` is the actor's label.

    In another process, what cannot be sent of it stands there as its repr.
    """

    level: ClassVar[int] = logging.INFO

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, each.name) for each in dataclasses.fields(self))
        return type(self), tuple(_portable(value) for value in values)


@dataclass(frozen=True, slots=True)
class MessageIn(TraceEvent):
    """The actor begins on a message.

    Attributes:
        message: its name, such as `Counter.add`, or that of a callback, such as `Counter.on_info`.
        args, kwargs: what it was sent with.
        call: whether a caller waits for the reply.
    """

    message: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    call: bool


@dataclass(frozen=True, slots=True)
class MessageOut(TraceEvent):
    """The actor's handler has returned the reply to a call; deferred and forwarded ones are not told of."""

    message: str
    reply: Any


@dataclass(frozen=True, slots=True)
class MessageFailed(TraceEvent):
    """The actor's handler has raised: the actor is about to end."""

    message: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class StateChange(TraceEvent):
    """The state is another one after a message; both as text, through `format_status`."""

    message: str
    before: str
    after: str


def _portable(value: Any) -> Any:
    """The value, or what stands for it where it cannot be sent."""
    try:
        dumps(value)
    except Exception:
        if isinstance(value, tuple):
            return tuple(_portable(each) for each in value)  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, dict):
            return {name: _portable(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, BaseException):
            return RuntimeError(repr(value))
        return repr(value)
    return value
