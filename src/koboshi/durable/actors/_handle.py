"""`durable`: a kind of durable actor as a program sees it, and the address of one actor."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from ..._kernel._errors import ActorExited, CallTimeout, NotRunning, UsageError
from ..._kernel._message import MARK, Message, describe
from ..._kernel._reasons import Shutdown
from ..._kernel._ref import DEFAULT_DEADLINE, ActorRef
from ..._supervision._options import one_of, seconds, whole
from ..._supervision._spec import ChildSpec, child
from .._failures import Fenced, OutcomeUnknown, StoreUnavailable
from ..stores import LEASE, Select, Session, StoreURL, check_url
from ..stores._tables import OUTBOX, REQUEST, TAG
from ._actor import REQUEST_ID, DurableActor
from ._codec import arguments_of, codec_of
from ._definition import DURABILITIES, Definition
from ._delivery import PUT, Letter
from ._identity import MOST_KEY, Identity, checked_name
from ._key_ring import KeyRing
from ._kind import DurableStatistics, Kind
from ._past import Past
from ._rows import erase_rows, keys_in_use, reseal_events, reseal_states
from ._seal import CHECKSUM

if TYPE_CHECKING:
    from ._activation import Activation

__all__ = ["Durable", "DurableRef", "durable"]

A = TypeVar("A", bound=DurableActor[Any])
A_co = TypeVar("A_co", bound=DurableActor[Any], covariant=True)
AA = TypeVar("AA", bound=DurableActor[Any])
P = ParamSpec("P")
R = TypeVar("R")

# How often a call is sent again that surely was not handled, and the first delay of one that may be repeated.
_MOST_SENDS = 10
_FIRST_DELAY = 0.05


class Durable(Generic[A]):
    """One kind of durable actor: `accounts["alice"]` is the address of one, `accounts.child()` runs the kind."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition

    def __getitem__(self, key: str) -> DurableRef[A]:
        return DurableRef(self._definition, checked_name("key", key, MOST_KEY), DEFAULT_DEADLINE, None)

    def child(self) -> ChildSpec[Kind]:
        """What a supervisor starts to run this kind: it wakes actors, delivers to them, and puts them to sleep."""
        return child(Kind, self._definition).options(id=f"durable {self._definition.type}")

    def statistics(self) -> DurableStatistics:
        """The kind as it is now.

        Raises:
            NotRunning: it does not run on this event loop.
        """
        return _live(self._definition, "statistics").statistics()

    async def where(self, **tags: str) -> list[str]:
        """The keys of those actors that have all of these tags, in order.

        It reads the store and wakes nobody.
        """
        definition = self._definition
        if not tags:
            raise UsageError("where takes at least one tag, such as where(city='Oslo')")

        def read(session: Session) -> list[str]:
            found: set[str] | None = None
            for name, value in tags.items():
                row = (definition.system, definition.type, name, value)
                keys = {
                    str(each[0])
                    for each in session.lookup(
                        TAG, ("actor_key",), ("system_name", "actor_type", "tag_name", "tag_value"), [row]
                    )
                }
                found = keys if found is None else found & keys
            return sorted(found or ())

        return await _live(definition, "where").store.read(read)

    async def keys(self, *, after: str = "", limit: int = 1_000) -> list[str]:
        """Up to `limit` keys that have a state, in order, from the first one after `after`."""
        definition = self._definition
        return await _live(definition, "keys").store.read(
            lambda session: [
                str(row[0])
                for row in session.fetch(
                    _KEYS, definition.system, definition.type, after, whole("limit", limit, 1)
                )
            ]
        )

    async def rotate_keys(self, *, portion: int = 500) -> int:
        """Seal all states and events anew that an older key, or none, has sealed; how many there were.

        The program may go on meanwhile, and when this is cut off it is asked for again. Replies and messages on
        their way are not touched: they are gone within a day.

        Raises:
            UsageError: the kind has no keys.
            WrongKey, Corrupted: a row cannot be opened; nothing of its portion was changed.
        """
        definition = self._definition
        ring = definition.sealer
        if not isinstance(ring, KeyRing):
            raise UsageError(f"durable {definition.type} has no keys; pass keys=kb.KeyRing(...)")
        store, who = _live(definition, "rotate_keys").store, Identity(definition.system, definition.type, "")
        sealed, state, event = 0, "", ("", -1)
        after: Any = state
        while after is not None:
            count, after = await store.change(
                functools.partial(
                    reseal_states, sealer=ring, who=who, after=after, current=ring.current, most=portion
                )
            )
            sealed += count
        after = event
        while after is not None:
            count, after = await store.change(
                functools.partial(
                    reseal_events, sealer=ring, who=who, after=after, current=ring.current, most=portion
                )
            )
            sealed += count
        return sealed

    async def keys_in_use(self) -> dict[str | None, int]:
        """How many rows of this kind are sealed with each key; None stands for rows that are not encrypted."""
        system, type = self._definition.system, self._definition.type
        return await _live(self._definition, "keys_in_use").store.read(
            lambda session: keys_in_use(session, system, type)
        )

    def __repr__(self) -> str:
        return f"<Durable {self._definition.type}>"


_KEYS = Select(
    "SELECT actor_key FROM kb_actor WHERE system_name = :system AND actor_type = :type AND actor_key > :after"
    " AND revision > 0 ORDER BY actor_key LIMIT :most"
)


class DurableRef(Past[A_co], Generic[A_co]):
    """The address of one durable actor. It is awake when a message reaches it, wherever it was before."""

    __slots__ = ("_definition", "_request", "_within", "key")

    def __init__(self, definition: Definition, key: str, within: float | None, request: str | None) -> None:
        self._definition = definition
        self.key = key
        self._within = within
        self._request = request

    def within(self, seconds: float | None) -> DurableRef[A_co]:
        """The same address with another deadline for its calls, in seconds; None waits for ever."""
        if seconds is not None and not seconds >= 0:
            raise UsageError(f"within takes seconds >= 0 or None, got {seconds!r}")
        return DurableRef(self._definition, self.key, seconds, self._request)

    def request(self, id: str) -> DurableRef[A_co]:
        """The same address for a request with an id: whatever is lost in between, it is handled once.

        The reply is kept under the id for a day; who asks again gets it. A call whose outcome is unknown, or that met
        a store which was down, is repeated by itself until its deadline.
        """
        return DurableRef(self._definition, self.key, self._within, checked_name("request id", id, 128))

    def check(self, message: Any) -> None:
        """Raise `UsageError` for what is no message of this kind."""
        if message not in self._definition.cls._kb_info.protocol:
            raise _no_message(self._definition, message)

    async def call(
        self: DurableRef[AA], message: Message[AA, P, R, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Send a message and wait for the reply, which leaves the actor after its turn is committed.

        Raises:
            Refused: the actor has refused it; nothing has changed.
            CallTimeout, ActorExited, MailboxFull, CallCycle, UsageError: as `ActorRef.call`.
            NotRunning: the kind does not run.
            StoreUnavailable: the store cannot be reached; nothing was recorded.
            OutcomeUnknown: nobody knows whether it was recorded; ask again with `request`.
            Corrupted: its row cannot be used.
            OwnedElsewhere: another program holds it and is alive.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = None if self._within is None else began + self._within
        sends, delay = 0, _FIRST_DELAY
        while True:
            kind = _live(self._definition, message)
            activation = kind.active.get(self.key)
            if activation is None:
                activation = await self._awake(kind, message, began, deadline)
            activation.used = kind.tick
            left = None if deadline is None else max(0.0, deadline - loop.time())
            try:
                if self._request is None:
                    return await activation.ref.within(left).call(message, *args, **kwargs)
                return cast("R", await self._with_id(activation, left, message, args, kwargs))
            except (ActorExited, NotRunning) as error:
                # It was put to sleep, or ended, before this message had its turn: that can be sent again.
                sends += 1
                if error.maybe_executed or sends >= _MOST_SENDS or not kind.me.alive:
                    raise
            except (OutcomeUnknown, Fenced, StoreUnavailable):
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

    async def _awake(self, kind: Kind, message: Any, began: float, deadline: float | None) -> Activation:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Activation] = loop.create_future()
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
            who = f"{self._definition.type}/{self.key}"
            raise CallTimeout(who, describe(message), loop.time() - began, maybe_executed=False) from None
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
        kind = _live(self._definition, message)
        self.check(message)
        activation = kind.active.get(self.key)
        if activation is not None:
            activation.used = kind.tick
            activation.ref.cast(message, *args, **kwargs)
            return

        def ready(found: Activation | None, error: BaseException | None) -> None:
            if found is not None:
                found.ref.cast(message, *args, **kwargs)

        kind.wake(self.key, ready)

    async def awake(self) -> ActorRef[A]:
        """Wake the actor; the address of this activation, to monitor or link it.

        Raises:
            CallTimeout, NotRunning, Corrupted, OwnedElsewhere, StoreUnavailable: as `call`.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = None if self._within is None else began + self._within
        kind = _live(self._definition, "awake")
        activation = kind.active.get(self.key) or await self._awake(kind, "awake", began, deadline)
        return activation.ref

    async def erase(self) -> int:
        """Take the actor and everything that is stored of it away, in one transaction; how many rows that were.

        It ends if it is awake, and the next message starts it anew. Backups keep what they have.

        Raises:
            NotRunning, StoreUnavailable, OutcomeUnknown: as `call`.
        """
        kind, who = _live(self._definition, "erase"), self.who
        rows = await kind.store.change(lambda session: erase_rows(session, who))
        activation = kind.active.get(self.key)
        if activation is not None:
            # What it commits from now on finds no row.
            kind.lost(activation, Fenced(str(who)))
            activation.ref.exit(Shutdown("erased"))
        return rows

    async def put(
        self: DurableRef[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Record a message; when this returns it will be handled, exactly once, whatever crashes.

        `request` gives it an id: the same id put again is handled once.

        Raises:
            StoreUnavailable, OutcomeUnknown, NotRunning, UsageError: as `call`.
        """
        kind = _live(self._definition, message)
        self.check(message)
        request = self._request or f"{kind.store.incarnation}-{kind.deliveries.next_put()}"
        fn = cast("Any", message)
        source, who = PUT + request, self.who
        payload, key_id = self._definition.sealer.seal(
            who, "message", f"{source}#0", arguments_of(fn).encode(args, kwargs)
        )
        row = (who.system, source, 0, who.type, who.key, fn.__name__, payload, "msgpack", key_id, "ready")
        columns = (
            *("system_name", "source", "seq", "target_type", "target_key", "message", "payload"),
            *("codec", "key_id", "state", "not_before", "attempts"),
        )

        def write(session: Session) -> bool:
            key = ("system_name", "actor_type", "actor_key", "request_id")
            if session.lookup(REQUEST, ("revision",), key, [(*who, request)]):
                return False
            return session.insert(OUTBOX, columns, [(*row, session.now, 0)], ignore=True) == 1

        if await kind.store.change(write):
            kind.deliveries.posted([Letter(source, 0, who.key, fn.__name__, payload, 0)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DurableRef) and self.who == other.who

    def __hash__(self) -> int:
        return hash(self.who)

    def __repr__(self) -> str:
        return f"<DurableRef {self.who}>"


class _Waiting:
    """Who waits for an actor to wake; a call whose deadline has passed does no longer."""

    __slots__ = ("_future", "given_up")

    def __init__(self, future: asyncio.Future[Activation]) -> None:
        self._future = future
        self.given_up = False

    def __call__(self, activation: Activation | None, error: BaseException | None) -> None:
        if self._future.done():
            return
        if activation is not None:
            self._future.set_result(activation)
        elif error is not None:
            self._future.set_exception(error)


def _ring(keys: Any) -> KeyRing:
    if not isinstance(keys, KeyRing):
        raise UsageError(f"keys takes a kb.KeyRing, got a {type(keys).__name__}")
    return keys


def _live(definition: Definition, message: Any) -> Kind:
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


def durable(
    cls: Callable[[], A] | ChildSpec[A],
    *,
    store: StoreURL,
    system: str = "default",
    type: str | None = None,
    name: str | None = None,
    durability: str = "commit",
    snapshot_every: float = 1.0,
    deactivate_after: float | None = 300.0,
    max_active: int = 100_000,
    lease: float = LEASE,
    mailbox: int | None = None,
    max_attempts: int = 5,
    keys: KeyRing | None = None,
    history: bool = False,
    snapshot_every_events: int = 100,
) -> Durable[A]:
    """Make a kind of durable actor known.

    Args:
        cls: a subclass of `DurableActor`, or `kb.child(cls, ...)` with arguments for its constructor.
        store: where its actors are kept: "sqlite:///app.db", "memory://", "postgresql+asyncpg://...".
        system: a name that keeps programs apart which share a store (default "default").
        type: the name of the kind in the store (default the class's name). Rename the class, not this.
        name: there is one actor only, with this key, and it is started with the kind.
        durability: "commit" (default): saved before the reply; "snapshot": replied first and saved every
            `snapshot_every` seconds, so that a crash loses up to so much; "memory": never saved.
        snapshot_every: see there, in seconds (default 1.0).
        deactivate_after: seconds after which an idle actor is put to sleep (default 300.0; None: never).
        max_active: how many may be awake; beyond, the ones used the longest ago sleep (default 100,000).
        lease: seconds for which this program's actors stay its own when it is not heard of (default 15.0).
        mailbox: how many messages may wait for one actor (default 65,536).
        max_attempts: how often a recorded message is tried before it is a dead letter (default 5).
        keys: what is stored is encrypted with these (default None: bound to its row by a checksum).
        history: the state of each revision is kept, for `as_of`, `history` and `fork` (default False;
            an event-sourced actor has its events for that).
        snapshot_every_events: of an event-sourced actor: how many events to read at most when it wakes (default 100).

    Raises:
        UsageError: an option has no such value, or the class is no `DurableActor` with a type of state.
    """
    made: Any = cls
    spec: ChildSpec[Any] = made if isinstance(made, ChildSpec) else child(made)  # pyright: ignore[reportUnknownVariableType]
    target: Any = spec.target
    if not inspect.isclass(target) or not issubclass(target, DurableActor):
        raise UsageError(f"kb.durable takes a subclass of kb.DurableActor, got {target!r}")
    if not hasattr(cast("object", target), "_kb_codec"):
        raise UsageError(
            f"{target.__qualname__} does not say what its state is; write "
            f"`class {target.__name__}(kb.DurableActor[State]):`"
        )
    check_url(store)
    one_of("durability", durability, DURABILITIES)
    seconds("snapshot_every", snapshot_every)
    seconds("deactivate_after", deactivate_after, none=True)
    seconds("lease", lease)
    whole("max_active", max_active, 1)
    whole("max_attempts", max_attempts, 1)
    kind = checked_name("type", type or target.__name__, 128)
    if "/" in kind:
        raise UsageError(f"a type is a name without '/', got {kind!r}")
    whole("snapshot_every_events", snapshot_every_events, 1)
    definition = Definition(
        cls=target,
        args=tuple(spec.args),
        kwargs=spec.kwargs,
        system=checked_name("system", system, 64),
        type=kind,
        store=store,
        codec=codec_of(target._kb_codec.type, target._kb_codec.name),
        sealer=CHECKSUM if keys is None else _ring(keys),
        name=None if name is None else checked_name("name", name, MOST_KEY),
        durability=durability,
        snapshot_every=snapshot_every,
        deactivate_after=deactivate_after,
        max_active=max_active,
        lease=lease,
        mailbox=None if mailbox is None else whole("mailbox", mailbox, 1),
        max_attempts=max_attempts,
        history=history,
        snapshot_every_events=snapshot_every_events,
    )
    target._kb_define(definition)
    return Durable(definition)
