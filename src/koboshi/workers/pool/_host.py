"""What runs in a worker process of a pool of actors: one actor, on an event loop of its own.

The worker runs jobs one after the other, and each message is one job: `handle`. The actor is a real
one, with its callbacks, `kb.defer` and `async def` messages; its loop runs while a message does.
"""

from __future__ import annotations

import asyncio
import atexit
from dataclasses import dataclass
from typing import Any

from ..._kernel._errors import ActorExited, NotRunning, StartError
from ..._kernel._message import describe
from ..._kernel._reasons import SHUTDOWN, Crashed, ExitReason
from ..._kernel._ref import ActorRef
from ..._kernel._self import start
from ..process._outcomes import format_error

__all__ = ["STOP_TIMEOUT", "HostedExit", "handle", "hosted_exit", "load", "open_host"]

# Seconds that `on_stop` has at the end of the worker; the pool kills it when its own time is over.
STOP_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class HostedExit:
    """The answer to a message in which the actor ended: why, and its traceback as text."""

    message: str
    reason: ExitReason
    trace: str


def hosted_exit(message: str, reason: ExitReason) -> HostedExit:
    """The answer to `message`, in which the actor ended for `reason`."""
    return HostedExit(message, reason, format_error(reason.error) if isinstance(reason, Crashed) else "")


class _Host:
    """The actor of this process, and the loop that it lives on."""

    def __init__(self, cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.ref: ActorRef[Any] | None = None

    def start(self) -> ActorRef[Any]:
        try:
            self.ref = self.loop.run_until_complete(start(self.cls, *self.args, **self.kwargs)).within(None)
        except StartError as error:
            raise error.__cause__ or error from None
        return self.ref

    def handle(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        message = getattr(self.cls, name)
        try:
            return self._ask(message, args, kwargs)
        except NotRunning:
            # Its end was due when the loop last stood still: a KeyboardInterrupt leaves it so. Nothing was
            # delivered, and this caller has no part in it.
            if self.ref is not None and self.ref.alive:
                raise  # a handler's own answer
            return self._ask(message, args, kwargs)

    def _ask(self, message: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        ref = self.ref
        if ref is None or not ref.alive:
            try:
                ref = self.start()
            except Exception as error:
                return hosted_exit(describe(message), Crashed(error))
        try:
            return self.loop.run_until_complete(ref.call(message, *args, **kwargs))
        except ActorExited as ended:
            return hosted_exit(describe(message), ended.reason)

    def stop(self) -> None:
        if self.ref is not None and self.ref.alive:
            self.loop.run_until_complete(self.ref.stop(SHUTDOWN, timeout=STOP_TIMEOUT))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


_host: _Host | None = None


def open_host(cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Make this worker's actor; raises what its constructor or `on_start` raised."""
    global _host
    _host = _Host(cls, args, kwargs)
    _host.start()
    atexit.register(_host.stop)


def handle(name: str, /, *args: Any, **kwargs: Any) -> object:
    """Give the actor one message; returns its reply, or a `HostedExit`.

    An actor that ended in the message before is made anew first.
    """
    assert _host is not None
    return _host.handle(name, args, kwargs)


def load(function: object) -> None:
    """Does nothing: what matters is that the argument could be unpacked, and with it imported."""
