"""Looking into running actors, and changing what is found, without their help: OTP's `sys`.

Everything here is a system message: it is served between two messages of the actor, in its turn, also while
the actor is suspended.
"""

from ._calls import (
    DONE,
    get_state,
    get_status,
    install,
    log,
    no_debug,
    remove,
    replace_state,
    resume,
    statistics,
    suspend,
    trace,
)
from ._debug import DebugRemoved
from ._events import MessageFailed, MessageIn, MessageOut, StateChange, TraceEvent
from ._operations import ActorStatus
from ._sinks import ActorStatistics

__all__ = [
    "DONE",
    "ActorStatistics",
    "ActorStatus",
    "DebugRemoved",
    "MessageFailed",
    "MessageIn",
    "MessageOut",
    "StateChange",
    "TraceEvent",
    "get_state",
    "get_status",
    "install",
    "log",
    "no_debug",
    "remove",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "trace",
]
