"""One partition of a registry: the one that decides on its keys, linked to all who hold any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._cell import Cell
from ..._kernel._errors import KoboshiError, MailboxFull, NotRunning
from ..._kernel._message import message
from ..._kernel._place import Place
from ..._kernel._reasons import Exit, ExitReason
from ..._kernel._ref import ActorRef
from ..._kernel._reply import defer
from ..._kernel._self import nobody
from .._here import as_ref
from ._entries import Entries, Entry

__all__ = ["AlreadyRegistered", "Keys", "Partition", "Registered", "Unregistered"]

Keys = Literal["unique", "duplicate"]


class AlreadyRegistered(KoboshiError):
    """The key is held by a living process, perhaps the one that asks: `ref`, with `value`."""

    def __init__(self, key: Any, ref: ActorRef[Any], value: Any) -> None:
        super().__init__(f"the key {key!r} is held by {ref!r}, and is free when that gives it up or ends")
        self.key = key
        self.ref = ref
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return AlreadyRegistered, (self.key, self.ref, self.value)


@dataclass(frozen=True, slots=True)
class Registered:
    """What a listener is sent: a process holds the key now."""

    registry: Any
    key: Any
    ref: ActorRef[Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Unregistered:
    """What a listener is sent: a process holds the key no more; it gave it up, or has ended."""

    registry: Any
    key: Any
    ref: ActorRef[Any]


class Partition(Actor):
    """Decides who holds which key. Its methods are messages, and are called directly on its own loop."""

    def __init__(self, registry: Any, kind: Keys, listeners: Sequence[Any]) -> None:
        self._registry = registry
        self._unique = kind == "unique"
        self._listeners = tuple(listeners)
        self.entries = Entries()

    def on_start(self) -> None:
        # Links, and no monitors: whoever holds a key must not go on when nobody knows of it any more.
        self.trap_exits()

    @message
    def register(self, key: Any, ref: ActorRef[Any], value: Any) -> None:
        """Have a process hold a key. Raises `AlreadyRegistered`, `NotRunning`."""
        try:
            self.add(key, ref, value)
        except KoboshiError as refused:
            defer().fail(refused)

    def add(self, key: Any, ref: ActorRef[Any], value: Any) -> None:
        """`register`, called directly."""
        if not ref.alive:
            raise NotRunning(repr(ref), f"the key {key!r}")
        if self._unique:
            # One that has died, and whose end is still on its way here, holds nothing any more.
            self._remove(self.entries.dead(key))
            holder = self.entries.first(key)
            if holder is not None:
                raise AlreadyRegistered(key, holder.ref, holder.value)
        if not self.entries.holds_any(ref):
            _bonds.link(self._kb_cell, ref._target())
        self.entries.add(key, ref, value)
        self._tell(Registered(self._registry, key, ref, value))

    @message
    def unregister(self, ref: ActorRef[Any], key: Any, numbers: Sequence[int] | None = None) -> None:
        """Take a key from a process: all its entries of it, or those with the given numbers."""
        held = [entry for entry in self.entries.of_ref(ref) if entry.key == key]
        self._remove([entry for entry in held if numbers is None or entry.number in numbers])
        if not self.entries.holds_any(ref):
            _bonds.unlink(self._kb_cell, ref._target())

    @message
    def change(self, ref: ActorRef[Any], key: Any, value: Any) -> bool:
        """Give the holder's entry another value; False when it is not the holder."""
        holder = self.entries.first(key)
        if holder is None or holder.ref != ref:
            return False
        self.entries.change(holder, value)
        return True

    @message
    def of_key(self, key: Any) -> list[Entry]:
        """The entries of a key."""
        return self.entries.of_key(key)

    @message
    def of_ref(self, ref: ActorRef[Any]) -> list[Entry]:
        """The entries of a process."""
        return self.entries.of_ref(ref) if ref.alive else []

    @message
    def every(self) -> list[Entry]:
        """All entries."""
        return list(self.entries.all())

    @message
    def count(self) -> int:
        """How many entries there are."""
        return len(self.entries)

    @message
    def via(self, key: Any) -> ActorRef[Any]:
        """A stable ref to whoever holds the key at each send."""
        return ActorRef(nobody(Actor), KeyPlace(self._place(), self._registry, key))

    def _place(self) -> Place:
        bonds = self._kb_cell.bonds
        assert bonds is not None
        assert bonds.place is not None
        return bonds.place

    def on_exit(self, exit: Exit) -> None:
        self._remove(self.entries.of_ref(exit.sender))

    def on_stop(self, reason: ExitReason) -> None:
        """Its holders hear of it through their links."""

    def format_status(self) -> object:
        return {"registry": self._registry, "entries": len(self.entries)}

    def _remove(self, entries: list[Entry]) -> None:
        self.entries.remove(entries)
        for entry in entries:
            self._tell(Unregistered(self._registry, entry.key, entry.ref))

    def _tell(self, what: Registered | Unregistered) -> None:
        for listener in self._listeners:
            ref: ActorRef[Any] = as_ref(Actor, listener)
            try:
                ref.tell(what)
            except (
                NotRunning,
                MailboxFull,
            ):  # a listener that does not listen must not cost others their keys
                continue


class KeyPlace(Place):
    """A key of a registry: whoever holds it at the moment of each send."""

    __slots__ = ("_key", "_partition", "_registry")
    by_name = True

    def __init__(self, partition: Place, registry: Any, key: Any) -> None:
        # The place and not the actor, so that it goes on after a restart of the registry.
        self._partition = partition
        self._registry = registry
        self._key = key

    @property
    def cell(self) -> Cell | None:  # type: ignore[override]
        partition = self._partition.cell
        actor: object = None if partition is None else partition.actor
        holder = actor.entries.first(self._key) if isinstance(actor, Partition) else None
        return None if holder is None else holder.ref._target()

    def label(self) -> str:
        return f"{self._registry} {self._key!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPlace) and (self._partition, self._key) == (other._partition, other._key)

    def __hash__(self) -> int:
        return hash((self._partition, self._key))
