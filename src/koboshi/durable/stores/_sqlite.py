"""SQLite: the SQL that it takes, and its connection. Used on one thread, its owner's.

Many rows go into one statement. The reason is Python's global lock: the module gives it up around every
step of a statement and then waits up to the switch interval of 5 ms for a busy event loop to give it back,
so that a thousand single updates take seconds beside a loop that works, and one update of a thousand rows
takes milliseconds.

Such a statement says OR FAIL, so that SQLite need not be able to undo it by itself: it would copy each page that the
statement changes first, which took as long as the rows. One that fails may have done a part, which goes with the
transaction or its savepoint.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ._clock import Clocks
from ._refused import refused
from ._session import Row, Select
from ._tables import Table

__all__ = ["SqliteConnection", "SqliteSession"]

# SQLite takes 32,766 values in one statement; some builds fewer, none of those in use fewer than this.
_MOST_VALUES = 30_000
_CHUNK = 2_000


class SqliteSession:
    """See `Session`."""

    def __init__(self, connection: sqlite3.Connection, clocks: Clocks) -> None:
        self._connection = connection
        # Closed by hand: a cursor that a traceback keeps alive would keep the file open after `close`.
        self.cursor = connection.cursor()
        self._clocks = clocks
        self._now: float | None = None

    @property
    def now(self) -> float:
        """See `Session.now`."""
        if self._now is None:
            self._now = self._clocks.wall()
        return self._now

    @property
    def lease_now(self) -> float:
        """Seconds since this machine was started, which all its processes agree on and nobody sets."""
        return self._clocks.lease()

    def insert(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Row], *, ignore: bool = False
    ) -> int:
        """See `Session.insert`."""
        return sum(
            self._change(_insert(table, columns, len(part), ignore), part)
            for part in _parts(rows, len(columns))
        )

    def update(
        self, table: Table, match: tuple[str, ...], change: tuple[str, ...], rows: Sequence[Row]
    ) -> int:
        """See `Session.update`."""
        changed = 0
        for part in _parts(rows, len(match) + len(change)):
            # The statement for one row has its values in another order.
            given = part if len(part) > 1 else [part[0][len(match) :] + part[0][: len(match)]]
            changed += self._change(_update(table, match, change, len(part)), given)
        return changed

    def upsert(self, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        """See `Session.upsert`."""
        for part in _parts(rows, len(columns)):
            self._change(_upsert(table, columns, len(part)), part)

    def delete(self, table: Table, match: tuple[str, ...], rows: Sequence[Row]) -> int:
        """See `Session.delete`."""
        return sum(self._change(_delete(table, match, len(part)), part) for part in _parts(rows, len(match)))

    def lookup(
        self, table: Table, columns: tuple[str, ...], match: tuple[str, ...], rows: Sequence[Row]
    ) -> list[Row]:
        """See `Session.lookup`."""
        found: list[Row] = []
        for part in _parts(rows, len(match)):
            text = _lookup(table, columns, match, len(part))
            found += self.cursor.execute(text, tuple(chain.from_iterable(part))).fetchall()
        return found

    def fetch(self, query: Select, *values: Any) -> list[Row]:
        """See `Session.fetch`."""
        return self.cursor.execute(query.numbered, _by_number(values)).fetchall()

    def take(self, query: Select, *values: Any) -> list[Row]:
        """See `Session.take`: there is one transaction that writes at a time, so what is found is held."""
        return self.fetch(query, *values)

    def run(self, change: Select, *values: Any) -> int:
        """See `Session.run`."""
        before = self._connection.total_changes
        self.cursor.execute(change.numbered, _by_number(values))
        return self._connection.total_changes - before

    def execute(self, text: str, values: Mapping[str, Any]) -> list[Row]:
        """See `Session.execute`."""
        try:
            return self.cursor.execute(text, dict(values)).fetchall()
        except Exception as error:
            if _is_of_file(error):
                raise
            raise refused(text, error) from error.with_traceback(None)

    def _change(self, text: str, rows: Sequence[Row]) -> int:
        before = self._connection.total_changes
        self.cursor.execute(text, rows[0] if len(rows) == 1 else tuple(chain.from_iterable(rows)))
        return self._connection.total_changes - before


class SqliteConnection:
    """See `Connection`."""

    def __init__(self, connection: sqlite3.Connection, clocks: Clocks) -> None:
        self.connection = connection
        self._clocks = clocks
        self._session: SqliteSession | None = None

    def begin(self, *, writes: bool) -> SqliteSession:
        """See `Connection.begin`."""
        # A deferred read that turns into a write fails at once, whatever the busy timeout is.
        self._session = SqliteSession(self.connection, self._clocks)
        self._session.cursor.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        return self._session

    def commit(self) -> None:
        """See `Connection.commit`."""
        self._end()
        self.connection.execute("COMMIT")

    def roll_back(self) -> None:
        """See `Connection.roll_back`."""
        self._end()
        if self.connection.in_transaction:  # SQLite may have rolled back by itself
            self.connection.execute("ROLLBACK")

    def _end(self) -> None:
        if self._session is not None:
            self._session.cursor.close()
            self._session = None

    def savepoint(self) -> None:
        """See `Connection.savepoint`."""
        self.connection.execute("SAVEPOINT one")

    def release(self) -> None:
        """See `Connection.release`."""
        self.connection.execute("RELEASE one")

    def roll_back_to_savepoint(self) -> None:
        """See `Connection.roll_back_to_savepoint`."""
        self.connection.execute("ROLLBACK TO one")
        self.connection.execute("RELEASE one")

    def took_long(self, error: Exception) -> bool:
        """See `Connection.took_long`."""
        return False

    def hurry(self) -> None:
        """See `Connection.hurry`."""

    def out_of_time(self) -> Exception | None:
        """See `Connection.out_of_time`."""
        return None

    def is_to_blame(self, error: Exception) -> bool:
        """Whether the file, and not the operation, is at fault."""
        return _is_of_file(error)


def _is_of_file(error: Exception) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError | sqlite3.InternalError) and not _is_bad_sql(error)
    ) or (type(error) is sqlite3.DatabaseError)


def _is_bad_sql(error: sqlite3.Error) -> bool:
    """A statement of the user's own that does not compile, or names what is not there."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _parts(rows: Sequence[Row], width: int) -> Iterator[Sequence[Row]]:
    """The rows in portions that fit into one statement."""
    size = min(_CHUNK, _MOST_VALUES // width)
    if len(rows) <= size:
        if rows:
            yield rows
        return
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _values(width: int, rows: int) -> str:
    one = f"({','.join('?' * width)})"
    return ",".join([one] * rows)


@functools.lru_cache(maxsize=128)
def _insert(table: Table, columns: tuple[str, ...], rows: int, ignore: bool) -> str:
    conflict = " ON CONFLICT DO NOTHING" if ignore else ""
    return f"INSERT OR FAIL INTO {table.name} ({','.join(columns)}) VALUES {_values(len(columns), rows)}{conflict}"


@functools.lru_cache(maxsize=128)
def _upsert(table: Table, columns: tuple[str, ...], rows: int) -> str:
    rest = [name for name in columns if name not in table.key]
    action = "DO UPDATE SET " + ",".join(f"{name}=excluded.{name}" for name in rest) if rest else "DO NOTHING"
    return f"{_insert(table, columns, rows, False)} ON CONFLICT ({','.join(table.key)}) {action}"


def _by_number(values: Sequence[Any]) -> dict[str, Any]:
    """Values for `?1`, `?2` and so on: Python 3.12 takes these for names, and warns of names without a mapping."""
    return {str(place): value for place, value in enumerate(values, 1)}


@functools.lru_cache(maxsize=128)
def _update(table: Table, match: tuple[str, ...], change: tuple[str, ...], rows: int) -> str:
    if rows == 1:
        where = " AND ".join(f"{name}=?" for name in match)
        sets = ",".join(f"{name}=?" for name in change)
        return f"UPDATE {table.name} SET {sets} WHERE {where}"
    where = " AND ".join(f"{table.name}.{name}=v.column{place}" for place, name in enumerate(match, 1))
    sets = ",".join(f"{name}=v.column{place}" for place, name in enumerate(change, len(match) + 1))
    values = _values(len(match) + len(change), rows)
    return f"UPDATE OR FAIL {table.name} SET {sets} FROM (VALUES {values}) AS v WHERE {where}"


@functools.lru_cache(maxsize=128)
def _delete(table: Table, match: tuple[str, ...], rows: int) -> str:
    if rows == 1:
        return f"DELETE FROM {table.name} WHERE {' AND '.join(f'{name}=?' for name in match)}"
    # Named, because the key's index is not used for a list of unnamed values.
    names = ",".join(match)
    values = _values(len(match), rows)
    return f"WITH v({names}) AS (VALUES {values}) DELETE FROM {table.name} WHERE ({names}) IN v"


@functools.lru_cache(maxsize=128)
def _lookup(table: Table, columns: tuple[str, ...], match: tuple[str, ...], rows: int) -> str:
    on = " AND ".join(f"t.{name}=v.column{place}" for place, name in enumerate(match, 1))
    chosen = ",".join(f"t.{name}" for name in columns)
    # CROSS JOIN keeps the order of the loops: for each value, one search in the table.
    values = _values(len(match), rows)
    return f"SELECT {chosen} FROM (VALUES {values}) AS v CROSS JOIN {table.name} AS t ON {on}"
