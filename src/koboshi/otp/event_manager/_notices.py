"""What is told of a handler that is gone: to the process that added it, and to whoever listens."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar

from ..._kernel._events import Event
from ..._kernel._reasons import ExitReason, portable_error
from ..._kernel._ref import ActorRef


@dataclass(frozen=True, slots=True)
class HandlerGone:
    """Sent to the process that added a handler as a supervised one, when that handler is gone.

    Attributes:
        manager: the event manager.
        handler: the handler's id.
        reason: `Normal()` when it was deleted, has removed itself or was swapped, `Shutdown()` when its
            manager has ended, `Crashed(error)` when it has failed.
        swapped_for: the id of the handler that is there in its place, and is supervised as it was.
    """

    manager: ActorRef[Any]
    handler: Any
    reason: ExitReason
    swapped_for: Any = None


@dataclass(frozen=True, slots=True)
class HandlerCrashed(Event):
    """A handler raised and was removed; the other handlers and the manager go on.

    Attributes:
        handler: its id, as text.
        callback: in which callback.
        error: what it raised.
        event: what it was given, as text.
        state: the handler's state, through its `format_status`.
    """

    level: ClassVar[int] = logging.ERROR
    handler: str
    callback: str
    error: BaseException
    event: str
    state: str

    def __reduce__(self) -> tuple[Any, ...]:
        error = portable_error(self.error)
        return HandlerCrashed, (self.process, self.handler, self.callback, error, self.event, self.state)
