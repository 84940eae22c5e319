"""What may look at an actor: a ring of its last events, a count, a trace, a function of the user's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._kernel._node import Node
from ..._kernel._ref import ActorRef
from ._events import MessageFailed, MessageIn, MessageOut, TraceEvent


class Done:
    """What a debug function returns when it wants no more events."""

    def __repr__(self) -> str:
        return "otp.DONE"

    def __reduce__(self) -> str:
        return "DONE"


#: What a debug function returns when it wants no more events.
DONE = Done()

Hook = Callable[[Any, TraceEvent], Any]


class Ring:
    """The last events, the oldest first."""

    wants_state = True
    sends = False

    def __init__(self, size: int) -> None:
        self.events: deque[TraceEvent] = deque(maxlen=size)

    def take(self, event: TraceEvent) -> bool:
        self.events.append(event)
        return False

    def __repr__(self) -> str:
        return f"log of {self.events.maxlen}"


@dataclass(frozen=True, slots=True)
class ActorStatistics:
    """What an actor has done since its statistics were turned on.

    Attributes:
        seconds: how long ago that was.
        messages_in: messages that it has begun on.
        messages_out: replies that its handlers have returned.
        failed: handlers that have raised; no more than one, since that ends the actor.
    """

    seconds: float
    messages_in: int
    messages_out: int
    failed: int


class Count:
    """Counts events."""

    wants_state = False
    sends = False

    def __init__(self, now: float) -> None:
        self._since = now
        self._counts: dict[type[TraceEvent], int] = {}

    def take(self, event: TraceEvent) -> bool:
        self._counts[type(event)] = self._counts.get(type(event), 0) + 1
        return False

    def read(self, now: float) -> ActorStatistics:
        """The figures."""
        kinds = (MessageIn, MessageOut, MessageFailed)
        return ActorStatistics(now - self._since, *(self._counts.get(kind, 0) for kind in kinds))

    def __repr__(self) -> str:
        return "statistics"


class TraceTo:
    """Tells a process of each event, or the node's instruments and its log."""

    wants_state = True
    sends = False

    def __init__(self, node: Node, to: ActorRef[Any] | None) -> None:
        self.sends = to is not None
        self._node = node
        self._to = to

    def take(self, event: TraceEvent) -> bool:
        if self._to is None:
            self._node.instruments.emit(event)
        elif self._to.alive:
            self._to.tell(event)
        else:
            return True  # nobody reads it any more
        return False

    def __repr__(self) -> str:
        return "trace" if self._to is None else f"trace to {self._to!r}"


class Installed:
    """A function of the user's with a state: `fn(state, event)` returns the next state, or `DONE`."""

    wants_state = True
    sends = False

    def __init__(self, fn: Hook, state: Any) -> None:
        self._fn = fn
        self._state = state

    def take(self, event: TraceEvent) -> bool:
        state = self._fn(self._state, event)
        if isinstance(state, Done):
            return True
        self._state = state
        return False

    def __repr__(self) -> str:
        return f"debug function {getattr(self._fn, '__qualname__', self._fn)!s}"
