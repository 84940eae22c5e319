"""`EventManager`: the actor that has the handlers, and what becomes of each."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..._kernel._actor import Actor
from ..._kernel._end import Stop
from ..._kernel._errors import UsageError
from ..._kernel._message import message
from ..._kernel._reasons import NORMAL, SHUTDOWN, Crashed, Exit, ExitReason
from ..._kernel._ref import ActorRef
from ..._kernel._reply import defer
from ..._kernel._self import link, unlink
from ._errors import HandlerError, HandlerFailed, HandlerNotFound, HandlerPresent
from ._handler import EventHandler, HandlerSpec, checked
from ._notices import HandlerCrashed, HandlerGone
from ._telling import shown, tell_owner


@dataclass(frozen=True, slots=True)
class EventManagerStatistics:
    """An event manager since its start: handlers now, events and requests given, handlers that failed."""

    handlers: int
    events: int
    calls: int
    failed: int


# Failed handlers that an event manager remembers, so that who asks for one is told what became of it.
_REMEMBERED = 100


@dataclass(slots=True, eq=False)
class _Installed:
    """A handler, and the process that is told when it goes."""

    id: Any
    handler: EventHandler
    owner: ActorRef[Any] | None


class EventManager(Actor):
    """Gives each event to all of its handlers, in the order in which they were added.

    Args:
        handlers: specs of handlers that it starts with, also after a restart.
    """

    @classmethod
    def _kb_around_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        """A request that cannot be met is the caller's error and no crash of the manager."""

        @functools.wraps(run)
        async def answering(self: EventManager, *args: Any, **kwargs: Any) -> Any:
            try:
                result: Any = run(self, *args, **kwargs)
                return await result if inspect.iscoroutine(result) else result  # pyright: ignore[reportUnknownVariableType]
            except (HandlerError, UsageError) as refused:
                defer().fail(refused)

        return answering

    def __init__(self, handlers: Sequence[HandlerSpec[Any]] = ()) -> None:
        self._specs = tuple(checked(spec) for spec in handlers)
        ids = [spec.id for spec in self._specs]
        for id in ids:
            if ids.count(id) > 1:
                raise UsageError(f"two handlers have the id {id!r}; give one another with .options(id=...)")
        self._installed: dict[Any, _Installed] = {}
        # How those failed that were removed for it, the latest last, by id.
        self._failures: dict[Any, str] = {}
        self._events = self._calls = self._failed = 0

    async def on_start(self) -> None:
        self.trap_exits()  # the end of a process that supervises a handler is the end of that handler alone
        for spec in self._specs:
            await self._install(spec, None, None)

    async def on_stop(self, reason: ExitReason) -> None:
        for each in tuple(self._installed.values()):
            await self._take_out(each, reason, SHUTDOWN)

    # -- its messages ----------------------------------------------------------------------------

    @message
    async def add_handler(self, spec: HandlerSpec[Any], owner: ActorRef[Any] | None = None) -> None:
        """Make a handler and give it events from now on.

        Args:
            owner: the process that is told of its end, and whose end is its end; see `HandlerGone`.

        Raises:
            HandlerPresent, HandlerFailed
        """
        if checked(spec).id in self._installed:
            raise HandlerPresent(self._kb_cell.label(), spec.id)
        await self._install(spec, owner, None)

    @message
    async def delete_handler(self, id: Any, reason: Any = NORMAL) -> Any:
        """Take a handler out; returns what its `on_stop(reason)` returned.

        Raises:
            HandlerNotFound, HandlerFailed
        """
        result, failure = await self._take_out(self._get(id), reason, NORMAL)
        if failure is not None:
            raise failure
        return result

    @message
    async def swap_handler(
        self, id: Any, spec: HandlerSpec[Any], reason: Any = NORMAL, owner: ActorRef[Any] | None = None
    ) -> None:
        """Put a new handler in the place of another, with what the `on_stop(reason)` of that one returned.

        No event comes between the two. When there is no handler `id`, or its `on_stop` raises, the new one
        gets None. It keeps the process that supervised the old one, unless another is given. When it cannot
        be made, neither is there any more.

        Raises:
            HandlerPresent, HandlerFailed
        """
        old = self._find(id)
        self._refuse_third(old, checked(spec))
        await self._swap(old, spec, reason, owner)

    @message
    async def call_handler(self, id: Any, request: Any) -> Any:
        """Ask one handler; returns what its `on_call` returns.

        Raises:
            HandlerNotFound, HandlerFailed
            UsageError: it has no `on_call`.
        """
        each = self._get(id)
        if type(each.handler).on_call is EventHandler.on_call:
            raise UsageError(f"the handler {id!r} has no on_call and was asked {request!r}")
        self._calls += 1
        reply, failure = await self._run(each, "on_call", request)
        if failure is not None:
            raise failure
        return reply

    @message
    async def notify(self, event: Any) -> None:
        """Give an event to all handlers; its reply comes when all are done with it."""
        self._events += 1
        await self._run_all("on_event", event)

    @message
    def which_handlers(self) -> list[Any]:
        """The ids of the handlers, in the order in which they get events."""
        return list(self._installed)

    @message
    def statistics(self) -> EventManagerStatistics:
        """Figures since the start."""
        return EventManagerStatistics(len(self._installed), self._events, self._calls, self._failed)

    async def on_info(self, message: Any) -> None:
        await self._run_all("on_info", message)

    async def on_exit(self, exit: Exit) -> None:
        """A process that supervises handlers has ended: they go with it."""
        owned = [each for each in self._installed.values() if each.owner == exit.sender]
        for each in owned:
            each.owner = None  # nobody is left to be told
            await self._take_out(each, exit.reason, NORMAL)
        if not owned:
            Actor.on_info(self, exit)  # a stranger's is reported and dropped

    # -- what becomes of a handler ----------------------------------------------------------------

    async def _install(self, spec: HandlerSpec[Any], owner: ActorRef[Any] | None, handed_over: Any) -> None:
        callback = "__init__"
        try:
            handler = spec.cls(*spec.args, **spec.kwargs)
            handler._kb_manager = self.me
            callback = "on_start"
            result = handler.on_start(handed_over)
            if inspect.iscoroutine(result):
                await result
        except BaseException as error:
            self._refuse_own_end(error)
            raise HandlerFailed(self._kb_cell.label(), spec.id, callback, error) from error
        each = self._installed[spec.id] = _Installed(spec.id, handler, owner)
        self._failures.pop(spec.id, None)
        if owner is not None:
            link(owner)
        await self._obey(each)

    async def _take_out(
        self, each: _Installed, reason: Any, told: ExitReason, swapped_for: Any = None
    ) -> tuple[Any, HandlerFailed | None]:
        """Remove a handler, with its `on_stop`; returns what that returned, or how it failed."""
        if self._installed.get(each.id) is each:
            del self._installed[each.id]
        result, failure = await self._call(each, "on_stop", reason)
        if failure is not None and not isinstance(told, Crashed):
            told = Crashed(failure.__cause__ or failure)
        if each.owner is not None:
            if swapped_for is None:
                self._release(each.owner)
            tell_owner(self._kb_cell, each.owner, HandlerGone(self.me, each.id, told, swapped_for))
        return result, failure

    def _release(self, owner: ActorRef[Any]) -> None:
        """Untie a process that supervises no handler any more."""
        if not any(each.owner == owner for each in self._installed.values()):
            unlink(owner)

    def _refuse_third(self, old: _Installed | None, spec: HandlerSpec[Any]) -> None:
        """Raise when a swap would take the id of a handler that is not the one to be replaced."""
        holder = self._installed.get(spec.id)
        if holder is not None and holder is not old:
            raise HandlerPresent(self._kb_cell.label(), spec.id)

    async def _swap(
        self, old: _Installed | None, spec: HandlerSpec[Any], reason: Any, owner: ActorRef[Any] | None
    ) -> None:
        handed_over = None
        order = list(self._installed)
        if old is not None:
            handed_over, _ = await self._take_out(old, reason, NORMAL, swapped_for=spec.id)
            owner = old.owner if owner is None else owner
        try:
            await self._install(spec, owner, handed_over)
        except HandlerFailed as failed:
            if owner is not None and old is not None and old.owner == owner:
                # It has been told that the new one is there.
                gone = HandlerGone(self.me, spec.id, Crashed(failed.__cause__ or failed))
                tell_owner(self._kb_cell, owner, gone)
            raise
        finally:
            if old is not None and old.owner is not None:
                self._release(old.owner)
        if old is not None and spec.id in self._installed:
            # In the place of the old one: who comes first in line is not changed by a swap.
            order[order.index(old.id)] = spec.id
            self._installed = {id: self._installed[id] for id in order if id in self._installed}

    async def _run_all(self, callback: str, argument: Any) -> None:
        for each in tuple(self._installed.values()):
            if self._installed.get(each.id) is each:  # else an earlier one has taken it out meanwhile
                await self._run(each, callback, argument)

    async def _run(self, each: _Installed, callback: str, argument: Any) -> tuple[Any, HandlerFailed | None]:
        """Run a callback; a handler that fails in it is removed, and one that asked for it too."""
        result, failure = await self._call(each, callback, argument)
        if failure is not None:
            error = failure.__cause__
            assert error is not None
            reason = error.reason if isinstance(error, Stop) else Crashed(error)
            if not isinstance(error, Stop):
                self._remember(each.id, callback, error)
            await self._take_out(each, reason, reason)
        else:
            await self._obey(each)
        return result, failure

    async def _obey(self, each: _Installed) -> None:
        """Do what a handler has asked for in its callback."""
        handler = each.handler
        if handler._kb_remove:
            await self._take_out(each, NORMAL, NORMAL)
        elif handler._kb_swap is not None:
            try:
                self._refuse_third(each, handler._kb_swap)
            except HandlerPresent as present:
                # It has asked for what cannot be: that is its failure, and the third keeps its id.
                self._report(HandlerFailed(self._kb_cell.label(), each.id, "swap", present), "a swap", "-")
                await self._take_out(each, Crashed(present), Crashed(present))
                return
            try:
                await self._swap(each, handler._kb_swap, NORMAL, None)
            except HandlerFailed as failed:
                self._report(failed, "a swap", "-")

    async def _call(self, each: _Installed, callback: str, argument: Any) -> tuple[Any, HandlerFailed | None]:
        """Run a callback; returns its result, or how it failed, which is reported."""
        try:
            result: Any = getattr(each.handler, callback)(argument)
            if inspect.iscoroutine(result):
                result = await result  # pyright: ignore[reportUnknownVariableType]
        except BaseException as error:
            self._refuse_own_end(error)
            failure = HandlerFailed(self._kb_cell.label(), each.id, callback, error)
            if not isinstance(error, Stop):
                self._report(failure, repr(argument), shown(each.handler))
            return None, failure
        return result, None

    def _refuse_own_end(self, error: BaseException) -> None:
        """Raise what is no failure of a handler: the manager itself is being ended, or the program is."""
        task = asyncio.current_task()
        ending = self._kb_cell.doom is not None or (task is not None and task.cancelling())
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise error
        if isinstance(error, asyncio.CancelledError) and ending:
            raise error

    def _remember(self, id: Any, callback: str, error: BaseException) -> None:
        """Note why a handler is removed, for whoever asks for it later."""
        self._failures.pop(id, None)
        self._failures[id] = f"it failed in {callback}, with {type(error).__name__}: {error}, and was removed"
        if len(self._failures) > _REMEMBERED:
            del self._failures[next(iter(self._failures))]

    def _report(self, failure: HandlerFailed, event: str, state: str) -> None:
        self._failed += 1
        cause = failure.__cause__ or failure
        self._kb_cell.node.instruments.emit(
            HandlerCrashed(
                self._kb_cell.label(), repr(failure.handler), failure.callback, cause, event, state
            )
        )

    def _find(self, id: Any) -> _Installed | None:
        try:
            return self._installed.get(id)
        except TypeError:  # it cannot be hashed, so it is nobody's id
            return None

    def _get(self, id: Any) -> _Installed:
        found = self._find(id)
        if found is None:
            try:
                failure = self._failures.get(id)
            except TypeError:  # it cannot be hashed, so nobody had it
                failure = None
            raise HandlerNotFound(self._kb_cell.label(), id, tuple(self._installed), failure)
        return found

    # -- how it looks ------------------------------------------------------------------------------

    def format_status(self) -> object:
        return {id: each.handler.format_status() for id, each in self._installed.items()}

    def _kb_state(self) -> Any:
        return {id: each.handler._kb_attributes() for id, each in self._installed.items()}

    def _kb_put_state(self, state: Any) -> None:
        if not isinstance(state, dict) or set(state) != set(self._installed):  # pyright: ignore[reportUnknownArgumentType]
            raise UsageError(
                f"the state of {self._kb_cell.label()} is a dict of the attributes of each handler, "
                f"{', '.join(map(repr, self._installed)) or 'none'}, by id; got {state!r}"
            )
        states: dict[Any, Any] = state  # pyright: ignore[reportUnknownVariableType]
        for id, attributes in states.items():
            if not isinstance(attributes, dict):
                raise UsageError(f"the state of the handler {id!r} is a dict, got {attributes!r}")
        for id, attributes in states.items():
            handler = self._installed[id].handler
            kept = {name: value for name, value in vars(handler).items() if name.startswith("_kb_")}
            vars(handler).clear()
            vars(handler).update(kept | attributes)

    def __repr__(self) -> str:
        cell = getattr(self, "_kb_cell", None)
        where = "not started" if cell is None else cell.label()
        return f"<{type(self).__qualname__} {where}, {len(self._installed)} handlers>"
