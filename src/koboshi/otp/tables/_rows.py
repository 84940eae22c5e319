"""The rows of one table, by kind: what each operation does to them. No owner, no access, no messages.

A row is a tuple, and the element at the key's position is its key. Keys are compared as Python compares them:
1, 1.0 and True are one key in every kind. (In ets they are one in an ordered set alone.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Literal

from ..._kernel._errors import UsageError
from ._sorted_keys import SortedKeys

__all__ = ["KINDS", "Kind", "Row", "Rows", "fits"]

Kind = Literal["set", "ordered_set", "bag", "duplicate_bag"]
KINDS: tuple[Kind, ...] = ("set", "ordered_set", "bag", "duplicate_bag")
Row = tuple[Any, ...]
# What to add to an element: how much to the one behind the key, or (place, how much), or with a limit and
# what is put there when it is passed: (place, how much, limit, value).
Change = int | tuple[int, int] | tuple[int, int, int, int]


class Rows:
    """Rows of one kind, with the key at position `key`."""

    def __init__(self, kind: Kind, key: int) -> None:
        self.kind: Kind = kind
        self.key = key
        self._single = kind in ("set", "ordered_set")
        self._by_key: dict[Hashable, list[Row]] = {}
        self._order = SortedKeys() if kind == "ordered_set" else None
        self._count = 0
        # Keys as they were when somebody began to go through them, and where each is in that list.
        self._walk: tuple[list[Any], dict[Any, int]] | None = None

    def __len__(self) -> int:
        return self._count

    def keys(self) -> Iterable[Any]:
        """All keys, in order if the kind has one."""
        return self._order if self._order is not None else list(self._by_key)

    def all(self) -> Iterator[Row]:
        """All rows, those of one key in the order of their insertion."""
        for key in self.keys():
            yield from self._by_key.get(key, ())

    def of_key(self, key: Hashable) -> list[Row]:
        """The rows of a key."""
        try:
            return list(self._by_key.get(key, ()))
        except TypeError:
            raise UsageError(f"a key is something that can be hashed, got {key!r}") from None

    def key_of(self, row: Any) -> Any:
        """The key of a row. Raises `UsageError` for what is no row of this table."""
        if not _is_tuple(row) or len(row) <= self.key:
            raise UsageError(f"a row is a tuple with its key at position {self.key}, got {row!r}")
        key = row[self.key]
        try:
            hash(key)
        except TypeError:
            raise UsageError(f"a key is something that can be hashed, got {key!r} in {row!r}") from None
        return key

    def put(self, row: Row) -> None:
        """Insert a row; in a set it takes the place of the one with its key."""
        key = self.key_of(row)
        held = self._by_key.get(key)
        if held is None:
            if self._order is not None:
                try:
                    self._order.add(key)
                except TypeError as error:
                    raise UsageError(
                        f"keys of an ordered set must compare with each other: {error}"
                    ) from None
            self._by_key[key] = [row]
            self._count += 1
        elif self._single:
            held[0] = row
        elif self.kind == "duplicate_bag" or row not in held:
            held.append(row)
            self._count += 1

    def drop(self, key: Hashable) -> list[Row]:
        """Delete the rows of a key; gives them."""
        held = self._by_key.pop(key, None)
        if held is None:
            return []
        self._count -= len(held)
        if self._order is not None:
            self._order.remove(key)
        return held

    def drop_row(self, row: Row) -> int:
        """Delete exactly this row, each time it is there; gives how often that was."""
        key = self.key_of(row)
        held = self._by_key.get(key, [])
        kept = [each for each in held if each != row]
        gone = len(held) - len(kept)
        if gone and kept:
            self._by_key[key] = kept
            self._count -= gone
        elif gone:
            self.drop(key)
        return gone

    def clear(self) -> int:
        """Delete all rows; gives how many there were."""
        count, self._count = self._count, 0
        self._by_key.clear()
        if self._order is not None:
            self._order.clear()
        return count

    def replace(self, key: Hashable, change: Callable[[Row], Row]) -> Row:
        """Put `change(row)` in the place of the one row of a key. Its key must stay."""
        held = self._by_key[key]
        row = change(held[0])
        if self.key_of(row) != key:
            raise UsageError(f"the key of a row cannot be changed, from {key!r} to {row[self.key]!r}")
        held[0] = row
        return row

    def add(self, row: Row, change: Any) -> tuple[Row, int]:
        """The row with one counter changed, and that counter."""
        place, by, *limit = (self.key + 1, change) if isinstance(change, int) else change
        if not 0 <= place < len(row) or place == self.key:
            raise UsageError(f"there is no counter at position {place} of {row!r}")
        value = row[place]
        for number in (value, by, *limit):
            if not isinstance(number, int) or isinstance(number, bool):
                raise UsageError(f"a counter and what is added are whole numbers, got {number!r} for {row!r}")
        value += by
        if limit and (value > limit[0] if by >= 0 else value < limit[0]):
            value = limit[1]
        return (*row[:place], value, *row[place + 1 :]), value

    # -- going through -------------------------------------------------------------------------------

    def first(self) -> Any:
        """The first key. Raises `IndexError` when there is none."""
        if self._order is not None:
            return self._order.first()
        keys = list(self._by_key)
        self._walk = keys, {key: place for place, key in enumerate(keys)}
        return keys[0]

    def last(self) -> Any:
        """The last key. Raises `IndexError` when there is none."""
        return self._order.last() if self._order is not None else list(self._by_key)[-1]

    def step(self, key: Any, by: int) -> Any:
        """The key behind this one, or before it. Raises `IndexError` at the end, `KeyError` if it is unknown.

        In an ordered set the key need not be there. Otherwise it is looked up among those that were there at
        the last `first`, so it may have been deleted since; keys inserted since then may be passed over.
        """
        if self._order is not None:
            return self._order.after(key) if by > 0 else self._order.before(key)
        if self._walk is None or key not in self._walk[1]:
            self._walk = None
            if key in self._by_key:
                self.first()
        if self._walk is None:
            raise KeyError(key)
        keys, places = self._walk
        place = places[key] + by
        while 0 <= place < len(keys):
            if keys[place] in self._by_key:
                return keys[place]
            place += by
        raise IndexError("no further key")


def _is_tuple(value: object) -> bool:
    return isinstance(value, tuple)


def fits(pattern: Row, row: Row) -> bool:
    """Whether a row has the pattern's elements wherever that is not `...`."""
    return len(pattern) == len(row) and all(
        wanted is ... or wanted == found for wanted, found in zip(pattern, row, strict=True)
    )
