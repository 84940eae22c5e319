"""The tables, and how to tell a ledger from anything else before a byte of it is changed."""

from __future__ import annotations

import os
import sqlite3

from ._errors import LedgerUnusable, NotALedger, WrongLedgerVersion

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "check_place", "create_file", "prepare", "verify"]

APPLICATION_ID = 0x6B6F_626F  # "kobo": SQLite keeps it in the file's header
SCHEMA_VERSION = 1
_OLDEST_SQLITE = (3, 35, 0)  # RETURNING

# job.due_at: while pending, not before this; while claimed, the end of the lease; NULL once settled.
#     So "may be claimed" is one comparison, and the index holds live jobs only.
# job.token: of the last claim. It stays on a done job, so that a repeated acknowledgement is recognised.
# job.run: the run of the program that claimed it (see `run`).
# result: append-only in commit order; a reader that remembers its last position sees each row once.
# tally: how many jobs stand in each state, kept by the same transactions that move them, because
#     counting a million rows for a progress line would hold up the writer.
# run.groups: counts this run's commits inside the commits, so that a failed COMMIT can be looked up.
_TABLES = (
    """
    CREATE TABLE job (
        number   INTEGER PRIMARY KEY,
        id       TEXT NOT NULL UNIQUE,
        state    TEXT NOT NULL,
        due_at   REAL,
        attempts INTEGER NOT NULL DEFAULT 0,
        run      INTEGER,
        owner    TEXT,
        token    BLOB,
        position INTEGER,
        report   TEXT,
        payload  BLOB NOT NULL
    )
    """,
    "CREATE INDEX job_due ON job (state, due_at, number) WHERE due_at IS NOT NULL",
    "CREATE INDEX job_dead ON job (number) WHERE state = 'dead'",
    "CREATE TABLE result (position INTEGER PRIMARY KEY, number INTEGER NOT NULL, value BLOB NOT NULL)",
    "CREATE TABLE tally (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO tally VALUES ('pending', 0), ('claimed', 0), ('done', 0), ('dead', 0)",
    "CREATE TABLE run (run INTEGER PRIMARY KEY, groups INTEGER NOT NULL)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def check_place(path: str) -> None:
    """Makes sure that a ledger can be at `path`: its folder exists, and what is there is a file.

    Raises:
        LedgerUnusable: it cannot.
    """
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise LedgerUnusable(path, f"there is no folder {folder!r}", "create it first, or correct the path")
    if os.path.islink(path) and not os.path.exists(path):
        raise LedgerUnusable(path, "it is a link that leads nowhere", "remove the link or correct the path")
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a directory" if os.path.isdir(path) else "not a regular file"
        raise NotALedger(path, f"it is {kind}", "give the path of a file")


def create_file(path: str) -> None:
    """Creates `path` empty with mode 0600 if it is missing.

    Raises:
        LedgerUnusable: it cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        advice = "check the permissions of the folder and the space left"
        raise LedgerUnusable(path, f"it cannot be created ({error.strerror})", advice) from error
    os.close(descriptor)
    # The file's entry must be as durable as what will be written into it.
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def verify(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the tables are there already; only reads.

    Raises:
        NotALedger: not a database, or another program's.
        WrongLedgerVersion: an older or newer layout.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        found = f"this Python has SQLite {sqlite3.sqlite_version}"
        raise LedgerUnusable(path, found, "3.35.0 or newer is needed: use a newer Python build")
    try:
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        tables = [
            str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            advice = "give another path, or move the file away"
            raise NotALedger(path, "it is not an SQLite database", advice) from None
        raise
    if application == 0 and version == 0 and not tables:
        if 0 < os.path.getsize(path) < 512:  # SQLite takes what is too short for a header for empty
            raise NotALedger(path, "it is not an SQLite database", "give another path, or move the file away")
        return False  # new, or its first run was killed before the tables were committed
    if application != APPLICATION_ID:
        some = sorted(tables)[:5]
        found = f"it is a database of another program (application_id {application:#x}, tables {some})"
        raise NotALedger(path, found, f"a ledger has {APPLICATION_ID:#x}; give another path")
    if version != SCHEMA_VERSION:
        age = "a newer" if version > SCHEMA_VERSION else "an older"
        advice = "upgrade koboshi" if version > SCHEMA_VERSION else "finish it with the version that wrote it"
        found = (
            f"it has layout version {version}, written by {age} koboshi, and this one reads {SCHEMA_VERSION}"
        )
        raise WrongLedgerVersion(path, found, f"{advice}, or start with a new file")
    return True


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Sets the durability this promises, and creates the tables if the file is new."""
    # A reset of a large WAL gives its space back; 4,000 pages keep checkpoints off most commits.
    journal = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
    if journal != "wal":
        found = f"SQLite cannot keep a write-ahead log there (journal mode {journal!r})"
        raise LedgerUnusable(path, found, "put the file on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not verify(connection, path):  # again: another process may have been first
            for statement in _TABLES:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
