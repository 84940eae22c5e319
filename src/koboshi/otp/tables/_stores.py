"""Where rows lie: by key in a dict, with an order of the keys beside it where the kind has one.

A store knows nothing of processes and rights. All changes go through `put`, `set_rows` and `clear`, so that
the dict, the order and the number of rows always agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

from ..._kernel._errors import UsageError
from ._sorted_keys import SortedKeys
from ._walk_order import WalkOrder

Kind = Literal["set", "ordered_set", "bag", "duplicate_bag"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Access = Literal["private", "protected", "public"]
ACCESSES: tuple[Access, ...] = get_args(Access)


class Store:
    """The rows of one table."""

    ordered = False
    single = True

    def __init__(self) -> None:
        # For sets the row of each key, for bags the list of them, never an empty one.
        self.entries: dict[Any, Any] = {}
        self.size = 0
        self.order: Any = WalkOrder(self.entries.keys())

    def rows_of(self, key: Any) -> list[Any]:
        """The rows of a key, as a list of its own."""
        row = self.entries.get(key)
        return [] if row is None else [row]

    def merged(self, old: list[Any], row: Any) -> list[Any]:
        """The rows of a key after an insert to `old`, which may be changed and given back."""
        return [row]

    def put(self, key: Any, row: Any) -> None:
        """Insert one row."""
        entries = self.entries
        if key not in entries:
            self.order.added(key)
            self.size += 1
        entries[key] = row

    def set_rows(self, key: Any, rows: list[Any]) -> None:
        """Give a key these rows in place of those it has; none takes it out."""
        if rows:
            self.put(key, rows[0])
        elif key in self.entries:
            del self.entries[key]
            self.size -= 1
            self.order.removed(key)

    def check_new(self, keys: list[Any]) -> None:
        """Find out whether these new keys can be taken in."""

    def clear(self) -> None:
        """Take all rows out."""
        self.entries.clear()
        self.size = 0
        self.order.cleared()

    def rows(self) -> list[Any]:
        """All rows, in the table's order."""
        return list(self.entries.values())

    def keys(self) -> list[Any]:
        """All keys, in the table's order."""
        return list(self.entries)


class OrderedStore(Store):
    """A set whose keys have an order."""

    ordered = True

    def __init__(self) -> None:
        super().__init__()
        self.order: SortedOrder = SortedOrder()

    def put(self, key: Any, row: Any) -> None:
        entries = self.entries
        if key not in entries:
            try:
                self.order.added(key)
            except TypeError as error:
                raise _not_comparable(key, error) from error
            self.size += 1
        entries[key] = row

    def check_new(self, keys: list[Any]) -> None:
        added: list[Any] = []
        try:
            for key in keys:
                self.order.added(key)
                added.append(key)
        except TypeError as error:
            raise _not_comparable(keys[len(added)], error) from error
        finally:
            for key in reversed(added):
                self.order.removed(key)

    def rows(self) -> list[Any]:
        entries = self.entries
        return [entries[key] for key in self.order]

    def keys(self) -> list[Any]:
        return list(self.order)


class SortedOrder(SortedKeys):
    """Sorted keys under the names of `WalkOrder`; they find the neighbours of a deleted key."""

    __slots__ = ("fixed",)

    def __init__(self) -> None:
        super().__init__()
        self.fixed = 0

    def added(self, key: Any) -> None:
        """The table has a new key."""
        if key != key:
            raise TypeError(f"{key!r} is not equal to itself")
        self.add(key)

    def removed(self, key: Any) -> None:
        """The table has lost a key."""
        self.remove(key)

    def cleared(self) -> None:
        """The table is empty."""
        self.clear()

    def release(self) -> None:
        """One of those that had it fixed has done."""
        self.fixed -= 1


def _not_comparable(key: Any, error: TypeError) -> UsageError:
    return UsageError(f"the keys of an ordered_set must have one order, and {key!r} does not fit in: {error}")


class BagStore(Store):
    """Any number of rows of one key; `duplicates` says whether the same row may be there twice."""

    single = False

    def __init__(self, *, duplicates: bool) -> None:
        super().__init__()
        self.duplicates = duplicates

    def rows_of(self, key: Any) -> list[Any]:
        return list(self.entries.get(key, ()))

    def merged(self, old: list[Any], row: Any) -> list[Any]:
        if self.duplicates or row not in old:
            old.append(row)
        return old

    def put(self, key: Any, row: Any) -> None:
        rows = self.entries.get(key)
        if rows is None:
            self.order.added(key)
            self.entries[key] = [row]
        elif self.duplicates or row not in rows:
            rows.append(row)
        else:
            return
        self.size += 1

    def set_rows(self, key: Any, rows: list[Any]) -> None:
        old = self.entries.get(key)
        self.size += len(rows) - len(old or ())
        if rows:
            if old is None:
                self.order.added(key)
            self.entries[key] = list(rows)
        elif old is not None:
            del self.entries[key]
            self.order.removed(key)

    def rows(self) -> list[Any]:
        return [row for rows in self.entries.values() for row in rows]


def new_store(kind: Kind) -> Store:
    """An empty store of a kind."""
    if kind == "ordered_set":
        return OrderedStore()
    if kind == "set":
        return Store()
    return BagStore(duplicates=kind == "duplicate_bag")


def walk(order: Any) -> Iterator[Any]:
    """Each key that lives when the walk comes to it."""
    found = order.first()
    while found:
        yield found[0]
        found = order.after(found[0])
