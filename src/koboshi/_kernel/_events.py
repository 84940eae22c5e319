"""What happened, told to whoever listens: the one seam for logs, metrics and the observer.

The kernel prints nothing and configures no logging. Each event is a frozen dataclass with a
`level` in the sense of `logging`; a node hands it to its instruments in turn.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any, ClassVar, Protocol

from ._reasons import ExitReason

logger = logging.getLogger("koboshi")
logger.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the process called `process`."""

    level: ClassVar[int] = logging.INFO
    process: str


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A process is up and takes messages."""

    level: ClassVar[int] = logging.DEBUG


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """A process is gone."""

    level: ClassVar[int] = logging.DEBUG
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class CrashReport(Event):
    """An exception escaped from a process's code and ended it.

    Attributes:
        error: the exception, with its traceback.
        message: the message in hand, as text.
        state: the actor's state, through its `format_status`.
        links: who was linked to it.
        ancestors: who started it, nearest first.
        waiting: messages in the mailbox that are lost with it.
        correlation_id: `correlation_id` in the context of the message in hand.
    """

    level: ClassVar[int] = logging.ERROR
    error: BaseException
    message: str
    state: str
    links: tuple[str, ...]
    ancestors: tuple[str, ...]
    waiting: int
    correlation_id: str | None = None

    def traceback(self) -> str:
        """The traceback as text."""
        return "".join(traceback.format_exception(self.error))


@dataclass(frozen=True, slots=True)
class Restarted(Event):
    """A supervisor started a child again; `restarts` counts that child's restarts."""

    level: ClassVar[int] = logging.WARNING
    child: str
    reason: ExitReason
    restarts: int


@dataclass(frozen=True, slots=True)
class RestartFailed(Event):
    """A supervisor could not start a child again and will retry as its budget allows."""

    level: ClassVar[int] = logging.ERROR
    child: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class GivenUp(Event):
    """A supervisor spent its restart budget on `child`."""

    level: ClassVar[int] = logging.CRITICAL
    child: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Parked(Event):
    """A child spent its budget and stays down, while its siblings go on."""

    level: ClassVar[int] = logging.CRITICAL
    child: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Unhandled(Event):
    """A message that the process has no handler for was dropped."""

    level: ClassVar[int] = logging.WARNING
    message: str


@dataclass(frozen=True, slots=True)
class Dropped(Event):
    """A message was dropped because a mailbox was full."""

    level: ClassVar[int] = logging.WARNING
    message: str
    limit: int


@dataclass(frozen=True, slots=True)
class CommandOutput(Event):
    """An external program has written a line; `stream` is stdout or stderr."""

    level: ClassVar[int] = logging.DEBUG
    stream: str
    line: str


@dataclass(frozen=True, slots=True)
class LoopBlocked(Event):
    """A handler has held the event loop for `seconds`; `stack` shows where it is."""

    level: ClassVar[int] = logging.WARNING
    message: str
    seconds: float
    stack: str


@dataclass(frozen=True, slots=True)
class Stubborn(Event):
    """A killed handler, or the `run` of a saga, went on after its cancellation and had to be closed by force."""

    level: ClassVar[int] = logging.WARNING
    message: str


class Instrument(Protocol):
    """Receives events. Called on the event loop's thread (`LoopBlocked`: the watchdog's); keep it short."""

    def __call__(self, event: Event, /) -> None: ...


class Instruments:
    """The instruments of one node, and its log.

    Instruments hear of an event as it happens. The log is written a moment later, when the loop comes
    round: formatting a traceback takes longer than a restart, and nobody should wait for it to be
    served again.

    Args:
        soon: has a function called on the node's thread when the loop comes round.
    """

    __slots__ = ("_listeners", "_soon", "_thread", "_unwritten", "lifecycle")

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self._soon = soon
        self._thread = get_ident()
        self._listeners: list[Instrument] = []
        self._unwritten: list[Event] = []
        # True when somebody besides the log listens. `Started` and `Ended` are only built then,
        # because an actor's start and end are hot paths.
        self.lifecycle = False

    def wants(self, level: int) -> bool:
        """Whether anybody takes events of this level, so that building one is worth its time."""
        return bool(self._listeners) or logger.isEnabledFor(level)

    def emit(self, event: Event) -> None:
        """Give the event to every instrument; one that raises is logged and does not stop the others."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                logger.exception("the instrument %r failed on %r", listener, event)
        if get_ident() != self._thread:
            log_event(event)  # the watchdog's: the loop may not come round for long
        elif logger.isEnabledFor(event.level):
            if not self._unwritten:
                self._soon(self.flush)
            self._unwritten.append(event)

    def flush(self) -> None:
        """Write to the log what has not been written yet."""
        unwritten, self._unwritten = self._unwritten, []
        for event in unwritten:
            log_event(event)

    def add(self, instrument: Instrument) -> Callable[[], None]:
        """Add an instrument; the function returned removes it."""
        self._listeners.append(instrument)
        self.lifecycle = True

        def remove() -> None:
            if instrument in self._listeners:
                self._listeners.remove(instrument)
            self.lifecycle = bool(self._listeners)

        return remove


def log_event(event: Event) -> None:
    """One line to the logger `koboshi`, with the traceback for a crash."""
    if not logger.isEnabledFor(event.level):
        return
    extra: dict[str, Any] = {"koboshi_event": event}
    if isinstance(event, CrashReport):
        cause = event.error
        logger.log(
            event.level,
            "%s crashed on %s: %s: %s (state %s; %d messages lost)",
            event.process,
            event.message,
            type(cause).__name__,
            cause,
            event.state,
            event.waiting,
            exc_info=(type(cause), cause, cause.__traceback__),
            extra=extra,
        )
    else:
        logger.log(event.level, "%s", event, extra=extra)
