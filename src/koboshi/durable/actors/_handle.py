"""`durable`: a kind of durable actor as a program sees it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from ..._kernel._calls import DEFAULT_DEADLINE
from ..._kernel._errors import UsageError
from ..._kernel._message import no_attribute
from ..._supervision._options import one_of, seconds, whole
from ..._supervision._spec import ChildSpec, child
from ..stores import LEASE, StoreURL, check_url
from ._activation import Activation
from ._actor import DurableActor
from ._codec import codec_of
from ._dead_letter import DeadLetter, Discard, ListPage, Requeue, work_on
from ._definition import DURABILITIES, Definition
from ._finding import look_up
from ._identity import MOST_KEY, check_tags, checked_name
from ._key_ring import KeyRing
from ._kind import DurableStatistics, Kind
from ._pooled import ANY, PooledActivation, PooledKind
from ._ref import DurableRef, live
from ._rotation import KeyRotation, keys_in_use, rotate
from ._seal import CHECKSUM
from ._state import check_versions

__all__ = ["Durable", "durable"]

# Dead letters that are read at once.
_PAGE = 1_000

A = TypeVar("A", bound=DurableActor[Any])
A_co = TypeVar("A_co", bound=DurableActor[Any], covariant=True)
AA = TypeVar("AA", bound=DurableActor[Any])
P = ParamSpec("P")
R = TypeVar("R")


class Durable(Generic[A]):
    """One kind of durable actor: `accounts["alice"]` is the address of one, `accounts.child()` runs the kind."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition

    def __getitem__(self, key: str) -> DurableRef[A]:
        if self._definition.pooled:
            raise UsageError(f"the workers of {self._definition.type} have no keys; use `.any`")
        return DurableRef(self._definition, checked_name("key", key, MOST_KEY), DEFAULT_DEADLINE, None)

    if not TYPE_CHECKING:  # they are to report such an attribute

        def __getattr__(self, name):
            if name.startswith("_"):
                raise no_attribute(self, name, None)
            one = "kind.any" if self._definition.pooled else "kind['key']"
            if hasattr(DurableRef, name):
                text = f"{self!r} has no {name}, an actor of it has: {one}.{name}(...)"
                raise AttributeError(text, name=name, obj=self)
            raise no_attribute(self, name, self._definition.cls._kb_info.protocol, f"{one}.call")

    @property
    def any(self) -> DurableRef[A]:
        """The address of whichever worker is free, of a kind that is pooled."""
        if not self._definition.pooled:
            raise UsageError(f"durable {self._definition.type} is not pooled; address one by its key")
        return DurableRef(self._definition, ANY, DEFAULT_DEADLINE, None)

    def child(self) -> ChildSpec[Kind]:
        """What a supervisor starts to run this kind: it wakes actors, delivers to them, and puts them to sleep."""
        return child(PooledKind if self._definition.pooled else Kind, self._definition).options(
            id=f"durable {self._definition.type}"
        )

    def statistics(self) -> DurableStatistics:
        """The kind as it is now.

        Raises:
            NotRunning: it does not run on this event loop.
        """
        return live(self._definition, "statistics").statistics()

    async def where(self, **tags: str) -> list[str]:
        """The keys of those actors that have all of these tags, in order.

        It reads the store and wakes nobody.
        """
        if not tags:
            raise UsageError("where takes at least one tag, such as where(city='Oslo')")
        check_tags(tags)
        return await look_up(self._definition, "where", tags)

    async def keys(self, *, after: str = "", limit: int = 1_000) -> list[str]:
        """Up to `limit` keys that have a state, in order, from the first one after `after`."""
        return await look_up(self._definition, "keys", {}, after, whole("limit", limit, 1))

    async def dead_letters(
        self, key: str | None = None, *, limit: int | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Messages that were given up, in the order of their sources and numbers.

        Args:
            key: those to that actor (default None: to all of the kind).
            limit: no more than so many (default None: all).
        """
        _check_key(key)
        left = None if limit is None else whole("limit", limit, 1)
        after = ("", -1)
        while left is None or left > 0:
            most = _PAGE if left is None else min(_PAGE, left)
            found = await work_on(self._definition, "dead_letters", ListPage(key, *after, most))
            for each in found:
                yield each
            if len(found) < most:
                return
            after = (found[-1].source, found[-1].seq)
            left = None if left is None else left - most

    async def requeue(self, *letters: DeadLetter, key: str | None = None) -> int:
        """Give dead letters all their attempts again; how many of them were dead letters.

        Those of one source are handled in the order in which they were sent; what is newer, and on its way already,
        may come before them.

        Args:
            letters: as `dead_letters` gives them.
            key: all of that actor, in the place of some.
        """
        return await work_on(self._definition, "requeue", Requeue(key, _numbers("requeue", letters, key)))

    async def discard(self, *letters: DeadLetter, key: str | None = None) -> int:
        """Forget dead letters; how many of them were dead letters.

        Args:
            letters: as `dead_letters` gives them.
            key: all of that actor, in the place of some.
        """
        return await work_on(self._definition, "discard", Discard(key, _numbers("discard", letters, key)))

    async def rotate_keys(self, *, portion: int = 500) -> KeyRotation:
        """Seal anew what an older key, or none, has sealed: the data keys of actors, and messages on their way.

        What an actor has stored before it had a data key is sealed with that. The program may go on meanwhile, and
        when this is cut off it is asked for again. What does not open is left as it is, logged, and named in what
        this gives back.

        Raises:
            UsageError: the kind has no keys.
        """
        definition = self._definition
        ring = definition.ring
        if ring is None:
            raise UsageError(f"durable {definition.type} has no keys; pass keys=kb.KeyRing(...)")
        whole("portion", portion, 1)
        store = live(definition, "rotate_keys").store
        return await rotate(store, ring, definition.system, definition.type, portion)

    async def keys_in_use(self) -> dict[str | None, int]:
        """How many values, data keys of actors among them, each key of the ring seals; None: not encrypted.

        What data keys have sealed is not counted.
        """
        definition = self._definition
        return await keys_in_use(live(definition, "keys_in_use").store, definition.system, definition.type)

    def __repr__(self) -> str:
        return f"<Durable {self._definition.type}>"


def _check_key(key: Any) -> None:
    if key is not None:
        checked_name("key", key, MOST_KEY)


def _numbers(what: str, letters: tuple[Any, ...], key: str | None) -> tuple[tuple[str, int], ...]:
    """What tells these dead letters apart, if they are some."""
    _check_key(key)
    if letters and key is not None:
        raise UsageError(f"{what} takes dead letters or the key of an actor, got both")
    for each in letters:
        if not isinstance(each, DeadLetter):
            raise UsageError(
                f"{what} takes dead letters as dead_letters() gives them, or key='...' for all of an actor, "
                f"got {each!r}"
            )
    return tuple((each.source, each.seq) for each in letters)


def _ring(keys: Any) -> KeyRing:
    if not isinstance(keys, KeyRing):
        raise UsageError(f"keys takes a kb.KeyRing, got a {type(keys).__name__}")
    return keys


def _pool(definition: Definition, count: int) -> None:
    """Make it a kind of workers without a state."""
    if definition.name is not None or definition.history or definition.durability != "commit":
        raise UsageError("a pooled kind has no state, and so no name, history or durability of its own")
    if definition.activates is not Activation:
        raise UsageError(f"{definition.cls.__qualname__} keeps events, and a pooled kind keeps nothing")
    definition.pooled, definition.activates, definition.deactivate_after = count, PooledActivation, None
    definition.max_active = max(definition.max_active, count)


def _calling_module() -> str:
    """The module outside of this library that makes a kind known."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "koboshi":
        frame = frame.f_back
    name: str = frame.f_globals.get("__name__", "__main__")
    return name


def durable(
    cls: Callable[[], A] | ChildSpec[A],
    *,
    store: StoreURL,
    system: str = "default",
    type: str | None = None,
    name: str | None = None,
    pooled: int | None = None,
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
        pooled: so many workers without a state or a row; `kind.any` is whichever is free (default None).
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
    check_versions(f"the state of {target.__qualname__}", target.schema_version, target.upcasters)
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
    if pooled is not None:
        _pool(definition, whole("pooled", pooled, 1))
    definition.known(_calling_module())
    return Durable(definition)
