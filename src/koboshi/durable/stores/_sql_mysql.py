"""MySQL and MariaDB by asyncmy, which writes values into the text of a statement.

Rows are a derived table, read first by STRAIGHT_JOIN: for each of them one search in the table. A dialect
of this kind learns from the server which of the two it is, and how long a statement may be.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from ..._kernel._errors import UsageError
from .._failures import StoreUnusable
from ._session import Row
from ._sql_dialect import Dialect, Fault, Names, Statement, latest, unique
from ._sql_url import SqlURL
from ._tables import Column, Kind, Table

__all__ = ["MySqlDialect"]

_MOST_ROWS = 2_000
_MOST_BYTES = 4_000_000
# What a statement has beside its values.
_TEXT = 32_768
# Each of these takes two bytes in a statement.
_ESCAPED = b"\0\n\r\x1a\"'\\"
# What a server may have been told to do with everybody's sessions, and is not to do with ours: pass over rows,
# refuse statements, begin anew at COMMIT, end a session that has nothing to do.
_PLAIN = (
    "SET SESSION sql_select_limit = 18446744073709551615, sql_safe_updates = 0, sql_big_selects = 1,"
    " completion_type = 'NO_CHAIN', wait_timeout = 86400"
)
_OLDEST_MARIADB, _OLDEST_MYSQL = (10, 6), (8, 0, 19)
# Deadlock; MySQL Cluster's and Galera's refusals of a COMMIT.
_CLASHES = (1213, 1180, 1047)
_LOCKED = 1205
# MySQL's and MariaDB's limits of a statement; somebody's KILL QUERY.
_SLOW = (3024, 1969, 1317)
# Nobody listens, connections that broke, shutting down, too many connections, no space, read only.
_SERVER = frozenset(
    (
        *(
            2002,
            2003,
            2006,
            2013,
            2014,
            2055,
            1040,
            1053,
            1077,
            1079,
            1203,
            1927,
            1152,
            1158,
            1159,
            1160,
            1161,
        ),
        *(
            1021,
            1114,
            1028,
            1030,
            1037,
            1041,
            1290,
            1792,
            1836,
            1044,
            1045,
            1049,
            1129,
            1130,
        ),
        *(1698, 4031),
    )
)
_LOCK_WAIT = 30


class MySqlDialect(Dialect):
    """See `Dialect`."""

    types: dict[Kind, str] = {  # noqa: RUF012
        "text": "VARCHAR({length})",
        "long_text": "LONGTEXT",
        "bytes": "LONGBLOB",
        "integer": "BIGINT",
        "real": "DOUBLE",
    }
    # Not UNIX_TIMESTAMP, which is ambiguous in the hour that comes twice in autumn.
    clock = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) / 1e6"
    catalogue = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
    )
    races_on_insert = True
    transactional_ddl = False
    # The tables are of this engine whatever the server's default is.
    _OPTIONS = "ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4"

    def __init__(self, *, mariadb: bool) -> None:
        self._mariadb = mariadb
        # Byte order, and a space at the end counts.
        self._collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
        self._row = "" if mariadb else "ROW"
        self.hurry = self._limits(1.0, 1.0)
        self._longest = 16_777_216

    def options(self, url: SqlURL) -> dict[str, Any]:
        """See `Dialect.options`."""
        # FOUND_ROWS, so that rows count which match and not those which change, SQLAlchemy always asks for.
        return {"connect_timeout": url.connect_timeout, "charset": "utf8mb4", "binary_prefix": True}

    def setup(self, url: SqlURL, version: tuple[int | str, ...]) -> Sequence[str]:
        """See `Dialect.setup`."""
        oldest = _OLDEST_MARIADB if self._mariadb else _OLDEST_MYSQL
        numbers = tuple(part for part in version if isinstance(part, int))
        if numbers[: len(oldest)] < oldest:
            found = f"the server is of version {'.'.join(map(str, numbers))}"
            raise StoreUnusable(url.shown, found, f"{'.'.join(map(str, oldest))} or newer is needed")
        return (
            f"SET NAMES utf8mb4 COLLATE {self._collation}",
            # What does not fit is an error and is not cut to size.
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
            _PLAIN,
            self._limits(url.lock_timeout, url.statement_timeout),
        )

    question = "SELECT @@max_allowed_packet"

    def learn(self, answer: Any) -> None:
        """See `Dialect.learn`."""
        self._longest = int(answer)

    def check(self, values: Iterable[Any]) -> None:
        """See `Dialect.check`."""
        given = list(values)
        room = self._longest - _TEXT
        if sum(map(_length, given)) * 2 > room and sum(map(_escaped, given)) > room:
            raise UsageError(
                f"values of {sum(map(_escaped, given)):,} bytes are too large for one statement of this server, "
                f"whose max_allowed_packet is {self._longest:,}; raise that, or keep large data elsewhere"
            )

    def _parts(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """The rows in portions that a statement may hold, escaped."""
        most = min(_MOST_BYTES, (self._longest - _TEXT) // 2)
        start, size = 0, 0
        for index, row in enumerate(rows):
            more = sum(map(_length, row))
            if more > most:
                self.check(row)
            if index > start and (size + more > most or index - start >= _MOST_ROWS):
                yield rows[start:index]
                start, size = index, 0
            size += more
        if rows:
            yield rows[start:]

    def _limits(self, locks: float, statement: float) -> str:
        wait = max(1, round(locks))
        slow = (
            f"max_statement_time = {statement}"
            if self._mariadb
            else f"max_execution_time = {round(statement * 1000)}"
        )
        return f"SET SESSION innodb_lock_wait_timeout = {wait}, lock_wait_timeout = {wait}, {slow}"

    def no_hurry(self, url: SqlURL) -> str:
        """See `Dialect.no_hurry`."""
        return self._limits(url.lock_timeout, url.statement_timeout)

    def fault(self, error: Exception) -> Fault:
        """See `Dialect.fault`."""
        code = error.args[0] if error.args else None
        if code in _CLASHES:
            return Fault.CLASH
        if code == _LOCKED or code in _SLOW:
            return Fault.LOCKED if code == _LOCKED else Fault.SLOW
        if not isinstance(code, int) or code in _SERVER:
            return Fault.SERVER
        return Fault.OPERATION

    # -- rows --------------------------------------------------------------------------------------

    def hold(self, incarnation: str) -> Statement | None:
        """See `Dialect.hold`."""
        # Not waited for: while an earlier connection of ours has it, we are there as well.
        return "SELECT GET_LOCK(%s, 0)", (_lock_of(incarnation),)

    def held(self, incarnations: Sequence[str], settled: float) -> Statement | None:
        """See `Dialect.held`."""
        schema = "information_schema" if self._mariadb else "performance_schema"
        one = (
            f"SELECT %s FROM {schema}.global_status WHERE variable_name = 'Uptime'"
            " AND (variable_value + 0 < %s OR IS_USED_LOCK(%s) IS NOT NULL)"
        )
        values = [value for each in incarnations for value in (each, settled, _lock_of(each))]
        return " UNION ALL ".join([one] * len(incarnations)), tuple(values)

    def insert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.insert`."""
        for part in self._parts(rows):
            yield _insert(table, columns, len(part)), _flat(part)

    def insert_new(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.insert_new`."""
        # Not INSERT IGNORE, which ignores everything else as well: text that is too long, a missing value.
        for part in self._parts(unique(table, columns, rows)):
            yield _insert_new(table, columns, len(part), self._row), _flat(part)

    def update(self, table: Table, match: Names, change: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.update`."""
        for part in self._parts(rows):
            yield _update(table, match, change, len(part), self._row), _flat(part)

    def upsert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.upsert`."""
        for part in self._parts(latest(table, columns, rows)):
            yield _upsert(table, columns, len(part)), _flat(part)

    def delete(self, table: Table, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.delete`."""
        for part in self._parts(rows):
            yield _delete(table, match, len(part), self._row), _flat(part)

    def lookup(self, table: Table, columns: Names, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.lookup`."""
        for part in self._parts(rows):
            yield _lookup(table, columns, match, len(part), self._row), _flat(part)

    # -- tables ------------------------------------------------------------------------------------

    def type_of(self, column: Column) -> str:
        """See `Dialect.type_of`."""
        collate = f" COLLATE {self._collation}" if column.kind in ("text", "long_text") else ""
        return super().type_of(column) + collate

    def create(self, table: Table) -> list[str]:
        """See `Dialect.create`."""
        # One statement with its indexes: it cannot be undone, so it must not be done by half.
        parts = [
            *(
                f"{each.name} {self.type_of(each)}{'' if each.nullable else ' NOT NULL'}"
                for each in table.columns
            ),
            f"PRIMARY KEY ({', '.join(table.key)})",
            *(f"INDEX {each.name} ({', '.join(each.columns)})" for each in table.indexes),
        ]
        return [f"CREATE TABLE IF NOT EXISTS {table.name} ({', '.join(parts)}) {self._OPTIONS}"]

    create_schema = f"CREATE TABLE IF NOT EXISTS kb_schema (version INTEGER NOT NULL PRIMARY KEY) {_OPTIONS}"

    def lock(self, url: SqlURL) -> Statement | None:
        """See `Dialect.lock`."""
        return f"SELECT GET_LOCK(LEFT(CONCAT('koboshi.', DATABASE()), 64), {_LOCK_WAIT})", ()

    def unlock(self) -> Statement | None:
        """See `Dialect.unlock`."""
        return "SELECT RELEASE_LOCK(LEFT(CONCAT('koboshi.', DATABASE()), 64))", ()


def _lock_of(incarnation: str) -> str:
    return f"koboshi.{incarnation}"


def _length(value: Any) -> int:
    """Bytes of a value at the most, before it is escaped."""
    return len(value) if isinstance(value, bytes) else 4 * len(value) if isinstance(value, str) else 12


def _escaped(value: Any) -> int:
    """Bytes of a value as it is written into a statement."""
    if isinstance(value, str):
        value = value.encode(errors="replace")
    if not isinstance(value, bytes):
        return _length(value)
    return len(value) + sum(map(value.count, _ESCAPED)) + _length(None)


def _flat(rows: Sequence[Row]) -> Row:
    return tuple(chain.from_iterable(rows))


def _derived(width: int, rows: int, row: str) -> str:
    """The values as rows `v` with the columns v1, v2 and so on."""
    names = ", ".join(f"v{place}" for place in range(1, width + 1))
    one = f"{row}({', '.join(['%s'] * width)})"
    # The inner name is for MariaDB, which names columns only there.
    return f"(WITH w ({names}) AS (VALUES {', '.join([one] * rows)}) SELECT {names} FROM w) AS v"


def _searched(table: Table, match: Names) -> str:
    """The table as it is joined: by its key where that is given.

    A small one is read from end to end otherwise, which waits for every row of it that somebody has locked.
    """
    return f"{table.name} AS t{' FORCE INDEX (PRIMARY)' if set(table.key) <= set(match) else ''}"


def _matches(match: Names) -> str:
    return " AND ".join(f"t.{name} = v.v{place}" for place, name in enumerate(match, 1))


@functools.lru_cache(maxsize=64)
def _insert(table: Table, columns: Names, rows: int) -> str:
    one = f"({', '.join(['%s'] * len(columns))})"
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {', '.join([one] * rows)}"


@functools.lru_cache(maxsize=64)
def _insert_new(table: Table, columns: Names, rows: int, row: str) -> str:
    on = " AND ".join(f"t.{name} = v.v{columns.index(name) + 1}" for name in table.key)
    chosen = ", ".join(f"v.v{place}" for place in range(1, len(columns) + 1))
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {chosen}"
        f" FROM {_derived(len(columns), rows, row)} LEFT JOIN {table.name} AS t ON {on}"
        f" WHERE t.{table.key[0]} IS NULL"
    )


@functools.lru_cache(maxsize=64)
def _upsert(table: Table, columns: Names, rows: int) -> str:
    rest = [name for name in columns if name not in table.key] or [table.key[0]]
    sets = ", ".join(f"{name} = VALUES({name})" for name in rest)
    return f"{_insert(table, columns, rows)} ON DUPLICATE KEY UPDATE {sets}"


@functools.lru_cache(maxsize=64)
def _update(table: Table, match: Names, change: Names, rows: int, row: str) -> str:
    sets = ", ".join(f"t.{name} = v.v{place}" for place, name in enumerate(change, len(match) + 1))
    derived = _derived(len(match) + len(change), rows, row)
    return f"UPDATE {derived} STRAIGHT_JOIN {_searched(table, match)} ON {_matches(match)} SET {sets}"


@functools.lru_cache(maxsize=64)
def _delete(table: Table, match: Names, rows: int, row: str) -> str:
    derived = _derived(len(match), rows, row)
    return f"DELETE t FROM {derived} STRAIGHT_JOIN {_searched(table, match)} ON {_matches(match)}"


@functools.lru_cache(maxsize=64)
def _lookup(table: Table, columns: Names, match: Names, rows: int, row: str) -> str:
    chosen = ", ".join(f"t.{name}" for name in columns)
    derived = _derived(len(match), rows, row)
    return f"SELECT {chosen} FROM {derived} STRAIGHT_JOIN {table.name} AS t ON {_matches(match)}"
