"""SQLite as an engine: a file with one writer thread, or the memory of this process.

The thread takes one group at a time from a queue and hands all its outcomes back with one wake. Nothing
else is shared, so there is no lock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .._failures import (
    DurableError,
    ForeignStore,
    OutcomeUnknown,
    StoreDamaged,
    StoreUnavailable,
    StoreUnusable,
)
from ._clock import Clocks, clocks_of, in_real_time, told_in_real_time
from ._group import perform_group
from ._host_lock import HostLock
from ._operation import Operation, Outcome
from ._sqlite import SqliteConnection
from ._sqlite_file import check_place, create_file, prepare
from ._switching import begin_quick_turns, end_quick_turns

__all__ = ["Connect", "MemoryEngine", "SqliteEngine", "place_of_host"]

Connect = Callable[..., sqlite3.Connection]
Done = Callable[[list[Outcome]], None]

_log = logging.getLogger("koboshi.durable")


def place_of_host(incarnation: str) -> int:
    """Which byte of the side file is a host's."""
    return 1 + int(incarnation[:14], 16)


class SqliteFile:
    """The file, open, as the writer thread has it; see `_group` for the rules."""

    def __init__(self, path: str, host: str, connect: Connect, busy_timeout: float, clocks: Clocks) -> None:
        self._path = path
        self._host = host
        self._connect = connect
        self._busy_timeout = busy_timeout
        self._clocks = clocks
        # None after a failure that made the connection doubtful, until it is opened again.
        self._connection: SqliteConnection | None = None
        # Which file that connection has open.
        self._file: os.stat_result | None = None
        # How many groups of this host are committed: the count in its row, as last seen.
        self._writes = 0

    def open(self) -> None:
        """Open the file, making it and its tables if they are missing."""
        create_file(self._path)
        try:
            self._connection = self._opened(create=True)
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _opened(self, *, create: bool) -> SqliteConnection:
        connection = self._connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            connection.execute(f"PRAGMA busy_timeout = {round(self._busy_timeout * 1000)}")
            if not create and not os.path.getsize(self._path):
                # Going on would lose everything without a word.
                found = "the file was replaced by an empty one"
                raise ForeignStore(self._path, found, "put the store back")
            prepare(connection, self._path)
            self._file = os.stat(self._path)
        except BaseException:
            connection.close()
            raise
        return SqliteConnection(connection, self._clocks)

    def perform(self, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        """Do the group in one transaction; one outcome for each operation, in order."""
        try:
            self._check_there()
            connection = self._reconnected()
            outcomes, writes = perform_group(connection, operations, self._host, self._writes + 1)
            self._commit(connection, writes)
        except (sqlite3.Error, DurableError) as error:
            _log.warning("a group of %d operations on %s failed: %s", len(operations), self._path, str(error))
            self._look_after(error)
            return [Outcome(None, self._explained(error)) for _ in operations]
        self._writes += writes
        return outcomes

    def _check_there(self) -> None:
        """Raise `StoreUnavailable` unless the path leads to the open file: commits into another one would be lost."""
        try:
            there = os.stat(self._path)
        except OSError as error:
            self._discard()
            detail = f"its file is gone ({error.strerror}); put it back"
            raise StoreUnavailable(self._path, detail) from error
        if (
            self._connection is not None
            and self._file is not None
            and not os.path.samestat(there, self._file)
        ):
            # The next group opens what is there now.
            self._discard()
            raise StoreUnavailable(self._path, "its file was replaced by another one while it was in use")

    def _reconnected(self) -> SqliteConnection:
        if self._connection is None:
            self._connection = self._opened(create=False)
            self._writes = self._written(self._connection)
        return self._connection

    def _written(self, connection: SqliteConnection) -> int:
        found = connection.connection.execute(
            "SELECT writes FROM kb_host WHERE host_id = ?", (self._host,)
        ).fetchone()
        return self._writes if found is None else int(found[0])

    def _commit(self, connection: SqliteConnection, writes: bool) -> None:
        try:
            connection.commit()
        except sqlite3.Error as error:
            self._discard()
            if not writes or self._is_known_uncommitted():
                raise StoreUnavailable(self._path, str(error)) from error
            raise OutcomeUnknown(self._path, str(error)) from error

    def _is_known_uncommitted(self) -> bool:
        """Whether a new connection shows that the group whose COMMIT just failed is absent.

        If it shows the group, that proves little: after a failed fsync it may be in memory only.
        """
        before = self._writes
        try:
            self._reconnected()
        except (sqlite3.Error, DurableError) as error:
            _log.warning("%s could not be read after a failed commit: %s", self._path, str(error))
            return False
        return self._writes == before

    def _look_after(self, error: Exception) -> None:
        """A connection that cannot even roll back is of no more use."""
        connection = self._connection
        if connection is not None and (
            connection.connection.in_transaction or _code(error) == sqlite3.SQLITE_CORRUPT
        ):
            self._discard()

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connection.close()

    def _explained(self, error: Exception) -> Exception:
        """A fresh exception for one caller."""
        if isinstance(error, OutcomeUnknown):
            return OutcomeUnknown(error.url, error.detail)
        if isinstance(error, StoreUnavailable):
            return StoreUnavailable(error.url, error.detail)
        if isinstance(error, StoreUnusable):
            return StoreUnavailable(self._path, str(error))
        if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreDamaged(self._path, f"SQLite says {str(error)!r}")
        return StoreUnavailable(self._path, str(error))

    def close(self) -> None:
        """Move the log into the file and close it; the last one to close leaves no -wal behind.

        Raises:
            StoreUnavailable: the log could not be moved; all that was committed is safe in it.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            detail = f"{error} while closing (all that was committed is safe in {self._path + '-wal'!r})"
            raise StoreUnavailable(self._path, detail) from error
        finally:
            connection.connection.close()


def _code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


class SqliteEngine:
    """A file and its thread; see `Engine`.

    Args:
        path: the file, made with mode 0600 if it is missing. Its folder must exist.
        busy_timeout: seconds to wait for another process's lock before `StoreUnavailable`.
        clock: gives seconds since the epoch (default None: the machine's, or that of a loop in virtual time).
        connect: opens the database; a seam for fault injection.
    """

    def __init__(
        self,
        path: str,
        *,
        busy_timeout: float = 5.0,
        clock: Callable[[], float] | None = None,
        connect: Connect = sqlite3.connect,
    ) -> None:
        # A link and what it leads to are one store, with one side file.
        self._path = os.path.realpath(path)
        self.url = f"sqlite:///{self._path}"
        self._busy_timeout = busy_timeout
        self._clock = clock
        self._connect = connect
        self._queue: queue.SimpleQueue[tuple[Sequence[Operation[Any]], Done] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock: HostLock | None = None
        self._ended: asyncio.Future[None] | None = None

    async def open(self, host: str) -> None:
        """See `Engine.open`."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        check_place(self._path)
        clocks = clocks_of(loop, self._clock)
        file = SqliteFile(self._path, host, self._connect, self._busy_timeout, clocks)
        # Daemon: a program that forgets to close must still be able to end; commits survive that.
        self._thread = threading.Thread(
            target=self._main, args=(loop, file, opened), name=f"store {self._path}", daemon=True
        )
        self._thread.start()
        try:
            with in_real_time(loop):
                await asyncio.shield(opened)
            self._lock = HostLock(self._path, place_of_host(host.rpartition(".")[2]))
        except BaseException:
            opened.add_done_callback(_seen)
            await self.close()
            raise

    def commit(self, operations: Sequence[Operation[Any]], done: Done) -> None:
        """See `Engine.commit`."""
        begin_quick_turns()
        self._queue.put((operations, told_in_real_time(asyncio.get_running_loop(), done)))

    def lost_hosts(self, hosts: Sequence[tuple[str, str]]) -> list[str]:
        """Those whose process no longer holds its byte of the side file."""
        lock = self._lock
        if lock is None:
            return []
        return [host for host, incarnation in hosts if not lock.is_held(place_of_host(incarnation))]

    async def absent_hosts(self, hosts: Sequence[tuple[str, str]], settled: float) -> list[str]:
        """None: who is not surely gone is there."""
        return []

    async def close(self) -> None:
        """See `Engine.close`."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
        if self._ended is not None:
            try:
                with in_real_time(asyncio.get_running_loop()):
                    await asyncio.shield(self._ended)
            finally:
                if thread is not None and self._ended.done():
                    thread.join()
                    if self._lock is not None:
                        self._lock.release()

    def _main(self, loop: asyncio.AbstractEventLoop, file: SqliteFile, opened: asyncio.Future[None]) -> None:
        """The thread: open, serve until told to stop, close, report."""
        ended = self._ended
        assert ended is not None
        try:
            file.open()
        except BaseException as error:
            self._post(loop, _reject, opened, error)
            self._post(loop, _resolve, ended)
            return
        self._post(loop, _resolve, opened)
        failure: BaseException | None = None
        while (work := self._queue.get()) is not None:
            operations, done = work
            try:
                outcomes = file.perform(operations)
            except BaseException as error:  # a bug of ours: nobody may wait for ever because of it
                _log.exception("the writer of %s failed", self._path)
                outcomes = [Outcome(None, OutcomeUnknown(self._path, repr(error))) for _ in operations]
                del error
            self._post(loop, done, outcomes)
            end_quick_turns()
            del work, operations, done, outcomes  # the queue may be silent for long
        try:
            file.close()
        except BaseException as error:
            failure = error
        if failure is None:
            self._post(loop, _resolve, ended)
        else:
            self._post(loop, _reject, ended, failure)

    def _post(self, loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: object) -> None:
        try:
            loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            if not loop.is_closed():
                raise
            _log.warning("the event loop ended before the store %s was closed", self._path)


class MemoryEngine:
    """A store that lasts as long as its program, for tests and caches: SQLite without a file or a thread."""

    def __init__(self, name: str = "", *, clock: Callable[[], float] | None = None) -> None:
        self.url = f"memory://{name}"
        self._clock = clock
        self._connection: SqliteConnection | None = None

    async def open(self, host: str) -> None:
        """See `Engine.open`."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        prepare(connection, ":memory:")
        self._connection = SqliteConnection(connection, clocks_of(asyncio.get_running_loop(), self._clock))

    def commit(self, operations: Sequence[Operation[Any]], done: Done) -> None:
        """See `Engine.commit`."""
        connection = self._connection
        assert connection is not None
        outcomes, _ = perform_group(connection, operations, None, 0)
        connection.commit()
        asyncio.get_running_loop().call_soon(done, outcomes)

    def lost_hosts(self, hosts: Sequence[tuple[str, str]]) -> list[str]:
        """There are no others."""
        return [host for host, _ in hosts]

    async def absent_hosts(self, hosts: Sequence[tuple[str, str]], settled: float) -> list[str]:
        """None: who is not surely gone is there."""
        return []

    async def close(self) -> None:
        """See `Engine.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connection.close()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _reject(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _seen(future: asyncio.Future[None]) -> None:
    """The error was raised or logged where it belongs."""
    with suppress(asyncio.CancelledError):
        future.exception()
