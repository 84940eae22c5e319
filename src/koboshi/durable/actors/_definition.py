"""What one kind of durable actor is: its class, its store, and its options, checked once."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..._kernel._cell import DEAD, DOOMED, Cell
from ..._kernel._errors import NameTaken, NotRunning, UsageError, WrongThread
from ..._kernel._node import this_node
from .._failures import UnknownType
from ..stores import Row, Session, StoreURL
from ._activation import Activation
from ._actor_sealer import ActorSealer
from ._claim import Claim, Claimed, ReadMore
from ._codec import CODECS, Codec
from ._identity import Identity
from ._key_ring import KeyRing
from ._numbers import state_number
from ._seal import Sealer
from ._state import Upcasters, decoded
from ._timers import Timers

if TYPE_CHECKING:
    from ._kind import Kind
    from ._past import PastOf

__all__ = ["DURABILITIES", "Definition", "known_as"]

# Whose events, and those of one turn with their revisions.
Sync = Callable[[Identity, list[tuple[int, Any]]], Callable[[Session], object]]
# Seconds for which a call waits for a kind that its supervisor is starting again.
_RESTARTS = 5.0
DURABILITIES = ("commit", "snapshot", "memory")


@dataclass(eq=False)
class Definition:
    """See the module; `kb.durable` makes it and says what the options mean."""

    cls: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    system: str
    type: str
    store: StoreURL
    codec: Codec
    sealer: Sealer
    name: str | None
    durability: str
    snapshot_every: float
    deactivate_after: float | None
    max_active: int
    lease: float
    mailbox: int | None
    max_attempts: int
    # How many workers without a state there are, if that is what it is.
    pooled: int = 0
    activates: Callable[..., Activation] = Activation
    read_more: ReadMore | None = None
    # Who looks for reminders that are due.
    timers: Callable[[Kind], Timers] = Timers
    # Of an event-sourced kind: a snapshot every so many events.
    snapshot_every_events: int = 100
    # Whether the state of each revision is kept, and how the past is read, if there is one.
    history: bool = False
    past: PastOf | None = None
    # Called with the events of each turn, they give what is done in its transaction.
    sync: list[Sync] = field(default_factory=list)
    # Called when events of this kind have been committed by this program.
    listeners: list[Callable[[], None]] = field(default_factory=list)
    # Who runs it on this loop now, under whom it last ran, and who waits for it to be started again.
    live: Kind | None = None
    supervisor: Cell | None = None
    awaited: list[asyncio.Future[None]] = field(default_factory=list)
    # The name of a kind of it on another node.
    found_as: Any = None
    # Where it was made.
    module: str = ""
    _protocol: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def schema_version(self) -> int:
        """The version of the state's type that this program writes."""
        version: int = self.cls.schema_version
        return version

    @property
    def upcasters(self) -> Upcasters:
        """What brings older states up to date."""
        found: Upcasters = self.cls.upcasters
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _known, (self.cls, self.module, self.key)

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it apart in a program."""
        return str(self.store), self.system, self.type

    def known(self, module: str) -> None:
        """Be found by programs, such as worker nodes, that import this module."""
        self.module = module
        _KNOWN[self.key] = self

    def message_named(self, name: str) -> Callable[..., Any]:
        """The message of that name.

        Raises:
            UsageError: there is none; the sender is of another version of the program.
        """
        fn = self.message(name)
        if fn is None:
            raise UsageError(f"{self.type} has no message {name!r} on this node")
        return fn

    def check_free(self, beside: Kind | None) -> None:
        """Raise `NameTaken` if it, or another of its type on this event loop, runs already.

        Two would take each other's actors away.
        """
        other = self.live or beside
        if other is not None:
            raise NameTaken(
                f"durable {self.type}",
                other.me,
                "a program runs a kind once: put one child() of it under one supervisor and use what kb.durable(...) "
                "gave everywhere, or give the second one a type= of its own",
            )

    def running(self, what: str) -> Kind:
        """Who runs it.

        Raises:
            NotRunning: nobody on this event loop.
            WrongThread: it runs on the event loop of another thread.
        """
        if self.live is None:
            raise NotRunning(f"durable {self.type} (put its child() under a running supervisor)", what)
        if self.live._kb_cell.node.thread != get_ident():
            raise WrongThread(
                f"durable {self.type} was used on another thread than its event loop's; pass the coroutine to that "
                "loop with asyncio.run_coroutine_threadsafe(...)"
            )
        return self.live

    async def started(self, what: str, deadline: float | None) -> Kind:
        """Who runs it; while its supervisor has it between two starts, who runs it next.

        Args:
            deadline: on the loop's clock, until when to wait; 5 s at most in any case.

        Raises:
            NotRunning: it was never started here, its supervisor ends, or the time is over.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time() + _RESTARTS
        latest = latest if deadline is None else min(deadline, latest)
        while (self.live is None or self.live.ends) and self._will_start() and loop.time() < latest:
            future = loop.create_future()
            self.awaited.append(future)
            try:
                await asyncio.wait([future], timeout=latest - loop.time())
            finally:
                if future in self.awaited:
                    self.awaited.remove(future)
        if self.live is not None and self.live.ends:
            raise NotRunning(f"durable {self.type}, which is being stopped,", what)
        return self.running(what)

    def _will_start(self) -> bool:
        """Whether its supervisor is there to start it again, and the caller is not what it waits for."""
        above = self.supervisor
        if above is None or above.state in (DEAD, DOOMED) or above.doom is not None or not above.stop_due:
            return False
        cell = this_node().current
        return cell is None or self.live is None or cell.parent is not self.live._kb_cell

    def begin(self, kind: Kind) -> None:
        """This kind runs it now."""
        self.live, self.supervisor = kind, kind._kb_cell.parent
        awaited, self.awaited = self.awaited, []
        for future in awaited:
            future.set_result(None)

    def message(self, name: str) -> Callable[..., Any] | None:
        """The message of that name, by which it is stored."""
        if not self._protocol:
            self._protocol = {fn.__name__: fn for fn in self.cls._kb_info.protocol}
        return self._protocol.get(name)

    # -- who seals -----------------------------------------------------------------------------------

    @property
    def ring(self) -> KeyRing | None:
        """Its keys. They seal messages to its actors, and the data keys with which its actors seal all else."""
        return self.sealer if isinstance(self.sealer, KeyRing) else None

    def opener(self, who: Identity, data_key: bytes | None) -> Sealer:
        """What opens whatever is stored of an actor; with its data key as that is stored, if there is one."""
        ring = self.ring
        return self.sealer if ring is None else ActorSealer(ring, who, data_key)

    def newcomer(self, who: Identity) -> tuple[Sealer, list[Row]]:
        """What seals for an actor of which nothing is stored yet, and the rows of its data key."""
        ring = self.ring
        if ring is None:
            return self.sealer, []
        sealer = ActorSealer(ring, who, None, is_new=True)
        row = sealer.row()
        return sealer, [] if row is None else [(*who, *row)]

    def sealer_of(self, who: Identity, claimed: Claimed) -> Sealer:
        """What seals for an actor that was claimed.

        Raises:
            WrongKey, Corrupted: its data key is missing, or cannot be used.
        """
        ring, key = self.ring, claimed.data_key
        if ring is None or not claimed.token:
            return self.sealer
        is_new = key is None and not claimed.revision
        sealer = ActorSealer(ring, who, key, is_new=is_new)
        if not is_new:
            sealer.ready()
        return sealer

    def claim(self, who: Identity, host: str) -> Claim:
        """What takes an actor and reads its row."""
        return Claim(who, host, self.codec.name, self.schema_version, self.read_more, self.ring)

    def load(self, activation: Activation, claimed: Claimed) -> None:
        """Give an actor that is about to start the state of its row, or its first one."""
        self.cls._kb_load(activation.actor, activation, claimed)

    def state_of(self, activation: Activation, claimed: Claimed) -> Any:
        """The state in a row.

        Raises:
            Corrupted: it cannot be used.
        """
        assert claimed.state is not None
        found = claimed.state, claimed.state_revision, claimed.codec, claimed.schema_version
        return self.state_in(activation.sealer, activation.who, *found)

    def state_in(
        self, sealer: Sealer, who: Identity, blob: bytes, revision: int, codec: str, version: int
    ) -> Any:
        """The state that these bytes of a row are; raises as `state_of`."""
        if codec not in CODECS:
            raise UnknownType(str(who), f"its state is written by the codec {codec!r}, known are {CODECS}")
        plain = sealer.open(who, "state", state_number(revision, codec, version), bytes(blob))
        now, up = self.schema_version, self.upcasters
        return decoded(who, "state", self.codec, codec, plain, version, now, up, written_back=True)

    def stored(self, sealer: Sealer, who: Identity, revision: int, blob: bytes) -> tuple[Any, ...]:
        """A state as `Writer.stored` gives it: sealed, and what says how to read it."""
        number = state_number(revision, self.codec.name, self.schema_version)
        stored, key_id = sealer.seal(who, "state", number, blob)
        return stored, revision, self.codec.name, key_id, self.schema_version


#: Those of this program, by what tells them apart.
_KNOWN: WeakValueDictionary[tuple[str, str, str], Definition] = WeakValueDictionary()


def known_as(store: str, system: str, type: str) -> Definition | None:
    """The definition of that kind, if this program has it."""
    return _KNOWN.get((store, system, type))


def _known(cls: Any, module: str, key: tuple[str, str, str]) -> Definition:
    """The definition that this program has, made by importing the module."""
    if key not in _KNOWN:
        importlib.import_module(module)
    found = _KNOWN.get(key)
    if found is None:
        raise UsageError(
            f"durable {cls.__qualname__} of {key[0]} is not known on this node; call kb.durable at the top of the "
            f"module {module}, outside of functions and with the same store"
        )
    return found
