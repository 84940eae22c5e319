"""`Registry`: the actor that others ask, and who decides which partition a key belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._message import message
from ..._kernel._ref import ActorRef
from ..._kernel._self import named, nobody
from ..._kernel._start import launch
from ..._supervision._options import hashed, one_of, whole
from .._answering import Answering
from .._deliver import deliver
from ._partition import Entry, Partition
from ._types import Registered, Registration, RegistryStatistics, Unregistered
from ._via import KeyPlace

KEYS = ("unique", "duplicate")

AA = TypeVar("AA", bound=Actor)
Where = Callable[[Any], bool]


class Registry(Answering):
    """Keeps which processes are found under which keys: `kb.child(otp.Registry).options(name="rooms")`.

    Processes use it through the handle that `otp.registry` gives. All who are registered are linked to
    it, so its end is theirs, unless they trap exits.

    Args:
        keys: "unique" (default), one process per key, or "duplicate", any number.
        partitions: actors that share the keys, 1 by default. All run on the registry's event loop.
        listeners: registered names of processes that are told, by `Registered` and `Unregistered`, who comes
            and goes; a name that nobody holds is passed over.

    Raises:
        UsageError: an option has no such value.
    """

    _runs_users_code = frozenset({"unregister", "lookup", "update_value", "select"})

    def __init__(
        self,
        *,
        keys: Literal["unique", "duplicate"] = "unique",
        partitions: int = 1,
        listeners: Iterable[Any] = (),
    ) -> None:
        one_of("keys", keys, KEYS)
        told: object = listeners
        if isinstance(told, str) or not isinstance(told, Iterable):
            raise UsageError(f"listeners takes several names, such as ({listeners!r},), got {listeners!r}")
        self.keys_are: Literal["unique", "duplicate"] = keys
        self._listeners = tuple(listeners)
        for each in self._listeners:
            hashed("a name in listeners", each)
        self._count = whole("partitions", partitions, 1)
        self._partitions: list[Partition] = []
        self._meta: dict[Any, Any] = {}
        # The place of each key to which somebody has a ref: the refs to one key are equal.
        self._places: WeakValueDictionary[Any, KeyPlace] = WeakValueDictionary()

    def on_start(self) -> None:
        cell = self._kb_cell
        for _ in range(self._count):
            args = (cell, self.keys_are == "unique", self._tell)
            partition = launch(
                cell.node, Partition._kb_info, args, {}, cell, lambda made: _bonds.link(made, cell)
            )
            self._partitions.append(partition.actor)

    def format_status(self) -> object:
        return {"keys": self.keys_are, "partitions": [each.format_status() for each in self._partitions]}

    def __repr__(self) -> str:
        cell = getattr(self, "_kb_cell", None)
        where = "not started" if cell is None else cell.label()
        return f"<{type(self).__qualname__} {where}, {self.keys_are} keys, {len(self._entries())} entries>"

    def _entries(self) -> list[Entry]:
        return [entry for each in self._partitions for entry in each.all()]

    def _tell(self, entry: Entry, came: bool) -> None:
        node, label = self._kb_cell.node, self._kb_cell.label()
        for name in self._listeners:
            listener = node.names.get(name)
            if listener is not None and came:
                deliver(listener, Registered(label, entry.key, entry.ref, entry.value))
            elif listener is not None:
                deliver(listener, Unregistered(label, entry.key, entry.ref))

    # -- for the handle and for names, on this loop ----------------------------------------------------

    def partition(self, key: Any) -> Partition:
        """The partition that owns a key; `UsageError` when it cannot be one."""
        try:
            return self._partitions[hash(key) % self._count]
        except TypeError:
            return self._partitions[hashed("a key", key) % self._count]  # says what is wrong with it

    def ref_to_key(self, registry: ActorRef[Registry], key: Any, cls: type[AA]) -> ActorRef[AA]:
        """A ref that looks at each send who holds the key."""
        self.must_be_unique("via")
        self.partition(key)
        place = KeyPlace(registry, key, cls)
        # One place for all refs to a key: other nodes know it by number, and each number is kept for good.
        place = self._places.setdefault((registry, key, cls), place)
        return ActorRef(nobody(cls), place)

    def must_be_unique(self, what: str) -> None:
        """Raise `UsageError` in a duplicate registry."""
        if self.keys_are != "unique":
            raise UsageError(f'{what} needs keys="unique"; many may be under one key of this registry')

    # -- requests: from other nodes they are messages, on this loop they are called as they are ---------

    @message
    def register(self, owner: ActorRef[Any], key: Any, value: Any) -> None:
        """Put a process under a key. Raises `AlreadyRegistered` when the key is unique and taken."""
        self.partition(key).register(owner._target(), key, value)

    @message
    def unregister(self, owner: ActorRef[Any], key: Any, where: Where | None = None) -> None:
        """Drop the process's own entries under a key, those whose values `where` accepts."""
        self.partition(key).unregister(owner._target(), key, where)

    @message
    def lookup(self, key: Any, where: Where | None = None) -> list[Registration]:
        """The living processes under a key whose values `where` accepts, the oldest first."""
        partition = self.partition(key)
        if where is None:
            return partition.shown_under(key)
        return [entry.shown for entry in partition.under(key) if where(entry.value)]

    @message
    def whereis(self, key: Any) -> ActorRef[Any] | None:
        """The living process under a key of a unique registry."""
        self.must_be_unique("whereis")
        found = self.partition(key).under(key)
        return found[0].ref if found else None

    @message
    def keys(self, owner: ActorRef[Any]) -> list[Any]:
        """The keys of a process; one that it has twice is there twice."""
        cell = owner._target()
        return [entry.key for each in self._partitions for entry in each.of(cell)]

    @message
    def values(self, owner: ActorRef[Any], key: Any) -> list[Any]:
        """The values of a process under a key."""
        cell = owner._target()
        return [entry.value for entry in self.partition(key).under(key) if entry.cell is cell]

    @message
    def update_value(
        self, owner: ActorRef[Any], key: Any, fn: Callable[[Any], Any]
    ) -> tuple[Any, Any] | None:
        """Change the value of the process's own entry; (new, old), or None when it has none."""
        self.must_be_unique("update_value")
        cell = owner._target()
        for entry in self.partition(key).under(key):
            if entry.cell is cell:
                old = entry.value
                entry.put(fn(old))
                return entry.value, old
        return None

    @message
    def select(self, where: Callable[[Registration], bool] | None = None) -> list[Registration]:
        """All entries of living processes that `where` accepts."""
        shown = [entry.shown for entry in self._entries()]
        return shown if where is None else [each for each in shown if where(each)]

    @message
    def count(self) -> int:
        """How many entries living processes have."""
        return len(self._entries())

    @message
    def put_meta(self, name: Any, value: Any) -> None:
        """Keep a value with the registry itself, until the registry ends."""
        hashed("a name of metadata", name)
        self._meta[name] = value

    @message
    def meta(self, name: Any, default: Any = None) -> Any:
        """A value that was kept."""
        hashed("a name of metadata", name)
        return self._meta.get(name, default)

    @message
    def delete_meta(self, name: Any) -> None:
        """Forget a value that was kept; nothing happens when there is none."""
        hashed("a name of metadata", name)
        self._meta.pop(name, None)

    @message
    def via(self, key: Any, cls: type[Actor]) -> ActorRef[Any]:
        """The ref to a key, for other nodes."""
        bonds = self._kb_cell.bonds
        # By its name, when it has one: such a ref goes on when the registry is restarted.
        named_so = bonds.names if bonds is not None else None
        me = named(Registry, named_so[0]) if named_so else ActorRef[Registry](self._kb_cell)
        return self.ref_to_key(me, key, cls)

    @message
    def statistics(self) -> RegistryStatistics:
        """Figures of this moment."""
        entries = self._entries()
        return RegistryStatistics(
            keys=self.keys_are,
            entries=len(entries),
            distinct=len({entry.key for entry in entries}),
            processes=len({cell for each in self._partitions for cell in each.owners()}),
            partitions=self._count,
        )
