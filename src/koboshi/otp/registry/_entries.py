"""What one partition of a registry knows: who holds which key. No messages, no links."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from ..._kernel._ref import ActorRef

__all__ = ["Entries", "Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration: who holds the key, with which value. `number` tells two of one process apart."""

    key: Any
    ref: ActorRef[Any]
    value: Any
    number: int = 0


class Entries:
    """The registrations of one partition, by key and by holder.

    An entry whose holder is dead counts for nothing, from the moment of its death: its removal follows.
    """

    def __init__(self) -> None:
        # Entries of a key in the order of their registration.
        self._by_key: dict[Hashable, dict[int, Entry]] = {}
        # Keys of a holder, each as often as it is held.
        self._by_ref: dict[ActorRef[Any], dict[int, Hashable]] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return sum(1 for _ in self.all())

    def add(self, key: Hashable, ref: ActorRef[Any], value: Any) -> Entry:
        """Note a registration."""
        entry = Entry(key, ref, value, next(self._numbers))
        self._by_key.setdefault(key, {})[entry.number] = entry
        self._by_ref.setdefault(ref, {})[entry.number] = key
        return entry

    def of_key(self, key: Hashable) -> list[Entry]:
        """The entries of a key whose holders are alive."""
        found = self._by_key.get(key)
        return [] if found is None else [entry for entry in found.values() if entry.ref.alive]

    def first(self, key: Hashable) -> Entry | None:
        """The holder of a key, where there can be but one."""
        found = self._by_key.get(key)
        if found:
            for entry in found.values():
                if entry.ref.alive:
                    return entry
        return None

    def of_ref(self, ref: ActorRef[Any]) -> list[Entry]:
        """The entries of a holder, in the order of their registration."""
        return [self._by_key[key][number] for number, key in self._by_ref.get(ref, {}).items()]

    def all(self) -> Iterator[Entry]:
        """Every entry whose holder is alive."""
        for found in self._by_key.values():
            for entry in found.values():
                if entry.ref.alive:
                    yield entry

    def remove(self, entries: list[Entry]) -> None:
        """Forget registrations."""
        for entry in entries:
            of_key, of_ref = self._by_key[entry.key], self._by_ref[entry.ref]
            del of_key[entry.number], of_ref[entry.number]
            if not of_key:
                del self._by_key[entry.key]
            if not of_ref:
                del self._by_ref[entry.ref]

    def change(self, entry: Entry, value: Any) -> None:
        """Give a registration another value."""
        self._by_key[entry.key][entry.number] = Entry(entry.key, entry.ref, value, entry.number)

    def holds_any(self, ref: ActorRef[Any]) -> bool:
        """Whether a process holds a key."""
        return ref in self._by_ref

    def dead(self, key: Hashable) -> list[Entry]:
        """The entries of a key whose holders are dead, and not removed yet."""
        return [entry for entry in self._by_key.get(key, {}).values() if not entry.ref.alive]
