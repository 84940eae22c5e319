"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from ._agent import Agent, AgentHandle, AgentStatistics, agent
from .event_manager import (
    EventHandler,
    EventManager,
    EventManagerHandle,
    EventManagerStatistics,
    HandlerCrashed,
    HandlerError,
    HandlerFailed,
    HandlerGone,
    HandlerNotFound,
    HandlerPresent,
    HandlerSpec,
    event_manager,
    handler,
)
from .hot_code import UpgradeFailed, upgrade, upgrade_module
from .introspection import (
    DONE,
    ActorStatistics,
    ActorStatus,
    DebugRemoved,
    MessageFailed,
    MessageIn,
    MessageOut,
    StateChange,
    TraceEvent,
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

__all__ = [
    "DONE",
    "ActorStatistics",
    "ActorStatus",
    "Agent",
    "AgentHandle",
    "AgentStatistics",
    "DebugRemoved",
    "EventHandler",
    "EventManager",
    "EventManagerHandle",
    "EventManagerStatistics",
    "HandlerCrashed",
    "HandlerError",
    "HandlerFailed",
    "HandlerGone",
    "HandlerNotFound",
    "HandlerPresent",
    "HandlerSpec",
    "MessageFailed",
    "MessageIn",
    "MessageOut",
    "StateChange",
    "TraceEvent",
    "UpgradeFailed",
    "agent",
    "event_manager",
    "get_state",
    "get_status",
    "handler",
    "install",
    "log",
    "no_debug",
    "remove",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "trace",
    "upgrade",
    "upgrade_module",
]

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.otp."):
        globals()[_name].__module__ = "koboshi.otp"
