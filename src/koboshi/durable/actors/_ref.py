"""The address of one durable actor: what is sent to it wakes it, and is sent again where that surely is right."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from ..._kernel._calls import check_within
from ..._kernel._cell import DEAD
from ..._kernel._errors import ActorExited, CallTimeout, NotRunning, StartError, UsageError
from ..._kernel._message import MARK, Message, describe, no_attribute
from ..._kernel._ref import ActorRef
from .._failures import Fenced, HostLost, OutcomeUnknown, OwnedElsewhere, StoreUnavailable
from ._actor import DurableActor
from ._definition import Definition
from ._erasing import drop, erase
from ._identity import checked_name
from ._kind import Kind
from ._past import Past
from ._put import put
from ._query import check_turn
from ._routing import elsewhere, was_relayed
from ._turn import REQUEST_ID

if TYPE_CHECKING:
    from ._activation import Activation

__all__ = ["DurableRef", "live"]

_log = logging.getLogger("koboshi.durable")

A_co = TypeVar("A_co", bound=DurableActor[Any], covariant=True)
AA = TypeVar("AA", bound=DurableActor[Any])
P = ParamSpec("P")
R = TypeVar("R")

# How often a call is sent again that surely was not handled, and the first delay of one that may be repeated.
_MOST_SENDS = 10
_FIRST_DELAY = 0.05


class DurableRef(Past[A_co], Generic[A_co]):
    """The address of one durable actor. It is awake when a message reaches it, wherever it was before."""

    __slots__ = ("_definition", "_is_routed", "_request", "_within", "key")

    def __init__(
        self,
        definition: Definition,
        key: str,
        within: float | None,
        request: str | None,
        *,
        is_routed: bool = False,
    ) -> None:
        self._is_routed = is_routed
        self._definition = definition
        self.key = key
        self._within = within
        self._request = request

    if not TYPE_CHECKING:  # they are to report such an attribute

        def __getattr__(self, name):
            protocol = None if name.startswith("_") else self._definition.cls._kb_info.protocol
            raise no_attribute(self, name, protocol)

    def within(self, seconds: float | None) -> DurableRef[A_co]:
        """The same address with another deadline for its calls, in seconds; None waits for ever."""
        check_within(seconds)
        return DurableRef(self._definition, self.key, seconds, self._request)

    def request(self, id: str) -> DurableRef[A_co]:
        """The same address for a request with an id: whatever is lost in between, it is handled once.

        The reply is kept under the id for a day; who asks again gets it. A call whose outcome is unknown, or that met
        a store which was down, is repeated by itself until its deadline.
        """
        if self._definition.pooled:
            raise UsageError(
                f"{self._definition.type} is pooled and files no replies, so it takes no request's id"
            )
        return DurableRef(self._definition, self.key, self._within, checked_name("request id", id, 128))

    def check(self, message: Any, sender: Definition | None = None) -> None:
        """Raise `UsageError` for what is no message of this kind, or comes from an actor of another store."""
        if sender is not None and sender.store != self._definition.store:
            raise UsageError(
                f"{self.who} is kept in {self._definition.store} and {sender.type}, which sends to it, in "
                f"{sender.store}; what a turn sends is one transaction with it, so both need one store"
            )
        if sender is not None:
            self._check_recorded(message)
        if message not in self._definition.cls._kb_info.protocol:
            raise _no_message(self._definition, message)

    def _check_recorded(self, message: Any) -> None:
        check_turn(message)
        if self._definition.pooled:
            raise UsageError(
                f"{self._definition.type} is pooled and keeps no messages; call it, or put a task into a kb.Queue"
            )

    async def call(
        self: DurableRef[AA], message: Message[AA, P, R, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Send a message and wait for the reply, which leaves the actor after its turn is committed.

        Raises:
            Refused: the actor has refused it; nothing has changed.
            CallTimeout, ActorExited, MailboxFull, CallCycle, UsageError: as `ActorRef.call`.
            StartError: its `initial` or `on_start` has failed.
            NotRunning: the kind does not run. One that its supervisor starts again is waited for, 5 s at most.
            StoreUnavailable: the store cannot be reached; nothing was recorded.
            RequestMismatch: the request's id is that of another message, or of other arguments.
            OutcomeUnknown: nobody knows whether it was recorded; ask again with `request`.
            Corrupted: its row cannot be used.
            OwnedElsewhere: another program holds it and is alive.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = None if self._within is None else began + self._within
        # As it was given while no time is lost: calls of one length share a timer.
        left, sends, delay = self._within, 0, _FIRST_DELAY
        while True:
            kind = self._definition.live
            # Again only with a look whether it has ended: its kind hears of that a moment later than its callers.
            found: Activation | ActorRef[Kind] | None
            found = None if kind is None or sends else kind.active.get(self.key)
            has_waited = found is None
            try:
                if found is None:
                    found = await self._found(message, began, deadline)
                if isinstance(found, ActorRef):
                    return cast("R", await self._routed(found, "call", message, deadline, args, kwargs))
                found.used = found.kind.tick
                if has_waited and deadline is not None:
                    left = max(0.0, deadline - loop.time())
                if self._request is None:
                    return await found.ref.within(left).call(message, *args, **kwargs)
                return cast("R", await self._with_id(found, left, message, args, kwargs))
            except (ActorExited, NotRunning) as error:
                # It was put to sleep, or ended, before this message had its turn: that can be sent again.
                sends += 1
                if found is not None and not isinstance(found, ActorRef) and found.unstarted is not None:
                    failure = StartError(*found.unstarted)
                    raise failure from failure.__cause__
                if error.maybe_executed or sends >= _MOST_SENDS:
                    raise
            except (OutcomeUnknown, Fenced, StoreUnavailable, HostLost):
                if self._request is None or (deadline is not None and loop.time() + delay >= deadline):
                    raise
                await asyncio.sleep(delay)
                delay *= 2

    async def _with_id(
        self, activation: Activation, left: float | None, message: Any, args: Any, kwargs: Any
    ) -> Any:
        assert self._request is not None
        await activation.look_up(self._request)
        outer = REQUEST_ID.set(self._request)
        try:
            return await activation.ref.within(left).call(message, *args, **kwargs)
        finally:
            REQUEST_ID.reset(outer)

    async def _found(self, message: Any, began: float, deadline: float | None) -> Activation | ActorRef[Kind]:
        """The actor, awake; or the kind on another node of this program that has it, or may."""
        kind = self._definition.live
        other = self._beside()
        if other is not None:
            return other
        if kind is not None:
            live(self._definition, message)  # on this thread, or not at all
        if kind is None or (kind.ends and self.key not in kind.active):
            kind = await self._definition.started(describe(message), deadline)
        activation = kind.active.get(self.key)
        if activation is not None and activation.cell.state == DEAD:
            activation = None  # it has just ended, and the kind is yet to hear of it
        if activation is None and not self._is_routed:
            other = kind.keeper(self.key)
        return activation or other or await self._awake(kind, message, began, deadline)

    def _beside(self) -> ActorRef[Kind] | None:
        """The kind on another node of this program, where none runs on this one."""
        return elsewhere(self._definition, None) if self._definition.live is None else None

    async def _routed(
        self, other: ActorRef[Kind], verb: str, message: Any, deadline: float | None, args: Any, kwargs: Any
    ) -> Any:
        """Have the kind on another node do it."""
        left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
        name = getattr(message, "__name__", verb)
        try:
            return await other.within(left).call(
                Kind.routed, verb, self.key, name, args, kwargs, left, self._request
            )
        except (ActorExited, NotRunning) as error:
            if was_relayed(error):
                raise
            if self._definition.live is not None:
                self._definition.live.forget_keeper(self.key)
            if error.maybe_executed:
                raise HostLost(str(self.who), describe(message)) from error
            await asyncio.sleep(_FIRST_DELAY)  # until its end is known everywhere
            raise

    async def _awake(
        self, kind: Kind, message: Any, began: float, deadline: float | None
    ) -> Activation | ActorRef[Kind]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Activation | ActorRef[Kind]] = loop.create_future()
        waiting = _Waiting(future)
        kind.wake(self.key, waiting)
        if future.done():
            return future.result()
        timer = None if deadline is None else loop.call_at(deadline, future.cancel)
        try:
            return await future
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if deadline is None or loop.time() < deadline or (task is not None and task.cancelling()):
                raise
            held = None if waiting.holder is None else OwnedElsewhere(str(self.who), waiting.holder)
            elapsed = loop.time() - began
            raise CallTimeout(
                str(self.who), describe(message), elapsed, maybe_executed=False, why=held
            ) from held
        finally:
            waiting.given_up = True
            if timer is not None:
                timer.cancel()

    def cast(
        self: DurableRef[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Send a message and do not wait for anything. It is lost if the host dies; `put` is not.

        Raises:
            NotRunning, MailboxFull, UsageError: as `call`.
        """
        self.check(message)
        other = self._beside()

        def route(other: ActorRef[Kind]) -> None:
            name = cast("Any", message).__name__
            other.cast(Kind.routed, "cast", self.key, name, args, kwargs, None, self._request)

        if other is not None:
            route(other)
            return
        kind = live(self._definition, message)
        activation = kind.active.get(self.key)
        if activation is not None and activation.cell.state != DEAD:
            activation.used = kind.tick
            activation.ref.cast(message, *args, **kwargs)
            return

        def ready(found: Activation | None) -> None:
            if found is not None:
                found.ref.cast(message, *args, **kwargs)

        kind.wake(self.key, _Casting(ready, route))

    async def awake(self: DurableRef[AA]) -> ActorRef[AA]:
        """Wake the actor; the address of this activation, to monitor or link it.

        Raises:
            CallTimeout, NotRunning, Corrupted, OwnedElsewhere, StoreUnavailable: as `call`.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = None if self._within is None else began + self._within
        found = await self._found("awake", began, deadline)
        if isinstance(found, ActorRef):
            return cast("ActorRef[AA]", await self._routed(found, "awake", "awake", deadline, (), {}))
        return found.ref

    async def erase(self) -> int:
        """Take the actor and everything that is stored of it away, in one transaction; how many rows that were.

        It ends if it is awake, and the next message starts it anew. Where another program has it awake, its turns and
        linearizable queries are refused at once, and plain queries are answered for about a second more. Backups
        keep what they have; with `keys` that is unreadable without the actor's data key, which goes too.

        Raises:
            NotRunning, StoreUnavailable, OutcomeUnknown: as `call`.
        """
        if (other := self._beside()) is not None:
            return cast("int", await self._routed(other, "erase", "erase", None, (), {}))
        kind, who = live(self._definition, "erase"), self.who
        rows, owner = await kind.store.change(lambda session: erase(session, who))
        self._dropped()
        if owner is not None and (other := elsewhere(self._definition, owner)) is not None:
            try:
                await self._routed(other, "_dropped", "erase", None, (), {})
            except (ActorExited, NotRunning, HostLost) as error:
                _log.debug("%s has ended with its node after it was erased: %s", who, error)
        return rows

    def _dropped(self) -> None:
        """It was erased: it answers nobody any more, if it is awake here."""
        activation = live(self._definition, "erase").active.get(self.key)
        if activation is not None:
            drop(activation)

    async def put(
        self: DurableRef[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Record a message; when this returns it will be handled, exactly once, whatever crashes.

        `request` gives it an id: the same id put again is handled once.

        Raises:
            RequestMismatch: the id is that of another message, or of other arguments.
            StoreUnavailable, OutcomeUnknown, NotRunning, UsageError: as `call`.
        """
        self.check(message)
        self._check_recorded(message)
        deadline = None if self._within is None else asyncio.get_running_loop().time() + self._within
        if (other := self._beside()) is not None:
            await self._routed(other, "put", message, deadline, args, kwargs)
            return
        kind = await self._definition.started(describe(message), deadline)
        await put(kind, self.who, self._request, cast("Any", message), args, kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DurableRef) and self.who == other.who

    def __hash__(self) -> int:
        return hash(self.who)

    def __repr__(self) -> str:
        return f"<DurableRef {self.who}>"


class _Waiting:
    """Who waits for an actor to wake; a call whose deadline has passed does no longer."""

    __slots__ = ("_future", "given_up", "holder")

    def __init__(self, future: asyncio.Future[Activation | ActorRef[Kind]]) -> None:
        self._future = future
        self.given_up = False
        # The host that had it when it was last looked for.
        self.holder: str | None = None

    def held_by(self, host: str) -> None:
        """Another living host has it."""
        self.holder = host

    def route(self, other: ActorRef[Kind]) -> None:
        """Another node of this program has it."""
        self.given_up = True
        if not self._future.done():
            self._future.set_result(other)

    def __call__(self, activation: Activation | None, error: BaseException | None) -> None:
        if self._future.done():
            return
        if activation is not None:
            self._future.set_result(activation)
        elif error is not None:
            self._future.set_exception(error)


class _Casting:
    """A cast that waits for an actor to wake."""

    __slots__ = ("_ready", "_route", "given_up")

    def __init__(
        self, ready: Callable[[Activation | None], None], route: Callable[[ActorRef[Kind]], None]
    ) -> None:
        self._ready = ready
        self._route = route
        self.given_up = False

    def route(self, other: ActorRef[Kind]) -> None:
        """Another node of this program has it."""
        self.given_up = True
        self._route(other)

    def __call__(self, activation: Activation | None, error: BaseException | None) -> None:
        if not self.given_up:
            self._ready(activation)


def live(definition: Definition, message: Any) -> Kind:
    return definition.running(describe(message))


def _no_message(definition: Definition, message: Any) -> UsageError:
    name = definition.cls.__qualname__
    known = ", ".join(sorted({fn.__qualname__ for fn in definition.cls._kb_info.protocol})) or "none"
    if not getattr(message, MARK, False):
        return UsageError(
            f"{describe(message)} is no message of {name}: mark the method with @kb.message and pass it by the "
            f"class, such as {name}.method; its messages are: {known}"
        )
    return UsageError(f"{describe(message)} is not a message of {name}; its messages are: {known}")
