"""Group commit on one SQLite connection: many operations, one transaction, one fsync.

Synchronous and without threads; the writer thread owns it. The rules:

- Nobody learns of a result before the COMMIT that holds it has returned.
- A group is first run without savepoints. If an operation turns out bad (it cannot be bound, it breaks a
  constraint), the group is rolled back and run once more with a savepoint around each operation, so
  that only the bad one fails. Hence operations must be repeatable.
- Up to COMMIT every failure is clean: nothing was written. A COMMIT that fails is looked up in the
  file again after reopening it; only if that does not show that it never happened, it is unknown.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ._errors import LedgerDamaged, LedgerError, LedgerUnusable, NotALedger, OutcomeUnknown, StoreUnavailable
from ._schema import create_file, prepare, verify
from ._transitions import Transaction

__all__ = ["Connect", "Outcome", "Store", "Work"]

Connect = Callable[[str], sqlite3.Connection]

_log = logging.getLogger("koboshi.durable")


class Work(NamedTuple):
    """One operation of a group: what to do in the transaction, and whether that writes."""

    perform: Callable[[Transaction], object]
    writes: bool


class Outcome(NamedTuple):
    """What one operation gave: a value, or the error to raise at its caller."""

    value: object
    error: Exception | None


class _BadOperation(Exception):
    """An operation failed by its own fault; the cause says how."""


class Store:
    """The file, open; see the module for the rules."""

    def __init__(self, path: str, connect: Connect, busy_timeout: float) -> None:
        self._path = path
        self._connect = connect
        self._busy_timeout = busy_timeout
        # None after a failure that made the connection doubtful, until it is opened again.
        self._connection: sqlite3.Connection | None = None
        self._run = 0
        # How many writing groups of this run are committed: run.groups in the file, as last seen.
        self._groups = 0
        self.isolated_groups = 0
        self.failed_groups = 0
        self.reopened = 0
        self.last_commit = 0.0

    @property
    def groups(self) -> int:
        """Transactions with writes that were committed."""
        return self._groups

    def open(self) -> None:
        """Opens the file, creating it if it is missing, and starts a new run.

        Raises:
            LedgerUnusable: what is there cannot be used; it was not changed.
            StoreUnavailable: locked by someone, no space, an I/O error.
        """
        create_file(self._path)
        try:
            self._connection = self._open_connection(create=True)
            cursor = self._connection.execute("INSERT INTO run (groups) VALUES (0)")
        except sqlite3.Error as error:
            self._discard()
            raise self._explain(error) from error
        except LedgerError:
            self._discard()
            raise
        self._run = cursor.lastrowid or 0

    def _open_connection(self, *, create: bool) -> sqlite3.Connection:
        connection = self._connect(self._path)
        try:
            connection.isolation_level = None  # transactions are begun here, not guessed by the module
            connection.execute(f"PRAGMA busy_timeout = {round(self._busy_timeout * 1000)}")
            # Before anything that could change the file. Later in the run an empty one means that ours
            # was taken away; going on would lose everything without a word.
            if not verify(connection, self._path) and not create:
                raise NotALedger(self._path, "the file was replaced by an empty one", "put the ledger back")
            prepare(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def perform(self, works: Sequence[Work]) -> list[Outcome]:
        """Runs the group in one transaction; one outcome for each operation, in order."""
        try:
            connection = self._reconnected()
            try:
                return self._transact(connection, works, isolated=False)
            except _BadOperation:
                self.isolated_groups += 1
                return self._transact(connection, works, isolated=True)
        except (sqlite3.Error, LedgerError) as error:
            self.failed_groups += 1
            _log.warning("a group of %d operations on %r failed: %s", len(works), self._path, str(error))
            return [Outcome(None, self._explain(error)) for _ in works]

    def _reconnected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._open_connection(create=False)
            row = connection.execute("SELECT groups FROM run WHERE run = ?", (self._run,)).fetchone()
            if row is None:
                connection.close()
                raise NotALedger(
                    self._path, "the file was replaced by another ledger", "put the right one back"
                )
            self._connection = connection
            self._groups = int(row[0])
            self.reopened += 1
        return self._connection

    def _transact(
        self, connection: sqlite3.Connection, works: Sequence[Work], *, isolated: bool
    ) -> list[Outcome]:
        started = time.perf_counter()
        writes = any(work.writes for work in works)
        # Closed by hand: a cursor that a traceback keeps alive would keep the file open after `close`.
        cursor = connection.cursor()
        try:
            # A deferred read that turns into a write fails at once, whatever the busy timeout is.
            cursor.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            tx = Transaction(cursor, self._run)
            step = self._isolate if isolated else self._step
            outcomes = [step(tx, work) for work in works]
            if writes:
                self._stamp(tx)
        except BaseException:
            cursor.close()
            self._roll_back(connection)
            raise
        cursor.close()
        self._commit(connection, writes)
        self._groups += writes
        self.last_commit = time.perf_counter() - started
        return outcomes

    def _step(self, tx: Transaction, work: Work) -> Outcome:
        try:
            return Outcome(work.perform(tx), None)
        except Exception as error:
            if _is_store_failure(error):
                raise
            raise _BadOperation from error

    def _isolate(self, tx: Transaction, work: Work) -> Outcome:
        notes = tx.savepoint()
        tx.cursor.execute("SAVEPOINT operation")
        try:
            value = work.perform(tx)
        except Exception as error:
            if _is_store_failure(error):
                raise
            tx.cursor.execute("ROLLBACK TO operation")
            tx.cursor.execute("RELEASE operation")
            tx.rollback(notes)
            return Outcome(None, error)
        tx.cursor.execute("RELEASE operation")
        return Outcome(value, None)

    def _stamp(self, tx: Transaction) -> None:
        """Writes the tally, and the group's number by which a failed COMMIT is looked up."""
        for state, jobs in tx.moved.items():
            if jobs:
                tx.cursor.execute("UPDATE tally SET jobs = jobs + ? WHERE state = ?", (jobs, state))
        tx.cursor.execute("UPDATE run SET groups = ? WHERE run = ?", (self._groups + 1, self._run))

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Undoes an open transaction; a connection that cannot is dropped, which undoes it too."""
        try:
            if connection.in_transaction:  # SQLite may have rolled back by itself
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            _log.warning("rolling back on %r failed: %s; the file is opened again", self._path, str(error))
            self._discard()

    def _commit(self, connection: sqlite3.Connection, writes: bool) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._discard()
            if not writes or self._is_known_uncommitted():
                raise StoreUnavailable(self._path, str(error)) from error
            raise OutcomeUnknown(self._path, str(error)) from error

    def _is_known_uncommitted(self) -> bool:
        """Whether a new connection shows that the group whose COMMIT just failed is absent.

        If it shows the group, that proves little: after a failed fsync it may be in memory only.
        """
        before = self._groups
        try:
            self._reconnected()
        except (sqlite3.Error, LedgerError) as error:
            _log.warning("%r could not be read after a failed commit: %s", self._path, str(error))
            return False
        return self._groups == before

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _explain(self, error: Exception) -> Exception:
        """A fresh exception for one caller."""
        if isinstance(error, OutcomeUnknown):
            return OutcomeUnknown(error.path, error.detail)
        if isinstance(error, StoreUnavailable):
            return StoreUnavailable(error.path, error.detail)
        if isinstance(error, LedgerUnusable):
            return StoreUnavailable(self._path, str(error))
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return LedgerDamaged(self._path, str(error))
        return StoreUnavailable(self._path, str(error))

    def close(self) -> None:
        """Moves the log into the file and closes it; the last one to close leaves no -wal behind.

        Raises:
            StoreUnavailable: the log could not be moved; all that was committed is safe in it.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            detail = f"{error} while closing (all that was committed is safe in {self._path + '-wal'!r})"
            raise StoreUnavailable(self._path, detail) from error
        finally:
            connection.close()


def _is_store_failure(error: Exception) -> bool:
    """Whether the file, and not the operation, is to blame."""
    return (
        isinstance(error, sqlite3.OperationalError | sqlite3.InternalError)
        or type(error) is sqlite3.DatabaseError
    )
