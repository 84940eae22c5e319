"""`Table`: rows in memory that belong to a process, and are used directly by code on its event loop.

Every operation is one step that nothing else comes into. The table is gone, or its heir's, before anybody
hears of its owner's end. From other nodes it is reached by `anywhere`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..._kernel import _bonds
from ..._kernel._cell import DEAD, REMOTE, Cell
from ..._kernel._errors import KoboshiError, UsageError, WrongThread
from ..._kernel._node import this_node
from ..._kernel._ref import ActorRef
from ..._supervision._options import one_of, whole
from .._here import caller, hashable
from ._rows import KINDS, Kind, Row, Rows, fits

if TYPE_CHECKING:
    from ._anywhere import TableHandle

__all__ = [
    "Access",
    "AccessDenied",
    "NoTable",
    "Table",
    "TableExists",
    "TableInfo",
    "TableTransfer",
    "new_table",
    "table",
]

T = TypeVar("T")

Access = Literal["private", "protected", "public"]
ACCESSES: tuple[Access, ...] = ("private", "protected", "public")
_MISSING: Any = object()
Where = Callable[[Row], bool] | Row


class NoTable(KoboshiError, LookupError):
    """There is no such table: it was deleted, its owner has ended, or it never was."""


class TableExists(KoboshiError):
    """A living process has a table of that name on this node."""


class AccessDenied(KoboshiError):
    """The table may not be read, or changed, by this process."""


@dataclass(frozen=True, slots=True)
class TableTransfer:
    """What a process is sent that a table was given to: by its owner, or as its heir."""

    table: Table
    sender: ActorRef[Any]
    data: object


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table at one moment."""

    name: Any
    kind: Kind
    access: Access
    key: int
    size: int
    owner: ActorRef[Any]
    heir: ActorRef[Any] | None


class Table:
    """Rows by key; made by `new_table`, found by `table`.

    Rows are tuples. A pattern is a tuple with `...` for what does not matter.
    """

    __slots__ = ("__weakref__", "_access", "_heir", "_node", "_owner", "_rows", "name")

    def __init__(
        self, owner: Cell, name: Any, kind: Kind, access: Access, key: int, heir: tuple[Cell, object] | None
    ) -> None:
        self._node = owner.node
        self._owner: Cell | None = owner
        self._heir = heir
        self._access: Access = access
        self._rows = Rows(kind, key)
        #: Its name on this node, None when it has none.
        self.name = name
        _bonds.own(owner, self)

    # -- writing ------------------------------------------------------------------------------------

    def insert(self, *rows: Row) -> None:
        """Insert rows; in a set each takes the place of the one with its key.

        Raises:
            UsageError: one is no row; then none was inserted.
            AccessDenied, NoTable, WrongThread: as every operation.
        """
        held = self._to_write()
        for row in rows:
            held.key_of(row)
        for row in rows:
            held.put(row)

    def insert_new(self, *rows: Row) -> bool:
        """Insert rows if none of their keys is there; all of them, or none. Raises as `insert`."""
        held = self._to_write()
        keys = [held.key_of(row) for row in rows]
        if any(held.of_key(key) for key in keys):
            return False
        for row in rows:
            held.put(row)
        return True

    def delete(self, key: Any) -> None:
        """Delete the rows of a key, if there are any."""
        self._to_write().drop(hashable("a key", key))

    def delete_object(self, row: Row) -> None:
        """Delete exactly this row, if it is there."""
        self._to_write().drop_row(row)

    def delete_all(self) -> int:
        """Delete all rows; gives how many there were."""
        return self._to_write().clear()

    def take(self, key: Any) -> list[Row]:
        """Delete the rows of a key, and give them."""
        return self._to_write().drop(hashable("a key", key))

    def update_counter(self, key: Any, change: Any = 1, default: Row | None = None) -> Any:
        """Add to a counter of the one row of a key; gives its new value.

        Args:
            change: how much to add to the element behind the key; or (place, how much) for another one; or
                (place, how much, limit, value): `value` is put there when the limit is passed. A list of
                these changes several, and gives a list.
            default: the row that is inserted first when there is none.

        Raises:
            KeyError: there is no row, and no default.
            UsageError: the table is a bag, or there is no counter at that place.
        """
        held = self._to_write()
        self._demand_single("update_counter")
        found = held.of_key(key)
        if found:
            row = found[0]
        elif default is not None:
            row = default
            if held.key_of(row) != key:
                raise UsageError(f"the default row {default!r} does not have the key {key!r}")
        else:
            raise KeyError(key)
        values: list[int] = []
        for each in change if isinstance(change, list) else [change]:  # pyright: ignore[reportUnknownVariableType]
            row, value = held.add(row, each)
            values.append(value)
        held.put(row)
        return values if isinstance(change, list) else values[0]

    def update_element(self, key: Any, elements: dict[int, Any]) -> bool:
        """Put other values at some places of the one row of a key; False when there is none.

        Raises:
            UsageError: the table is a bag, or there is no such place, or it is the key's.
        """
        held = self._to_write()
        self._demand_single("update_element")
        found = held.of_key(key)
        if not found:
            return False
        row = list(found[0])
        for place, value in elements.items():
            if not 0 <= place < len(row) or place == held.key:
                raise UsageError(f"there is no element to change at position {place} of {found[0]!r}")
            row[place] = value
        held.put(tuple(row))
        return True

    def select_delete(self, where: Where) -> int:
        """Delete the rows that fit; gives how many. All at once: nobody sees half of it."""
        self._to_write()
        chosen = self.select(where)
        for row in chosen:
            self._rows.drop_row(row)
        return len(chosen)

    def select_replace(self, where: Where, change: Callable[[Row], Row]) -> int:
        """Put `change(row)` in the place of each row that fits; its key must stay. Gives how many."""
        held = self._to_write()
        self._demand_single("select_replace")
        chosen = self.select(where)
        changed = [(row[held.key], change(row)) for row in chosen]
        for key, row in changed:
            if held.key_of(row) != key:
                raise UsageError(f"the key of a row cannot be changed, from {key!r} to {row[held.key]!r}")
        for _, row in changed:
            held.put(row)
        return len(changed)

    # -- reading ------------------------------------------------------------------------------------

    def lookup(self, key: Any) -> list[Row]:
        """The rows of a key: none, one, or in a bag any number."""
        return self._to_read().of_key(key)

    def lookup_element(self, key: Any, place: int, default: Any = _MISSING) -> Any:
        """One element of the first row of a key.

        Raises:
            KeyError: there is no row, and no default.
            UsageError: it has no such element.
        """
        found = self._to_read().of_key(key)
        if not found:
            if default is _MISSING:
                raise KeyError(key)
            return default
        if not 0 <= place < len(found[0]):
            raise UsageError(f"there is no element at position {place} of {found[0]!r}")
        return found[0][place]

    def __contains__(self, key: Any) -> bool:
        return bool(self._to_read().of_key(key))

    def member(self, key: Any) -> bool:
        """Whether there is a row with this key; also `key in table`."""
        return key in self

    def __len__(self) -> int:
        return len(self._to_read())

    def match(self, pattern: Row) -> list[Row]:
        """The rows that fit a pattern: `match(("ada", ..., "admin"))`."""
        held = self._to_read()
        if not isinstance(pattern, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"a pattern is a tuple with ... for what does not matter, got {pattern!r}")
        if len(pattern) > held.key and pattern[held.key] is not ...:
            return [row for row in held.of_key(pattern[held.key]) if fits(pattern, row)]
        return [row for row in held.all() if fits(pattern, row)]

    def select(self, where: Where) -> list[Row]:
        """The rows that a function accepts, or that fit a pattern; in key order in an ordered set."""
        if not callable(where):
            return self.match(where)
        return [row for row in self._to_read().all() if where(row)]

    def select_count(self, where: Where) -> int:
        """How many rows fit."""
        return len(self.select(where))

    def rows(self) -> list[Row]:
        """All rows as they are now."""
        return list(self._to_read().all())

    def fold(self, fn: Callable[[T, Row], T], initial: T) -> T:
        """`fn(result, row)` over all rows as they are now."""
        result = initial
        for row in self.rows():
            result = fn(result, row)
        return result

    def first(self) -> Any:
        """The first key: the least one of an ordered set. None when the table is empty."""
        try:
            return self._to_read().first()
        except IndexError:
            return None

    def last(self) -> Any:
        """The last key: the greatest one of an ordered set. None when the table is empty."""
        try:
            return self._to_read().last()
        except IndexError:
            return None

    def next(self, key: Any) -> Any:
        """The key behind this one, None at the end. The key may have been deleted since it was given.

        Raises:
            KeyError: it was never there, and the table has no order.
        """
        return self._step(key, 1)

    def prev(self, key: Any) -> Any:
        """The key before this one, None at the beginning. Raises as `next`."""
        return self._step(key, -1)

    def keys(self) -> Iterator[Any]:
        """Go through the keys; rows may be deleted and inserted meanwhile."""
        try:
            key = self._to_read().first()
            while True:
                yield key
                key = self._to_read().step(key, 1)
        except IndexError:
            return

    def info(self) -> TableInfo:
        """What there is to say of it; whatever its access."""
        owner = self._alive()
        heir = None if self._heir is None else ActorRef[Any](self._heir[0])
        rows = self._rows
        return TableInfo(self.name, rows.kind, self._access, rows.key, len(rows), ActorRef(owner), heir)

    # -- whose it is --------------------------------------------------------------------------------

    def give_away(self, to: ActorRef[Any], data: object = None) -> None:
        """Make it another process's, which is sent a `TableTransfer` with `data`.

        Raises:
            AccessDenied: this process is not its owner.
            UsageError: that process is dead, or on another node.
        """
        owner = self._mine("give_away")
        cell = _here(to, "a table is given to")
        _bonds.disown(owner, self)
        self._pass_to(cell, owner, data)

    def set_heir(self, to: ActorRef[Any] | None, data: object = None) -> None:
        """Say who is given the table when its owner ends; None takes that back. Raises as `give_away`."""
        self._mine("set_heir")
        self._heir = None if to is None else (_here(to, "the heir of a table is"), data)

    def rename(self, name: Any) -> None:
        """Give it another name. Raises `TableExists`, and as `give_away`."""
        self._mine("rename")
        _enter(self._node, name, self)
        _leave(self)
        self.name = name

    def drop(self) -> None:
        """Delete the table. Raises as `give_away`."""
        _bonds.disown(self._mine("drop"), self)
        self._end()

    @property
    def anywhere(self) -> TableHandle:
        """The same table for use on any node: its methods are async, and it can be sent in messages."""
        from ._anywhere import TableHandle, server_of

        self._alive()
        return TableHandle(*server_of(self._node, self))

    def owner_ended(self, owner: Cell) -> None:
        """Its owner is at its end; see `_bonds.Resource`."""
        if self._heir is not None and self._heir[0].state != DEAD and self._heir[0] is not owner:
            (heir, data), self._heir = self._heir, None
            self._pass_to(heir, owner, data)
        else:
            self._end()

    def __repr__(self) -> str:
        if self._owner is None:
            return f"<Table {self.name!r} gone>"
        return f"<Table {self.name!r} {self._rows.kind} of {self._owner.label()}, {len(self._rows)} rows>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise UsageError(f"{self!r} is of use on its own event loop alone; send its `anywhere`")

    # -- inside -------------------------------------------------------------------------------------

    def _alive(self) -> Cell:
        if self._owner is None:
            raise NoTable(f"the table {self.name!r} is no more: it was deleted, or its owner has ended")
        if get_ident() != self._node.thread:
            raise WrongThread(f"{self!r} was used on another thread than its event loop's")
        return self._owner

    def _to_read(self) -> Rows:
        owner = self._alive()
        if self._access == "private" and self._node.current is not owner:
            raise AccessDenied(f"{self!r} is private, so only its owner may read it; make it protected")
        return self._rows

    def _to_write(self) -> Rows:
        owner = self._alive()
        if self._access != "public" and self._node.current is not owner:
            raise AccessDenied(f"{self!r} is {self._access}, so only its owner may change it; make it public")
        return self._rows

    def _mine(self, what: str) -> Cell:
        owner = self._alive()
        if self._node.current is not owner:
            raise AccessDenied(f"{what} is for the owner of {self!r}")
        return owner

    def _demand_single(self, what: str) -> None:
        if self._rows.kind in ("bag", "duplicate_bag"):
            raise UsageError(f"{what} is for tables with one row for each key, and {self!r} is a bag")

    def _step(self, key: Any, by: int) -> Any:
        try:
            return self._to_read().step(key, by)
        except IndexError:
            return None

    def _pass_to(self, cell: Cell, sender: Cell, data: object) -> None:
        self._owner = cell
        _bonds.own(cell, self)
        told = TableTransfer(self, ActorRef(sender), data)
        cell.post((cell.info.on_info, told, None, copy_context(), None))

    def _end(self) -> None:
        _leave(self)
        self._owner = self._heir = None
        self._rows.clear()


def new_table(
    name: Any = None,
    *,
    kind: Kind = "set",
    access: Access = "protected",
    key: int = 0,
    heir: ActorRef[Any] | None = None,
    heir_data: object = None,
) -> Table:
    """Make a table that belongs to the current process and is gone with it.

    Args:
        name: by which `table` finds it on this node; None for none.
        kind: "set" (default), "ordered_set", "bag" (rows of one key differ), "duplicate_bag".
        access: "protected" (default): all may read, the owner writes; "private"; "public".
        key: position of the key in a row, 0 by default.
        heir, heir_data: who is given the table when its owner ends, and what it is sent with it.

    Raises:
        TableExists: the name is taken.
        NotInProcess: no process runs here.
        UsageError: an option has no such value.
    """
    one_of("kind", kind, KINDS)
    one_of("access", access, ACCESSES)
    whole("key", key, 0)
    owner = caller("new_table")._target()
    after = None if heir is None else (_here(heir, "the heir of a table is"), heir_data)
    if name is not None:
        _check_free(owner.node, name)
    made = Table(owner, name, kind, access, key, after)
    _enter(owner.node, name, made)
    return made


def table(name: Any) -> Table:
    """The table of that name on this node. Raises `NoTable`."""
    found: Table | None = _names(this_node()).get(hashable("the name of a table", name))
    if found is None:
        raise NoTable(f"there is no table {name!r} on this node")
    return found


def _names(node: Any) -> dict[Any, Table]:
    names: dict[Any, Table] = node.services.setdefault("tables", {})
    return names


def _check_free(node: Any, name: Any) -> None:
    if hashable("the name of a table", name) in _names(node):
        raise TableExists(f"there is a table {name!r} on this node: {_names(node)[name]!r}")


def _enter(node: Any, name: Any, made: Table) -> None:
    if name is not None:
        _check_free(node, name)
        _names(node)[name] = made


def _leave(made: Table) -> None:
    if made.name is not None:
        _names(made._node).pop(made.name, None)


def _here(ref: ActorRef[Any], what: str) -> Cell:
    cell = ref._target()
    if cell.state == DEAD or cell.state == REMOTE or cell.node is not this_node():
        raise UsageError(f"{what} a living process of this node, got {ref!r}")
    return cell
