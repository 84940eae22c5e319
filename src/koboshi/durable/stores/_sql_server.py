"""SQL Server by mssql-python, in a thread.

Its text is compared with spaces at the end left out, whatever the collation, so such keys are refused here:
else one actor would be given the state of another.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from ._session import Row
from ._sql_dialect import Dialect, Fault, Names, Statement, latest, parts, unique
from ._sql_url import SqlURL
from ._tables import Kind, Table

__all__ = ["SqlServerDialect"]

# It takes 2,100 values in one statement, and 1,000 rows in one INSERT ... VALUES.
_MOST_VALUES = 2_000
_MOST_ROWS = 1_000
_CLASHES = frozenset([1205, 3960, 41302, 41305, 41325])
_LOCKED = 1222
# What the driver calls it when it is not the statement: connections, timeouts, no resources.
_FROM = re.compile(r"FROM (kb_\w+)")
_SERVER_STATES = ("08", "HYT", "40003", "57", "S1T")


class SqlServerDialect(Dialect):
    """See `Dialect`."""

    # The length is in bytes of UTF-8. DATETIME and the like are not used, so there is no rounding.
    types: dict[Kind, str] = {  # noqa: RUF012
        "text": "varchar({length})",
        "long_text": "varchar(max) COLLATE Latin1_General_100_BIN2_UTF8",
        "bytes": "varbinary(max)",
        "integer": "bigint",
        "real": "float(53)",
    }
    clock = "SELECT DATEDIFF_BIG(MICROSECOND, '1970-01-01', SYSUTCDATETIME()) / 1e6"
    catalogue = (
        "SELECT TABLE_NAME, COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = SCHEMA_NAME()"
    )
    savepoint = "SAVE TRANSACTION kb_one"
    release = None
    roll_back_to_savepoint = "ROLLBACK TRANSACTION kb_one"
    # Here that would last for the session, and a snapshot is something that the database must be told to allow.
    steady = None
    writes = "SELECT writes FROM kb_host WITH (UPDLOCK, ROWLOCK) WHERE host_id = :host"

    def options(self, url: SqlURL) -> dict[str, Any]:
        """See `Dialect.options`."""
        return {"timeout": max(1, round(url.statement_timeout))}

    def setup(self, url: SqlURL, version: tuple[int | str, ...]) -> Sequence[str]:
        """See `Dialect.setup`."""
        return (
            "SET XACT_ABORT OFF",
            "SET NOCOUNT OFF",
            f"SET LOCK_TIMEOUT {round(url.lock_timeout * 1000)}",
        )

    def fault(self, error: Exception) -> Fault:
        """See `Dialect.fault`."""
        text = str(error)
        if "40001" in text or any(f"({code})" in text for code in _CLASHES):
            return Fault.CLASH
        if f"({_LOCKED})" in text:
            return Fault.LOCKED
        state = str(getattr(error, "sqlstate", "") or (error.args[0] if error.args else ""))
        return Fault.SERVER if state.startswith(_SERVER_STATES) else Fault.OPERATION

    # -- rows --------------------------------------------------------------------------------------

    def insert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.insert`."""
        _refuse_spaces(table, columns, rows)
        for part in _parts(rows, len(columns)):
            yield _insert(table, columns, len(part)), _flat(part)

    def insert_new(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.insert_new`."""
        _refuse_spaces(table, columns, rows)
        for part in _parts(unique(table, columns, rows), len(columns)):
            yield _insert_new(table, columns, len(part)), _flat(part)

    def update(self, table: Table, match: Names, change: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.update`."""
        _refuse_spaces(table, match, rows)
        for part in _parts(rows, len(match) + len(change)):
            yield _update(table, match, change, len(part), ""), _flat(part)

    def upsert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.upsert`."""
        # No MERGE, which has a history of wrong results: update what is there, locked, then add the rest.
        rest = tuple(name for name in columns if name not in table.key)
        order = [columns.index(name) for name in (*table.key, *rest)]
        whole = [tuple(row[place] for place in order) for row in latest(table, columns, rows)]
        _refuse_spaces(table, table.key, whole)
        for part in _parts(whole, len(columns)):
            if rest:
                yield _update(table, table.key, rest, len(part), " WITH (UPDLOCK, HOLDLOCK)"), _flat(part)
            yield _insert_new(table, (*table.key, *rest), len(part)), _flat(part)

    def delete(self, table: Table, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.delete`."""
        _refuse_spaces(table, match, rows)
        for part in _parts(rows, len(match)):
            yield _delete(table, match, len(part)), _flat(part)

    def lookup(self, table: Table, columns: Names, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """See `Dialect.lookup`."""
        _refuse_spaces(table, match, rows)
        for part in _parts(rows, len(match)):
            yield _lookup(table, columns, match, len(part)), _flat(part)

    def text(self, text: str) -> str:
        """See `Dialect.text`."""
        head, limit, most = text.rpartition(" LIMIT :")
        return f"{head} OFFSET 0 ROWS FETCH NEXT :{most} ROWS ONLY" if limit else text

    def taking(self, text: str) -> str:
        """See `Dialect.taking`."""
        return _FROM.sub(r"FROM \1 WITH (UPDLOCK, READPAST, ROWLOCK)", self.text(text), count=1)

    # -- tables ------------------------------------------------------------------------------------

    def create(self, table: Table) -> list[str]:
        """See `Dialect.create`."""
        columns: list[str] = []
        for each in table.columns:
            kind = f"varchar({4 * each.length}) COLLATE Latin1_General_100_BIN2_UTF8"
            kind = kind if each.kind == "text" else self.type_of(each)
            columns.append(f"{each.name} {kind} {'NULL' if each.nullable else 'NOT NULL'}")
        # Not clustered: such a key may have 1,700 bytes and not only 900.
        key = f"PRIMARY KEY NONCLUSTERED ({', '.join(table.key)})"
        return [
            f"CREATE TABLE {table.name} ({', '.join([*columns, key])})",
            *(
                f"CREATE INDEX {each.name} ON {table.name} ({', '.join(each.columns)})"
                for each in table.indexes
            ),
        ]

    create_schema = (
        "IF OBJECT_ID('kb_schema') IS NULL CREATE TABLE kb_schema (version INTEGER NOT NULL PRIMARY KEY)"
    )

    def lock(self, url: SqlURL) -> Statement | None:
        """See `Dialect.lock`."""
        return (
            "EXEC sp_getapplock @Resource = 'koboshi', @LockMode = 'Exclusive', @LockOwner = 'Transaction'",
            (),
        )


def _refuse_spaces(table: Table, columns: Names, rows: Sequence[Row]) -> None:
    places = [place for place, name in enumerate(columns) if table.column(name).kind == "text"]
    for row in rows:
        for place in places:
            if isinstance(row[place], str) and row[place].endswith(" "):
                raise ValueError(
                    f"{columns[place]} {row[place]!r} ends with a space, which SQL Server does not tell from "
                    "the same text without it; use another key"
                )


def _parts(rows: Sequence[Row], width: int) -> Iterator[Sequence[Row]]:
    return parts(rows, min(_MOST_ROWS, _MOST_VALUES // width))


def _flat(rows: Sequence[Row]) -> Row:
    return tuple(chain.from_iterable(rows))


def _derived(table: Table, columns: Names, rows: int) -> str:
    """The values as rows `v` with the columns v1, v2 and so on; a NULL without a type is no binary."""
    marks = ["CAST(? AS varbinary(max))" if table.column(n).kind == "bytes" else "?" for n in columns]
    names = ", ".join(f"v{place}" for place in range(1, len(columns) + 1))
    return f"(VALUES {', '.join([f'({chr(44).join(marks)})'] * rows)}) AS v ({names})"


def _matches(match: Names) -> str:
    return " AND ".join(f"t.{name} = v.v{place}" for place, name in enumerate(match, 1))


@functools.lru_cache(maxsize=64)
def _insert(table: Table, columns: Names, rows: int) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM {_derived(table, columns, rows)}"


@functools.lru_cache(maxsize=64)
def _insert_new(table: Table, columns: Names, rows: int) -> str:
    on = " AND ".join(f"t.{name} = v.v{columns.index(name) + 1}" for name in table.key)
    return (
        f"{_insert(table, columns, rows)} WHERE NOT EXISTS"
        f" (SELECT 1 FROM {table.name} AS t WITH (UPDLOCK, HOLDLOCK) WHERE {on})"
    )


@functools.lru_cache(maxsize=64)
def _update(table: Table, match: Names, change: Names, rows: int, hint: str) -> str:
    sets = ", ".join(f"{name} = v.v{place}" for place, name in enumerate(change, len(match) + 1))
    derived = _derived(table, (*match, *change), rows)
    return f"UPDATE t SET {sets} FROM {table.name} AS t{hint} INNER JOIN {derived} ON {_matches(match)}"


@functools.lru_cache(maxsize=64)
def _delete(table: Table, match: Names, rows: int) -> str:
    derived = _derived(table, match, rows)
    return f"DELETE t FROM {table.name} AS t INNER JOIN {derived} ON {_matches(match)}"


@functools.lru_cache(maxsize=64)
def _lookup(table: Table, columns: Names, match: Names, rows: int) -> str:
    chosen = ", ".join(f"t.{name}" for name in columns)
    derived = _derived(table, match, rows)
    return f"SELECT {chosen} FROM {derived} INNER JOIN {table.name} AS t ON {_matches(match)}"
