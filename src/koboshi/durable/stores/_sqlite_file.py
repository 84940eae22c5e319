"""The file of a SQLite store: making it, refusing what is something else, and its migrations."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from .._failures import ForeignStore, StoreUnusable, WrongSchemaVersion
from ._tables import MIGRATIONS, SCHEMA_VERSION, TABLES, Table

__all__ = ["check_place", "create_file", "migrate", "prepare", "schema_version"]

_OLDEST = (3, 35, 0)  # the first one with all that is used: upserts, UPDATE FROM, row values
_KINDS = {"text": "TEXT", "long_text": "TEXT", "bytes": "BLOB", "integer": "INTEGER", "real": "REAL"}


def check_place(path: str) -> None:
    """Make sure that a store can be at `path`: its folder exists, and what is there is a file.

    Raises:
        StoreUnusable: it cannot.
    """
    folder = os.path.dirname(path)
    if sqlite3.sqlite_version_info < _OLDEST:
        found = f"this Python has SQLite {sqlite3.sqlite_version}"
        raise StoreUnusable(path, found, "3.35.0 or newer is needed: use a newer Python build")
    if not os.path.isdir(folder):
        raise StoreUnusable(path, f"there is no folder {folder!r}", "create it first, or correct the path")
    if os.path.islink(path) and not os.path.exists(path):
        raise StoreUnusable(path, "it is a link that leads nowhere", "remove the link or correct the path")
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a directory" if os.path.isdir(path) else "not a regular file"
        raise ForeignStore(path, f"it is {kind}", "give the path of a file")


def create_file(path: str) -> None:
    """Create `path` empty with mode 0600 if it is missing.

    Raises:
        StoreUnusable: it cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        advice = "check the permissions of the folder and the space left"
        raise StoreUnusable(path, f"it cannot be created ({error.strerror})", advice) from error
    os.close(descriptor)
    # The file's entry must be as durable as what will be written into it.
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def prepare(connection: sqlite3.Connection, path: str, *, migrating: bool = False) -> None:
    """Set the durability that is promised, and make the tables if there are none.

    Args:
        migrating: bring older tables up to date instead of refusing them.

    Raises:
        StoreUnusable: it is something else, or has tables of another version; it was not changed.
    """
    version = schema_version(connection, path)  # before anything that could change the file
    _check_version(path, version, migrating=migrating)
    if path != ":memory:":
        # A reset of a large WAL gives its space back; 4,000 pages keep checkpoints off most commits.
        journal = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        if journal != "wal":
            found = f"SQLite cannot keep a write-ahead log there (journal mode {journal!r})"
            raise StoreUnusable(path, found, "put the file on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA trusted_schema = OFF")
    # 16 MiB: a group that changes more pages than the cache holds (500 by default) writes them to the log twice.
    connection.execute("PRAGMA cache_size = -16384")
    # What a statement keeps for its own undoing is not written to a file.
    connection.execute("PRAGMA temp_store = MEMORY")
    if version < SCHEMA_VERSION:
        migrate(connection, path, migrating=migrating)


def schema_version(connection: sqlite3.Connection, path: str) -> int:
    """The version of the tables, 0 where there are none; only reads.

    Raises:
        ForeignStore: not a database, or one with tables of our names that are not ours.
    """
    try:
        names = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            advice = "give another path, or move the file away"
            raise ForeignStore(path, "it is not an SQLite database", advice) from None
        raise
    if "kb_schema" not in names:
        # SQLite takes what is too short for a header for empty.
        if not names and path != ":memory:" and 0 < os.path.getsize(path) < 512:
            raise ForeignStore(path, "it is not an SQLite database", "give another path, or move it away")
        ours = sorted(names & TABLES.keys())
        if ours:
            found = f"it has tables named {', '.join(ours)} that koboshi has not made"
            raise ForeignStore(path, found, "give another path")
        return 0
    row: Any = connection.execute("SELECT max(version) FROM kb_schema").fetchone()
    return int(row[0] or 0)


def _check_version(path: str, version: int, *, migrating: bool) -> None:
    if version > SCHEMA_VERSION:
        found = f"its tables are of version {version}, and this koboshi knows {SCHEMA_VERSION}"
        raise WrongSchemaVersion(path, found, "use the newer koboshi that wrote it")
    if 0 < version < SCHEMA_VERSION and not migrating:
        found = f"its tables are of version {version}, and this koboshi needs {SCHEMA_VERSION}"
        raise WrongSchemaVersion(path, found, f"bring them up to date: koboshi db migrate sqlite:///{path}")


def migrate(connection: sqlite3.Connection, path: str, *, migrating: bool) -> None:
    """Run the migrations that are missing, all in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = schema_version(connection, path)  # again: another process may have been first
        _check_version(path, version, migrating=migrating or version == 0)
        if version == 0:
            connection.execute("CREATE TABLE IF NOT EXISTS kb_schema (version INTEGER PRIMARY KEY)")
        for number, tables in enumerate(MIGRATIONS[version:], version + 1):
            for table in tables:
                for statement in _create(table):
                    connection.execute(statement)
            connection.execute("INSERT INTO kb_schema VALUES (?)", (number,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _create(table: Table) -> list[str]:
    columns = [
        f"{each.name} {_KINDS[each.kind]}{'' if each.nullable else ' NOT NULL'}" for each in table.columns
    ]
    key = f"PRIMARY KEY ({', '.join(table.key)})"
    # One tree for the row and its key, as nothing is ever found by row number.
    return [
        f"CREATE TABLE {table.name} ({', '.join([*columns, key])}) WITHOUT ROWID",
        *(f"CREATE INDEX {each.name} ON {table.name} ({', '.join(each.columns)})" for each in table.indexes),
    ]
