"""`Partition`: the actor that owns a part of a registry's keys.

Its table is changed on its event loop only, by its own code or by the registry's, and never in the middle of
something: nothing here awaits. An entry of a process that has ended is dropped when the `Down` comes; until
then it is passed over by every read, and gives way to whoever registers next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._bonds import Monitor
from ..._kernel._cell import DEAD, Cell
from ..._kernel._reasons import SHUTDOWN, Down, Exit, Normal
from ..._kernel._ref import ActorRef
from ._types import AlreadyRegistered, Registration


class Entry:
    """One registration. Compared by identity: a process may have equal ones in a duplicate registry."""

    __slots__ = ("cell", "key", "ref", "shown", "value")

    def __init__(self, key: Any, cell: Cell, value: Any) -> None:
        self.key = key
        self.cell = cell
        self.ref: ActorRef[Any] = ActorRef(cell)
        self.put(value)

    def put(self, value: Any) -> None:
        """Have another value."""
        self.value = value
        # What users get, made once: to make one takes longer than to find it.
        self.shown = Registration(self.key, self.ref, value)


Tell = Callable[[Entry, bool], None]


class Partition(Actor):
    """Owns the entries of some keys.

    Args:
        front: the registry, whose end is ours.
        unique: one process per key.
        tell: called with each entry that comes (True) or goes (False).
    """

    def __init__(self, front: Cell, unique: bool, tell: Tell) -> None:
        self._front = front
        self._unique = unique
        self._tell = tell
        self._by_key: dict[Any, dict[Entry, None]] = {}
        # The keys of each process, in the order of registration, and the watch over it.
        self._by_owner: dict[Cell, tuple[dict[Entry, None], Monitor]] = {}

    def on_start(self) -> None:
        # It is linked to all that are registered here, so that they hear of its end; not it of theirs.
        self.trap_exits()

    def on_exit(self, exit: Exit, /) -> None:
        if exit.sender == ActorRef(self._front):
            # Also an orderly end must reach the registered: their entries are gone.
            self.stop(SHUTDOWN if isinstance(exit.reason, Normal) else exit.reason)

    def on_down(self, down: Down, /) -> None:
        held = self._by_owner.get(down.target._target())
        if held is not None and held[1] is down.monitor:
            for entry in tuple(held[0]):
                self._drop(entry)

    def format_status(self) -> object:
        return {"keys": len(self._by_key), "processes": len(self._by_owner)}

    # -- changes, on this loop ---------------------------------------------------------------------

    def register(self, cell: Cell, key: Any, value: Any) -> None:
        """Add an entry.

        Raises:
            AlreadyRegistered: the key is unique and a living process has it.
        """
        if cell.state == DEAD:
            return  # it asked from another node and has ended since
        if self._unique:
            for other in tuple(self._by_key.get(key, ())):
                if other.cell.state != DEAD:
                    raise AlreadyRegistered(key, other.ref)
                self._drop(other)
        entry = Entry(key, cell, value)
        held = self._by_owner.get(cell)
        if held is None:
            _bonds.link(self._kb_cell, cell)
            held = self._by_owner[cell] = ({}, _bonds.monitor(self._kb_cell, cell, entry.ref))
        held[0][entry] = None
        self._by_key.setdefault(key, {})[entry] = None
        self._tell(entry, True)

    def unregister(self, cell: Cell, key: Any, where: Callable[[Any], bool] | None = None) -> None:
        """Drop the entries of this process under the key whose values `where` accepts; None is all."""
        mine = [entry for entry in self._by_key.get(key, ()) if entry.cell is cell]
        for entry in [each for each in mine if where is None or where(each.value)]:
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        entries = self._by_key[entry.key]
        del entries[entry]
        if not entries:
            del self._by_key[entry.key]
        mine, watch = self._by_owner[entry.cell]
        del mine[entry]
        if not mine:
            del self._by_owner[entry.cell]
            watch.cancel()
            if entry.cell.state != DEAD:
                _bonds.unlink(self._kb_cell, entry.cell)
        self._tell(entry, False)

    # -- reads, on this loop -------------------------------------------------------------------------

    def under(self, key: Any) -> list[Entry]:
        """The entries of living processes under a key, the oldest first."""
        return [entry for entry in self._by_key.get(key, ()) if entry.cell.state != DEAD]

    def shown_under(self, key: Any) -> list[Registration]:
        """The same as users see them."""
        entries = self._by_key.get(key)
        if entries is None:
            return []
        if len(entries) == 1:  # as every key of a unique registry; a list of one is made faster by hand
            (entry,) = entries
            return [] if entry.cell.state == DEAD else [entry.shown]
        return [entry.shown for entry in entries if entry.cell.state != DEAD]

    def of(self, cell: Cell) -> list[Entry]:
        """The entries of a process."""
        held = self._by_owner.get(cell)
        return [] if held is None or cell.state == DEAD else list(held[0])

    def all(self) -> Iterator[Entry]:
        """All entries of living processes."""
        # A copy: the user's predicate may come back here.
        for entries in tuple(self._by_key.values()):
            for entry in tuple(entries):
                if entry.cell.state != DEAD:
                    yield entry

    def owners(self) -> list[Cell]:
        """The living processes that have entries."""
        return [cell for cell in self._by_owner if cell.state != DEAD]
