"""`DiskTable`: a table in memory that is kept in a file as well. After DETS, and Mnesia's `disc_copies`.

All rows are in memory, so that every operation is the plain method that it is for other tables. Changes are
encoded at once, when a bad value is still its inserter's mistake, and written behind, by a thread of the
table's own: the last state of each key that changed, in one transaction.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from os import PathLike
from typing import Any, Self, TypeVar

from ..._kernel._bonds import let_go
from ..._kernel._cell import NO_KWARGS
from ..._kernel._errors import UsageError
from ..._kernel._node import Node
from ..._kernel._process import current_cell
from ..._kernel._ref import ActorRef
from ._errors import TableFileDamaged
from ._rows_codec import encode_key, encode_rows
from ._stores import Access, Kind
from ._table import Table, TableStatistics, check_options
from ._table_file import TableFile

R = TypeVar("R", bound=tuple[Any, ...])

_log = logging.getLogger("koboshi.otp")

Changes = list[tuple[bytes, "bytes | None"]]


class DiskJournal:
    """What of a table is not in its file yet, and the thread that writes it."""

    def __init__(
        self,
        node: Node,
        file: TableFile,
        thread: ThreadPoolExecutor,
        auto_save: float | None,
    ) -> None:
        self._node = node
        self._file = file
        self._thread = thread
        self._auto_save = auto_save
        self._timer: asyncio.TimerHandle | None = None
        self._unsaved: dict[bytes, bytes | None] = {}
        self._cleared = False
        # How many changes there were, and how many of them are on the disk.
        self._noted = 0
        self._saved = 0
        self._saving: asyncio.Future[None] | None = None
        # Whoever waits, and how many changes they want to see saved.
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.saves = 0
        # Called when a save that nobody waits for has failed.
        self.failed: Callable[[BaseException], None] = self._log_failure

    @property
    def unsaved(self) -> int:
        """Keys whose changes are not handed to the thread yet."""
        return len(self._unsaved)

    def encode(self, changes: dict[Any, list[Any]]) -> Changes:
        return [(encode_key(key), encode_rows(rows) if rows else None) for key, rows in changes.items()]

    def note(self, encoded: Changes) -> None:
        if encoded:
            self._unsaved.update(encoded)
            self._changed()

    def clear(self) -> None:
        self._unsaved, self._cleared = {}, True
        self._changed()

    def _changed(self) -> None:
        self._noted += 1
        if self._timer is None and self._auto_save is not None:
            self._timer = self._node.loop.call_later(self._auto_save, self._time_to_save)

    async def sync(self) -> None:
        """Wait until all changes so far are on the disk. Raises `TableNotSaved`."""
        if self._saved < self._noted:
            waiter: asyncio.Future[None] = self._node.loop.create_future()
            self._waiting.append((self._noted, waiter))
            if self._saving is None:
                self._save()
            await waiter

    def _save(self) -> None:
        changes, cleared = self._take()
        write = functools.partial(self._file.write, changes, cleared=cleared)
        self._saving = self._node.loop.run_in_executor(self._thread, write)
        self._saving.add_done_callback(functools.partial(self._saved_up_to, self._noted))

    def _take(self) -> tuple[dict[bytes, bytes | None], bool]:
        taken = self._unsaved, self._cleared
        self._unsaved, self._cleared = {}, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return taken

    def _saved_up_to(self, noted: int, done: asyncio.Future[None]) -> None:
        self._saving = None
        error = None if done.cancelled() else done.exception()
        if error is None:
            self._saved = noted
            self.saves += 1
        if not self._tell(noted, error) and error is not None:
            self.failed(error)
        if self._waiting and not self._file.closing:
            self._save()  # for those who came while this one was under way

    def _tell(self, noted: int, error: BaseException | None) -> bool:
        """Tell all who wait for a save of so many changes how it went; False when nobody did."""
        heard = [waiter for goal, waiter in self._waiting if goal <= noted and not waiter.done()]
        self._waiting = [each for each in self._waiting if each[0] > noted]
        for waiter in heard:
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        return bool(heard)

    def _time_to_save(self) -> None:
        self._timer = None
        if self._saving is None:
            self._save()
        else:  # of changes before these
            self._timer = self._node.loop.call_later(self._auto_save or 0.0, self._time_to_save)

    def close(self) -> Future[None]:
        """Write what is left, close the file and end the thread; nothing waits for it."""
        changes, cleared = self._take()
        self._file.closing = True
        closed = self._thread.submit(self._file.finish, changes, cleared=cleared)
        closed.add_done_callback(self._report_last)
        ended = asyncio.wrap_future(closed, loop=self._node.loop)
        self._node.unfinished.add(ended)
        ended.add_done_callback(self._finished)
        self._thread.shutdown(wait=False)
        return closed

    def _finished(self, ended: asyncio.Future[None]) -> None:
        self._node.unfinished.discard(ended)
        self._tell(self._noted, ended.exception())

    def _report_last(self, closed: Future[None]) -> None:
        error = closed.exception()
        if error is not None:
            self._log_failure(error)

    def _log_failure(self, error: BaseException) -> None:
        _log.error("%s", error, exc_info=error)


class DiskTable(Table[R]):
    """A table that is kept in a file: `await otp.DiskTable[tuple[str, int]].open("hits.table")`.

    Everything that a `Table` does, and `sync`. When its owner ends it is written and closed, and whoever
    opens the file next waits for that; a program killed at once loses what was not synced.
    """

    _journal: DiskJournal

    def __init__(self, *args: Any, journal: DiskJournal | None = None, **options: Any) -> None:
        if not isinstance(journal, DiskJournal):
            raise UsageError("a disk table is opened: await otp.DiskTable.open(path)")
        super().__init__(*args, **options)
        self._journal = journal
        self._journal.failed = self._crash_owner
        self._closed: Future[None] | None = None

    @classmethod
    async def open(
        cls,
        path: str | PathLike[str],
        *,
        name: Any = None,
        kind: Kind = "set",
        access: Access = "protected",
        key: int = 0,
        named: bool = False,
        heir: ActorRef[Any] | None = None,
        heir_data: Any = None,
        auto_save: float | None = 3.0,
        wait: float = 5.0,
    ) -> Self:
        """Open the file, or make it, for its owner only (mode 0600), and read all rows into memory.

        Args:
            path: the file; SQLite keeps `path-wal` beside it.
            name: what the table is called, the path by default. The other options are those of `Table`.
            auto_save: seconds after a change until it is written; None: at `sync` and at the end only. A save
                that fails ends the owner, as a crash.
            wait: seconds to wait for whoever has the file open, to close it.

        Raises:
            TableFileInUse: somebody has it open.
            NotATableFile, TableFileDamaged: it is something else, or cannot be read.
            TableMismatch: it was made with another kind or key.
            TableFileError: the system does not let us.
            UsageError, NotInProcess, TableNameTaken: as for `Table`.
        """
        file_path = _absolute(path)
        name = os.fspath(path) if name is None else name
        check_options(name, kind, access, key, named)
        check_seconds("auto_save", auto_save)
        check_seconds("wait", wait)
        node = current_cell("a disk table").node
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"koboshi-table-{name}")
        file = TableFile(file_path)
        journal = DiskJournal(node, file, thread, auto_save)
        table: Self | None = None
        try:
            rows = await node.loop.run_in_executor(thread, file.open, kind, key, wait)
            table = cls(
                name,
                kind=kind,
                access=access,
                key=key,
                named=named,
                heir=heir,
                heir_data=heir_data,
                journal=journal,
            )
            table._load(file_path, rows)
        except BaseException:
            if table is not None:
                table._end()
            else:
                journal.close()
            raise
        return table

    def _load(self, path: str, rows: list[tuple[Any, ...]]) -> None:
        try:
            for row in rows:
                self._store.put(self._key_of(row), row)
        except UsageError as error:
            raise TableFileDamaged(path, f"a row in it does not fit the table: {error}") from error

    async def sync(self) -> None:
        """Wait until all changes so far are on the disk. Everybody may.

        Raises:
            TableNotSaved: writing failed; the changes stay in memory, and the next save tries again.
        """
        self._must_exist("sync")
        await self._journal.sync()

    async def close(self) -> None:
        """Write what is left and close the file; the table is gone then. For the owner only.

        Raises:
            TableNotSaved: the last changes could not be written.
        """
        self._owner_only("close")
        self.drop()
        assert self._closed is not None
        await asyncio.wrap_future(self._closed)

    def statistics(self) -> TableStatistics:
        """Figures at this moment. Everybody may ask."""
        plain = super().statistics()
        return TableStatistics(
            plain.rows, plain.keys, plain.fixed, self._journal.unsaved, self._journal.saves
        )

    def _vanish(self) -> None:
        super()._vanish()
        if self._closed is None:
            self._closed = self._journal.close()

    def _end(self) -> None:
        """Undo an opening."""
        let_go(self._owner, self)
        self._vanish()

    def _crash_owner(self, error: BaseException) -> None:
        self._node.crash(self._owner, error, (_auto_save, (), NO_KWARGS, copy_context(), None))


def _absolute(path: str | PathLike[str]) -> str:
    """The path that is meant, whatever becomes of the working directory."""
    return os.path.abspath(path)


def _auto_save() -> None:
    """Names, in crash reports, what the owner of a table had not asked for itself."""


def check_seconds(option: str, value: Any) -> None:
    """Raise `UsageError` for what is no time to wait; None only for `auto_save`."""
    if value is None and option == "auto_save":
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise UsageError(
            f"{option} takes seconds >= 0{' or None' if option == 'auto_save' else ''}, got {value!r}"
        )
