"""Event managers: one process that gives each event to any number of handlers; OTP's `gen_event`."""

from ._errors import HandlerError, HandlerFailed, HandlerNotFound, HandlerPresent
from ._handle import EventManagerHandle, event_manager
from ._handler import EventHandler, HandlerSpec, handler
from ._manager import EventManager, EventManagerStatistics
from ._notices import HandlerCrashed, HandlerGone

__all__ = [
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
    "event_manager",
    "handler",
]
