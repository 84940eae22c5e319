"""PostgreSQL, and CockroachDB where it is the same.

Many rows go to the server as one array for each column, so that the text of a statement does not depend on
how many there are, and stays prepared.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from ._session import Row
from ._sql_dialect import Dialect, Fault, Names, Statement, latest, parts
from ._sql_url import SqlURL
from ._tables import Kind, Table

__all__ = ["CockroachDialect", "PostgresDialect"]

# A statement's values travel in one message of a gigabyte at most; this is far below it.
_MOST_ROWS = 10_000
_ARRAYS: dict[Kind, str] = {
    "text": "text[]",
    "long_text": "text[]",
    "bytes": "bytea[]",
    "integer": "bigint[]",
    "real": "double precision[]",
}
# Classes of errors that no change of the statement would mend; all others are the statement's.
_SERVER = ("08", "25", "28", "3D", "40", "53", "57", "58", "F0", "XX")
_CLASHES = ("40001", "40P01")
# In a transaction that an earlier error has spoilt: somebody has swallowed that one.
_SPOILT = "25P02"
_LOCKED = "55P03"
_SLOW = "57014"
_ENDS_IDLE = 14
# The name of the advisory lock: "koboshi" as a number.
_LOCK = int.from_bytes(b"koboshi", "big")
# The keys of sessions' locks are numbers of 64 bits with a sign, which are shown in two halves.
_HELD = """
SELECT v.incarnation FROM unnest($1::text[], $2::bigint[]) AS v (incarnation, key)
WHERE clock_timestamp() - pg_postmaster_start_time() < make_interval(secs => $3) OR EXISTS (
  SELECT 1 FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = v.key)
"""


class PostgresDialect(Dialect):
    """PostgreSQL by asyncpg."""

    # Byte order for keys: comparing is quick, and does not depend on the operating system's locales.
    types: dict[Kind, str] = {  # noqa: RUF012
        "text": 'varchar({length}) COLLATE "C"',
        "long_text": "text",
        "bytes": "bytea",
        "integer": "bigint",
        "real": "double precision",
    }
    clock = "SELECT extract(epoch FROM clock_timestamp())::double precision"
    catalogue = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    )

    hurry = "SELECT set_config('lock_timeout', '100', true), set_config('statement_timeout', '1000', true)"

    def options(self, url: SqlURL) -> dict[str, Any]:
        """See `Dialect.options`."""
        settings = {
            "application_name": "koboshi",
            "statement_timeout": str(round(url.statement_timeout * 1000)),
            # A program that is stopped in the middle of a transaction must not keep its locks.
            "idle_in_transaction_session_timeout": "60000",
            **self.settings(str(round(url.lock_timeout * 1000))),
        }
        return {"timeout": url.connect_timeout, "server_settings": settings}

    def setup(self, url: SqlURL, version: tuple[int | str, ...]) -> Sequence[str]:
        """See `Dialect.setup`."""
        # A host that has nothing to do is there all the same. Before version 14 no server ends such a session.
        recent = isinstance(version[0], int) and version[0] >= _ENDS_IDLE
        return ("SET idle_session_timeout = 0",) if recent else ()

    def settings(self, milliseconds: str) -> dict[str, str]:
        """What only this server knows."""
        return {"lock_timeout": milliseconds, "jit": "off"}

    def fault(self, error: Exception) -> Fault:
        """See `Dialect.fault`."""
        state = str(getattr(error, "sqlstate", None) or "")
        if state in _CLASHES or type(error).__name__ == "InvalidCachedStatementError":
            return Fault.CLASH
        if not state:
            # The client refuses a value that does not fit its column before anything is sent.
            return Fault.OPERATION if isinstance(error.__cause__, ValueError) else Fault.SERVER
        if state in (_LOCKED, _SLOW):
            return Fault.LOCKED if state == _LOCKED else Fault.SLOW
        if state.startswith(_SERVER) and state != _SPOILT:
            return Fault.SERVER
        return Fault.OPERATION

    def hold(self, incarnation: str) -> Statement | None:
        """See `Dialect.hold`."""
        # Shared: the server may not have noticed yet that an earlier connection of ours has ended.
        return "SELECT pg_advisory_lock_shared($1)", (_key(incarnation),)

    def held(self, incarnations: Sequence[str], settled: float) -> Statement | None:
        """See `Dialect.held`."""
        return _HELD, (list(incarnations), [_key(each) for each in incarnations], settled)

    def insert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.insert`."""
        return _statements(_insert(table, columns), rows)

    def insert_new(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.insert_new`."""
        return _statements(f"{_insert(table, columns)} ON CONFLICT DO NOTHING", rows)

    def update(self, table: Table, match: Names, change: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.update`."""
        return _statements(_update(table, match, change), rows)

    def upsert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.upsert`."""
        return _statements(_upsert(table, columns), latest(table, columns, rows))

    def delete(self, table: Table, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.delete`."""
        return _statements(_delete(table, match), rows)

    def lookup(self, table: Table, columns: Names, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.lookup`."""
        return _statements(_lookup(table, columns, match), rows)

    def lock(self, url: SqlURL) -> Statement | None:
        """See `Dialect.lock`."""
        # Not waited for as a row is: whoever has it makes all the tables.
        longer = "(SELECT set_config('lock_timeout', '0', true) OFFSET 0) AS longer"
        return f"SELECT pg_advisory_xact_lock({_LOCK}) FROM {longer}", ()


class CockroachDialect(PostgresDialect):
    """CockroachDB: PostgreSQL's SQL and protocol, without advisory locks, and with more clashes."""

    # Its text is compared byte by byte unless a collation says otherwise.
    types: dict[Kind, str] = {**PostgresDialect.types, "text": "varchar({length})"}  # noqa: RUF012
    # Tables are made outside of a transaction, each unless it is there: two programs may do so at once.
    transactional_ddl = False

    def settings(self, milliseconds: str) -> dict[str, str]:
        """See `PostgresDialect.settings`."""
        return {"lock_timeout": milliseconds}

    def setup(self, url: SqlURL, version: tuple[int | str, ...]) -> Sequence[str]:
        """See `Dialect.setup`."""
        return ()

    def hold(self, incarnation: str) -> Statement | None:
        """See `Dialect.hold`."""
        return None

    def held(self, incarnations: Sequence[str], settled: float) -> Statement | None:
        """See `Dialect.held`."""
        return None

    def create(self, table: Table) -> list[str]:
        """See `Dialect.create`."""
        return [
            statement.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1).replace(
                "CREATE INDEX ", "CREATE INDEX IF NOT EXISTS ", 1
            )
            for statement in super().create(table)
        ]

    def note_version(self, number: int) -> str:
        """See `Dialect.note_version`."""
        return f"{super().note_version(number)} ON CONFLICT DO NOTHING"

    def lock(self, url: SqlURL) -> Statement | None:
        """See `Dialect.lock`."""
        return None


def _key(incarnation: str) -> int:
    return int(incarnation[:15], 16)


def _statements(text: str, rows: Sequence[Row]) -> Iterator[Statement]:
    for part in parts(rows, _MOST_ROWS):
        yield text, tuple(list(column) for column in zip(*part, strict=True))


def _rows(table: Table, columns: Names) -> str:
    """The values as rows `v` with the columns v1, v2 and so on."""
    arrays = ", ".join(
        f"${place}::{_ARRAYS[table.column(name).kind]}" for place, name in enumerate(columns, 1)
    )
    names = ", ".join(f"v{place}" for place in range(1, len(columns) + 1))
    return f"unnest({arrays}) AS v ({names})"


def _matches(match: Names) -> str:
    return " AND ".join(f"t.{name} = v.v{place}" for place, name in enumerate(match, 1))


@functools.lru_cache(maxsize=256)
def _insert(table: Table, columns: Names) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM {_rows(table, columns)}"


@functools.lru_cache(maxsize=256)
def _upsert(table: Table, columns: Names) -> str:
    rest = [name for name in columns if name not in table.key]
    sets = ", ".join(f"{name} = excluded.{name}" for name in rest)
    action = f"DO UPDATE SET {sets}" if rest else "DO NOTHING"
    return f"{_insert(table, columns)} ON CONFLICT ({', '.join(table.key)}) {action}"


@functools.lru_cache(maxsize=256)
def _update(table: Table, match: Names, change: Names) -> str:
    sets = ", ".join(f"{name} = v.v{place}" for place, name in enumerate(change, len(match) + 1))
    rows = _rows(table, (*match, *change))
    return f"UPDATE {table.name} AS t SET {sets} FROM {rows} WHERE {_matches(match)}"


@functools.lru_cache(maxsize=256)
def _delete(table: Table, match: Names) -> str:
    return f"DELETE FROM {table.name} AS t USING {_rows(table, match)} WHERE {_matches(match)}"


@functools.lru_cache(maxsize=256)
def _lookup(table: Table, columns: Names, match: Names) -> str:
    chosen = ", ".join(f"t.{name}" for name in columns)
    return f"SELECT {chosen} FROM {_rows(table, match)} JOIN {table.name} AS t ON {_matches(match)}"
