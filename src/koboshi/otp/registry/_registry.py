"""`Registry`: keys held by processes, after Elixir's module of that name.

One supervisor, and one partition for each share of the keys; a key's partition alone decides on it, so
there is one truth about each key on all nodes. The partitions live and die together, as a registry that has
forgotten a part of its keys would lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._message import message
from ..._kernel._ref import ActorRef
from ..._supervision._options import one_of, whole
from ..._supervision._placement import Placement
from ..._supervision._spec import child
from ..._supervision._supervisor import Supervisor
from .._here import actor_here, as_ref, caller, hashable
from .._partitions import partition_number
from ._entries import Entry
from ._partition import Keys, Partition

__all__ = ["KeyRegistry", "Registry", "RegistryStatistics", "registry"]

AA = TypeVar("AA", bound=Actor)
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class RegistryStatistics:
    """A registry at one moment: its entries in each partition."""

    keys: Keys
    entries: tuple[int, ...]


class Registry(Supervisor):
    """Who holds which key. `registry(ref)` registers and looks up, from any node.

    Args:
        keys: "unique", the default: one holder for each key; or "duplicate": any number.
        partitions: how many processes share the keys, 1 by default.
        listeners: refs, or registered names, of processes that are sent `Registered` and `Unregistered`.
        on: where the partitions run, as in a child spec; None, the default, here.
        max_restarts, within: the budget, as for a supervisor.

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        *,
        keys: Keys = "unique",
        partitions: int = 1,
        listeners: Sequence[Any] = (),
        on: str | Placement | None = None,
        max_restarts: int = 3,
        within: float = 5.0,
    ) -> None:
        one_of("keys", keys, ("unique", "duplicate"))
        whole("partitions", partitions, 1)
        if isinstance(listeners, str) or not isinstance(listeners, Sequence):
            raise UsageError(f"listeners takes a list of refs or names, got {listeners!r}")
        options: dict[str, Any] = {"max_restarts": max_restarts, "within": within}
        specs = [
            child(Partition, "registry", keys, tuple(listeners)).options(id=index, on=on)
            for index in range(partitions)
        ]
        super().__init__(*specs, strategy="one_for_all", **options)
        self._kind: Keys = keys
        self._count = partitions
        # Values of the registry itself, such as its configuration.
        self.meta: dict[Any, Any] = {}
        self._made_with = (
            (),
            {"keys": keys, "partitions": partitions, "listeners": listeners, "on": on, **options},
        )

    async def on_start(self) -> None:
        # Listeners are told which registry it is: its name, which it has only now.
        names = None if self._kb_cell.bonds is None else self._kb_cell.bonds.names
        name = names[0] if names else self._kb_cell.label()
        self._specs = tuple(replace(spec, args=(name, *spec.args[1:])) for spec in self._specs)
        await super().on_start()

    @message
    def directory(self) -> Directory:
        """What other nodes need to find a key's partition: kind, and a stable ref to each."""
        return Directory(self._kind, tuple(self.ref(Partition, index) for index in range(self._count)))

    @message
    def get_meta(self, key: Any, default: Any) -> Any:
        """A value of the registry itself."""
        return self.meta.get(key, default)

    @message
    def set_meta(self, key: Any, value: Any) -> None:
        """Set a value of the registry itself."""
        self.meta[key] = value

    @message
    def delete_meta(self, key: Any) -> None:
        """Delete a value of the registry itself."""
        self.meta.pop(key, None)


@dataclass(frozen=True, slots=True)
class Directory:
    """A registry's kind, and its partitions."""

    keys: Keys
    partitions: tuple[ActorRef[Partition], ...]


class KeyRegistry:
    """Registers and looks up keys; made by `registry`. It keeps the registry's address.

    Keys are compared as Python compares them: `1`, `1.0` and `True` are one key.
    """

    __slots__ = ("_directory", "_ref")

    def __init__(self, ref: ActorRef[Registry]) -> None:
        self._ref = ref
        self._directory: Directory | None = None

    # -- one's own keys -----------------------------------------------------------------------------

    async def register(self, key: Any, value: Any = None) -> None:
        """Have the current process hold `key` until it gives it up or ends.

        Raises:
            AlreadyRegistered: a living process holds it, of a registry with unique keys.
            NotInProcess: no process runs here.
            CallError: the registry cannot be asked.
        """
        me = caller("register")
        where = await self._partition(key)
        here = actor_here(where, Partition)
        if here is not None:
            here.add(key, me, value)
        else:
            await where.call(Partition.register, key, me, value)

    async def unregister(self, key: Any) -> None:
        """Give up all that the current process holds of `key`; what it does not hold is no error."""
        me = caller("unregister")
        where = await self._partition(key)
        here = actor_here(where, Partition)
        if here is not None:
            here.unregister(me, key)
        else:
            await where.call(Partition.unregister, me, key)

    async def unregister_match(self, key: Any, wanted: Callable[[Any], bool]) -> None:
        """Give up the current process's entries of `key` whose value `wanted` accepts."""
        me = caller("unregister_match")
        where = await self._partition(key)
        mine = [entry for entry in await self._of_key(where, key) if entry.ref == me and wanted(entry.value)]
        numbers = [entry.number for entry in mine]
        here = actor_here(where, Partition)
        if here is not None:
            here.unregister(me, key, numbers)
        else:
            await where.call(Partition.unregister, me, key, numbers)

    async def update_value(self, key: Any, change: Callable[[Any], Any]) -> tuple[Any, Any] | None:
        """Change the value of a unique key that the current process holds; gives (new, old).

        None when it does not hold it.

        Raises:
            UsageError: the keys are not unique.
        """
        me = caller("update_value")
        await self._demand_unique("update_value")
        where = await self._partition(key)
        for entry in await self._of_key(where, key):
            if entry.ref == me:
                new = change(entry.value)
                here = actor_here(where, Partition)
                done = (
                    here.change(me, key, new)
                    if here is not None
                    else await where.call(Partition.change, me, key, new)
                )
                return (new, entry.value) if done else None
        return None

    async def keys(self, ref: ActorRef[Any] | None = None) -> list[Any]:
        """The keys of a process, of the current one by default; each as often as it is held."""
        wanted = caller("keys") if ref is None else ref
        found: list[Any] = []
        for where in (await self._find()).partitions:
            here = actor_here(where, Partition)
            entries = here.of_ref(wanted) if here else await where.call(Partition.of_ref, wanted)
            found += [entry.key for entry in entries]
        return found

    # -- anybody's ----------------------------------------------------------------------------------

    async def lookup(self, key: Any) -> list[Entry]:
        """Who holds `key`, with which values, the oldest first. Nobody who is known to be dead is in it."""
        return await self._of_key(await self._partition(key), key)

    async def whereis(self, key: Any) -> ActorRef[Any] | None:
        """Who holds a unique key, if anybody does.

        Raises:
            UsageError: the keys are not unique.
        """
        await self._demand_unique("whereis")
        where = await self._partition(key)
        here = actor_here(where, Partition)
        if here is not None:
            holder = here.entries.first(key)
            return None if holder is None else holder.ref
        found = await where.call(Partition.of_key, key)
        return found[0].ref if found else None

    async def via(self, cls: type[AA], key: Any) -> ActorRef[AA]:
        """A stable ref: each send goes to whoever holds the unique key then, on whichever node.

        Raises:
            UsageError: the keys are not unique.
        """
        await self._demand_unique("via")
        where = await self._partition(key)
        here = actor_here(where, Partition)
        return here.via(key) if here is not None else await where.call(Partition.via, key)

    async def values(self, key: Any, ref: ActorRef[Any]) -> list[Any]:
        """The values that a process holds `key` with."""
        return [entry.value for entry in await self.lookup(key) if entry.ref == ref]

    async def match(self, key: Any, wanted: Callable[[Any], bool]) -> list[Entry]:
        """The entries of `key` whose value `wanted` accepts."""
        return [entry for entry in await self.lookup(key) if wanted(entry.value)]

    async def count_match(self, key: Any, wanted: Callable[[Any], bool]) -> int:
        """How many entries of `key` have a value that `wanted` accepts."""
        return len(await self.match(key, wanted))

    async def select(self, wanted: Callable[[Entry], bool] | None = None) -> list[Entry]:
        """All entries that `wanted` accepts, or simply all."""
        found: list[Entry] = []
        for where in (await self._find()).partitions:
            here = actor_here(where, Partition)
            entries: Iterable[Entry] = here.entries.all() if here else await where.call(Partition.every)
            found += [entry for entry in entries if wanted is None or wanted(entry)]
        return found

    async def count(self) -> int:
        """How many entries there are."""
        return sum((await self.statistics()).entries)

    async def dispatch(self, key: Any, call: Callable[[list[Entry]], None]) -> None:
        """Call `call(entries)` with those who hold `key`, unless nobody does."""
        entries = await self.lookup(key)
        if entries:
            call(entries)

    async def statistics(self) -> RegistryStatistics:
        """Figures of the registry."""
        found = await self._find()
        return RegistryStatistics(
            found.keys, tuple([await where.call(Partition.count) for where in found.partitions])
        )

    # -- the registry's own values ------------------------------------------------------------------

    async def meta(self, key: Any, default: D | None = None) -> Any | D | None:
        """A value of the registry itself, `default` when there is none."""
        here = actor_here(self._ref, Registry)
        if here is not None:
            return here.meta.get(key, default)
        return await self._ref.call(Registry.get_meta, key, default)

    async def put_meta(self, key: Any, value: Any) -> None:
        """Set a value of the registry itself; a restart forgets it."""
        await self._ref.call(Registry.set_meta, key, value)

    async def delete_meta(self, key: Any) -> None:
        """Delete a value of the registry itself."""
        await self._ref.call(Registry.delete_meta, key)

    # -- where a key is -----------------------------------------------------------------------------

    async def _find(self) -> Directory:
        found = self._directory
        if found is None:
            here = actor_here(self._ref, Registry)
            found = here.directory() if here is not None else await self._ref.call(Registry.directory)
            self._directory = found
        return found

    async def _partition(self, key: Any) -> ActorRef[Partition]:
        hashable("a key", key)
        found = await self._find()
        count = len(found.partitions)
        return found.partitions[partition_number(key, count) if count > 1 else 0]

    async def _of_key(self, where: ActorRef[Partition], key: Any) -> list[Entry]:
        here = actor_here(where, Partition)
        return here.entries.of_key(key) if here is not None else await where.call(Partition.of_key, key)

    async def _demand_unique(self, what: str) -> None:
        if (await self._find()).keys != "unique":
            raise UsageError(f"{what} is for registries with unique keys; this one has duplicate keys")

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyRegistry, (self._ref,)

    def __repr__(self) -> str:
        return f"<KeyRegistry at {self._ref!r}>"


def registry(where: ActorRef[Registry] | Any) -> KeyRegistry:
    """How keys are registered and looked up, by a registry's ref or registered name: `registry("rooms")`."""
    return KeyRegistry(as_ref(Registry, where))
