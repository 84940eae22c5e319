"""The file of a disk table: SQLite, used by one thread, read once when it is opened and then only written.

One opener at a time. Between OS processes SQLite's own lock sees to that, held as long as the connection
lives and gone with a process that is killed. Inside one OS process this module does, because a POSIX lock
does not exclude its own process, and because closing any other descriptor of the file would drop it: the
file's head is read here only while no connection has it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import struct
import threading
from typing import Any

from ._errors import (
    NotATableFile,
    TableFileDamaged,
    TableFileError,
    TableFileInUse,
    TableMismatch,
    TableNotSaved,
)
from ._rows_codec import decode_rows

APPLICATION = 0x6B627461
FORMAT = 1
_MAGIC = b"SQLite format 3\0"
_HEAD = 100

_SCHEMA = (
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
    "CREATE TABLE about (kind TEXT NOT NULL, key INTEGER NOT NULL)",
    "CREATE TABLE entries (key BLOB PRIMARY KEY, rows BLOB NOT NULL) WITHOUT ROWID",
)

# The files that this OS process has open, by device and inode, and whoever waits for one to be closed.
_open_files: dict[tuple[int, int], TableFile] = {}
_closed = threading.Condition()


class TableFile:
    """One file, from `open` to `finish`; both are called on the same thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        # Set when its table is gone: whoever opens the file next waits for the rest to be written.
        self.closing = False
        self._identity: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        # What is not committed: rows of keys, None for a key that is gone; and whether all else is.
        self._pending: dict[bytes, bytes | None] = {}
        self._cleared = False

    def open(self, kind: str, key: int, wait: float) -> list[tuple[Any, ...]]:
        """Open or make the file; all rows in it.

        Raises:
            TableFileError: as one of its subclasses, or because of the folder's permissions and the like.
        """
        try:
            with self._sqlite_errors():
                self._claim(wait)
                self._check_head()
                return self._read(self._connect(wait), kind, key)
        except BaseException:
            self._close()
            raise

    def write(self, changes: dict[bytes, bytes | None], *, cleared: bool) -> None:
        """Have changes on the disk, with those that could not be written before.

        Raises:
            TableNotSaved: they are not; the next call tries again.
        """
        if cleared:
            self._pending, self._cleared = {}, True
        self._pending.update(changes)
        if not (self._pending or self._cleared):
            return
        assert self._connection is not None
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            try:
                if self._cleared:
                    run("DELETE FROM entries")
                for key, rows in self._pending.items():
                    if rows is None:
                        run("DELETE FROM entries WHERE key = ?", (key,))
                    else:
                        run("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, rows))
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise TableNotSaved(self.path, f"writing failed: {error}") from error
        self._pending, self._cleared = {}, False

    def finish(self, changes: dict[bytes, bytes | None], *, cleared: bool) -> None:
        """Write what is left and close the file. Raises `TableNotSaved`; it is closed then, too."""
        try:
            if self._connection is not None:
                self.write(changes, cleared=cleared)
        finally:
            self._close()

    # -- opening -----------------------------------------------------------------------------------

    def _claim(self, wait: float) -> None:
        """Make the file if there is none, and keep everybody else in this process off it."""
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        found = os.stat(self.path)
        if not stat.S_ISREG(found.st_mode):
            raise NotATableFile(self.path, "it is no regular file")
        identity = found.st_dev, found.st_ino
        with _closed:
            if not _closed.wait_for(lambda: not _is_closing(identity), wait) or identity in _open_files:
                raise TableFileInUse(self.path, "another table of this process has it open")
            _open_files[identity] = self
        self._identity = identity

    def _check_head(self) -> None:
        """Refuse what is surely something else, before SQLite has touched it."""
        with open(self.path, "rb") as file:
            head = file.read(_HEAD)
        if not head:
            return
        # Its maker was killed in its first transaction: SQLite empties the file, and `_read` looks then.
        half_made = os.path.exists(self.path + "-journal")
        if half_made and not head.strip(b"\0"):
            return
        if len(head) < _HEAD or head[:16] != _MAGIC:
            raise NotATableFile(self.path, f"it begins with {head[:16]!r}, so it is no table file")
        (application,) = struct.unpack_from(">I", head, 68)
        # The first transaction undone for want of space leaves a head that names nobody, and one page with no table.
        (page,) = struct.unpack_from(">H", head, 16)
        half_made = half_made or os.path.getsize(self.path) == (65_536 if page == 1 else page)
        if application != APPLICATION and not (application == 0 and half_made):
            raise NotATableFile(self.path, "it is the database of another program")

    def _connect(self, wait: float) -> sqlite3.Connection:
        connection = self._connection = sqlite3.connect(self.path, timeout=wait, isolation_level=None)
        for pragma in ("locking_mode = EXCLUSIVE", "synchronous = FULL", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")  # the lock stays
        return connection

    def _read(self, connection: sqlite3.Connection, kind: str, key: int) -> list[tuple[Any, ...]]:
        run = connection.execute
        if run("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            # Before WAL: so the file's own head says whose it is from the first commit on.
            run("BEGIN EXCLUSIVE")
            for statement in _SCHEMA:
                run(statement)
            run("INSERT INTO about VALUES (?, ?)", (kind, key))
            run("COMMIT")
        (application,), (version,) = (
            run(f"PRAGMA {of}").fetchone() for of in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise NotATableFile(self.path, "it is the database of another program")
        if version != FORMAT:
            raise NotATableFile(self.path, f"its format is {version}, and this version reads {FORMAT}")
        run("PRAGMA journal_mode = WAL").fetchall()
        (verdict,) = run("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise TableFileDamaged(self.path, f"it is damaged: {verdict}")
        about = run("SELECT kind, key FROM about").fetchall()
        if about != [(kind, key)]:
            made = ", ".join(f"kind={of!r} and key={at!r}" for of, at in about)
            raise TableMismatch(
                self.path, f"it was made with {made}, and was opened with kind={kind!r} and key={key!r}"
            )
        # A cursor in the middle of its rows would keep the file locked as long as anybody has the error.
        try:
            with contextlib.closing(run("SELECT rows FROM entries")) as entries:
                return [row for (data,) in entries for row in decode_rows(data)]
        except (ValueError, TypeError) as error:
            raise TableFileDamaged(self.path, f"a row in it cannot be read: {error}") from error

    @contextlib.contextmanager
    def _sqlite_errors(self) -> Any:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise TableFileInUse(self.path, "another process has it open") from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise TableFileDamaged(self.path, f"it is damaged: {error}") from error
            raise TableFileError(self.path, str(error)) from error
        except OSError as error:
            raise TableFileError(self.path, error.strerror or str(error)) from error

    def _close(self) -> None:
        try:
            if self._connection is not None:
                self._connection.close()
        finally:
            self._connection = None
            if self._identity is not None:
                with _closed:
                    del _open_files[self._identity]
                    _closed.notify_all()
                self._identity = None


def _is_closing(identity: tuple[int, int]) -> bool:
    found = _open_files.get(identity)
    return found is not None and found.closing
