"""`event_manager`: how handlers are added and events are sent, from actors and from plain asyncio code."""

from __future__ import annotations

from typing import Any

from ..._kernel._reasons import NORMAL
from ..._kernel._ref import ActorRef
from ..._kernel._self import me
from .._target import Target, ref_to
from ._handler import HandlerSpec, checked
from ._manager import EventManager, EventManagerStatistics


class EventManagerHandle:
    """An event manager by its address; made by `event_manager`.

    All that waits raises CallTimeout, ActorExited, NotRunning and CallCycle as `ref.call` does.
    """

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[EventManager]) -> None:
        self._ref = ref

    @property
    def ref(self) -> ActorRef[EventManager]:
        """The manager's ref."""
        return self._ref

    def within(self, seconds: float | None) -> EventManagerHandle:
        """The same manager with another deadline than 5 s; None waits for ever."""
        return EventManagerHandle(self._ref.within(seconds))

    async def add_handler(self, spec: HandlerSpec[Any]) -> None:
        """Make a handler, `otp.handler(Name, ...)`, in the manager and give it events from now on.

        Raises:
            HandlerPresent: the id is taken.
            HandlerFailed: its constructor or its `on_start` raised.
        """
        await self._ref.call(EventManager.add_handler, checked(spec))

    async def add_supervised_handler(self, spec: HandlerSpec[Any]) -> None:
        """The same, tied to the current process.

        That process is sent `HandlerGone` when the handler goes, and its end is the end of the handler. The
        two processes are linked for as long, so a manager that is killed is told of as an exit.

        Raises:
            NotInProcess: there is no current process.
        """
        await self._ref.call(EventManager.add_handler, checked(spec), me())

    async def delete_handler(self, id: Any, reason: Any = NORMAL) -> Any:
        """Take a handler out; returns what its `on_stop(reason)` returned.

        Raises:
            HandlerNotFound: there is no such handler.
            HandlerFailed: its `on_stop` raised; it is gone.
        """
        return await self._ref.call(EventManager.delete_handler, id, reason)

    async def swap_handler(self, id: Any, spec: HandlerSpec[Any], reason: Any = NORMAL) -> None:
        """Put a new handler in the place of another, with what the `on_stop(reason)` of that one returned.

        No event is lost in between. It is supervised by whoever supervised the old one.

        Raises:
            HandlerPresent: the id of the new one is taken by a third.
            HandlerFailed: the new one could not be made; neither is there.
        """
        await self._ref.call(EventManager.swap_handler, id, checked(spec), reason)

    async def swap_supervised_handler(self, id: Any, spec: HandlerSpec[Any], reason: Any = NORMAL) -> None:
        """The same; the new one is supervised by the current process."""
        await self._ref.call(EventManager.swap_handler, id, checked(spec), reason, me())

    async def call(self, id: Any, request: Any) -> Any:
        """Ask one handler; returns what its `on_call(request)` returns.

        Raises:
            HandlerNotFound: there is no such handler.
            HandlerFailed: it raised and is gone.
            UsageError: it has no `on_call`.
        """
        return await self._ref.call(EventManager.call_handler, id, request)

    def notify(self, event: Any) -> None:
        """Send an event and do not wait; to a manager that is dead it is lost. Raises `MailboxFull`."""
        self._ref.cast(EventManager.notify, event)

    async def sync_notify(self, event: Any) -> None:
        """Send an event and wait until all handlers are done with it."""
        await self._ref.call(EventManager.notify, event)

    async def which_handlers(self) -> list[Any]:
        """The ids of the handlers, in the order in which they get events."""
        return await self._ref.call(EventManager.which_handlers)

    async def statistics(self) -> EventManagerStatistics:
        """Figures since the manager's start."""
        return await self._ref.call(EventManager.statistics)

    async def stop(self, reason: object = NORMAL, *, timeout: float | None = 5.0) -> None:
        """End the manager after what was sent to it before; each handler's `on_stop` is called."""
        await self._ref.stop(reason, timeout=timeout)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventManagerHandle) and self._ref == other._ref

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"<EventManagerHandle of {self._ref!r}>"


def event_manager(manager: Target, /) -> EventManagerHandle:
    """A handle on an event manager, from its ref or its registered name.

    Raises:
        UsageError: it is neither, or a ref to an actor of another class.
    """
    return EventManagerHandle(ref_to(manager, EventManager))
