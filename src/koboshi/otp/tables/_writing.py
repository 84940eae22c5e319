"""What changes a table. An operation is refused before it has changed anything, or done in one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload

from ..._kernel._errors import UsageError
from ._counters import CounterOp, changed, count, with_key
from ._errors import KeyNotFound
from ._patterns import Where, test_of
from ._reading import MISSING, TableReads, _not_hashable
from ._shapes import is_tuple

R = TypeVar("R", bound=tuple[Any, ...])


class Journal(Protocol):
    """Keeps what changes in a table somewhere else as well."""

    def encode(self, changes: dict[Any, list[Any]]) -> Any:
        """Find out whether these rows can be kept, before anything has changed. Raises `NotStorable`."""
        ...

    def note(self, encoded: Any) -> None:
        """The changes are made."""
        ...

    def clear(self) -> None:
        """All rows are gone."""
        ...


class TableWrites(TableReads[R]):
    """The writing half of `Table`."""

    _journal: Journal | None

    # -- inserts -----------------------------------------------------------------------------------

    def insert(self, *rows: R) -> None:
        """Put rows in, all or none. In sets a row takes the place of the one with its key.

        Raises:
            UsageError: a row is no tuple with a hashable key in the key's place, or, in an ordered_set,
                one that cannot be compared with the others.
        """
        self._may_write("insert")
        if len(rows) == 1 and self._journal is None:
            self._store.put(self._key_of(rows[0]), rows[0])
        else:
            self._apply(self._merged(rows))

    def insert_new(self, *rows: R) -> bool:
        """Put rows in if no key of them is there yet; False, and nothing changed, if one is."""
        self._may_write("insert_new")
        changes = self._merged(rows)
        if any(key in self._store.entries for key in changes):
            return False
        self._apply(changes)
        return True

    def _key_of(self, row: Any) -> Any:
        if not is_tuple(row) or len(row) <= self._key:
            raise UsageError(
                f"a row of {self.name!r} is a tuple with its key at place {self._key}, such as (key, value); "
                f"got {row!r}"
            )
        key: Any = row[self._key]
        try:
            hash(key)
        except TypeError:
            raise _not_hashable(key) from None
        return key

    def _merged(self, rows: tuple[R, ...]) -> dict[Any, list[Any]]:
        """What the keys of the rows will have after an insert."""
        changes: dict[Any, list[Any]] = {}
        store = self._store
        for row in rows:
            key = self._key_of(row)
            old = changes.get(key)
            changes[key] = store.merged(store.rows_of(key) if old is None else old, row)
        return changes

    def _apply(self, changes: dict[Any, list[Any]]) -> None:
        """Give keys the rows named, all or none."""
        store, journal = self._store, self._journal
        if len(changes) > 1:
            store.check_new([key for key, rows in changes.items() if rows and key not in store.entries])
        encoded = None if journal is None else journal.encode(changes)
        for key, rows in changes.items():
            store.set_rows(key, rows)
        if journal is not None:
            journal.note(encoded)

    # -- deletes -----------------------------------------------------------------------------------

    def delete(self, key: Any) -> bool:
        """Take all rows of a key out; False when there were none."""
        self._may_write("delete")
        return bool(self._take(key))

    def take(self, key: Any) -> list[R]:
        """Take all rows of a key out and return them."""
        self._may_write("take")
        return self._take(key)

    def _take(self, key: Any) -> list[R]:
        try:
            rows = self._store.rows_of(key)
        except TypeError:
            raise _not_hashable(key) from None
        if rows:
            self._apply({key: []})
        return rows

    def delete_object(self, row: R) -> int:
        """Take the rows out that are equal to this one; how many they were."""
        self._may_write("delete_object")
        return self._keep(self._key_of(row), lambda each: each != row)

    def delete_all(self) -> None:
        """Take all rows out."""
        self._may_write("delete_all")
        self._store.clear()
        if self._journal is not None:
            self._journal.clear()

    def select_delete(self, where: Where[R] = None) -> int:
        """Take the rows out that are meant; how many they were."""
        self._may_write("select_delete")
        meant = test_of(where, self._key)
        going: dict[Any, dict[int, Any]] = {}
        for row in self._candidates(where):
            if meant(row):
                going.setdefault(row[self._key], {})[id(row)] = row
        # `where` may have changed the table: what it took out is gone, and what it put in stays.
        changes: dict[Any, list[Any]] = {}
        deleted = 0
        for key, gone in going.items():
            rows = self._store.rows_of(key)
            kept = [row for row in rows if id(row) not in gone]
            if len(kept) < len(rows):
                changes[key] = kept
                deleted += len(rows) - len(kept)
        self._apply(changes)
        return deleted

    def _keep(self, key: Any, wanted: Callable[[Any], bool]) -> int:
        rows = self._store.rows_of(key)
        kept = [row for row in rows if wanted(row)]
        if len(kept) < len(rows):
            self._apply({key: kept})
        return len(rows) - len(kept)

    # -- updates -----------------------------------------------------------------------------------

    @overload
    def update_counter(self, key: Any, op: CounterOp = 1, default: R | None = None) -> int: ...
    @overload
    def update_counter(self, key: Any, op: list[CounterOp], default: R | None = None) -> list[int]: ...
    def update_counter(self, key: Any, op: Any = 1, default: R | None = None) -> Any:
        """Add to whole numbers in the row of a key, and return what they are now. Not for bags.

        Args:
            op: an increment of the element behind the key; `(place, increment)`; or `(place, increment,
                threshold, reset)`, with which a sum beyond the threshold becomes `reset`. A list of these
                is done in its order, all or none, and gives a list.
            default: the row to begin with when there is none; its key is replaced by `key`.

        Raises:
            KeyNotFound: there is no row and no default.
            UsageError: there is no whole number at that place, or it is the key's.
        """
        self._may_write("update_counter")
        if op.__class__ is int and self._journal is None and self._store.single:
            # The common count spelled out: no order and no journal have to know of it.
            entries = self._store.entries
            place = self._key + 1
            try:
                row = entries[key]
                old = row[place]
            except (LookupError, TypeError):
                pass  # said below, in words
            else:
                if row.__class__ is tuple and old.__class__ is int:
                    new = old + op
                    if place == 1 and len(row) == 2:  # a key and its count
                        entries[key] = (row[0], new)
                    else:
                        entries[key] = (*row[:place], new, *row[place + 1 :])
                    return new
        row, new = count(self._row_to_change("update_counter", key, default), op, self._key)
        self._replace(key, row)
        return new

    def update_element(
        self, key: Any, updates: tuple[int, Any] | list[tuple[int, Any]], default: R | None = None
    ) -> bool:
        """Replace elements of the row of a key: `(place, value)`, or a list of them. Not for bags.

        Returns False, and changes nothing, when there is no row and no default.
        """
        self._may_write("update_element")
        try:
            row = self._row_to_change("update_element", key, default)
        except KeyNotFound:
            return False
        self._replace(key, changed(row, updates, self._key))
        return True

    def select_replace(self, where: Where[R], change: Callable[[R], R]) -> int:
        """Put `change(row)` in the place of each row that is meant; how many they were. Not for bags.

        Raises:
            UsageError: a new row has another key than the old one; nothing has changed.
        """
        self._may_write("select_replace")
        self._only("select_replace", "set", "ordered_set", "duplicate_bag")
        meant = test_of(where, self._key)
        # By key and row, the rows that come; the old ones are kept so that their ids stay theirs.
        coming: dict[Any, dict[int, list[Any]]] = {}
        meant_rows = [row for row in self._candidates(where) if meant(row)]
        for row in meant_rows:
            key = row[self._key]
            new = change(row)
            if self._key_of(new) != key:
                raise UsageError(f"select_replace must keep the key of a row, and made {new!r} of {row!r}")
            coming.setdefault(key, {}).setdefault(id(row), []).append(new)
        # The functions may have changed the table: what they took out is gone, and what they put in stays.
        changes: dict[Any, list[Any]] = {}
        replaced = 0
        for key, news in coming.items():
            rows = self._store.rows_of(key)
            for place, row in enumerate(rows):
                if found := news.get(id(row)):
                    rows[place] = found.pop(0)
                    replaced += 1
            changes[key] = rows
        self._apply({key: rows for key, rows in changes.items() if rows})
        return replaced

    def _row_to_change(self, operation: str, key: Any, default: Any) -> Any:
        self._only(operation, "set", "ordered_set")
        try:
            row = self._store.entries.get(key)
        except TypeError:
            raise _not_hashable(key) from None
        if row is None:
            if default is None or default is MISSING:
                raise KeyNotFound(self.name, key)
            self._key_of(default)
            row = with_key(default, key, self._key)
        return row

    def _replace(self, key: Any, row: Any) -> None:
        if self._journal is None:
            self._store.put(key, row)
        else:
            self._apply({key: [row]})
