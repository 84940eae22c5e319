"""What answers for tables to other nodes: one message that does any operation of a table that it may find."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..._kernel._actor import Actor
from ..._kernel._errors import KoboshiError, UsageError
from ..._kernel._message import message
from ..._kernel._reply import defer
from ._catalogue import catalogue_of
from ._errors import NoSuchTable

if TYPE_CHECKING:
    from ._table import Table

READS = frozenset(
    (
        "lookup",
        "lookup_element",
        "member",
        "match",
        "select",
        "select_count",
        "rows",
        "keys",
        "__len__",
        "range",
        "foldl",
        "foldr",
        "first",
        "last",
        "next",
        "prev",
        "info",
        "statistics",
    )
)
WRITES = frozenset(
    (
        "insert",
        "insert_new",
        "delete",
        "take",
        "delete_object",
        "delete_all",
        "select_delete",
        "update_counter",
        "update_element",
        "select_replace",
        "rename",
        "drop",
        "sync",
    )
)
# What everybody may, whatever the access.
ALWAYS = frozenset({"info", "statistics", "sync"})


class TableService(Actor):
    """Does operations on tables for processes of other nodes. They are nobody's owner there.

    A request that is refused, or whose functions raise, fails at its caller and does no harm here.
    """

    #: False while it is still making its tables: requests wait in its mailbox then.
    is_up = True

    @classmethod
    def _kb_around_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        if run.__name__ == "operate":  # has its own way, which may take the shortcut of plain handlers
            return run

        @functools.wraps(run)
        async def answering(self: TableService, *args: Any, **kwargs: Any) -> Any:
            try:
                result: Any = run(self, *args, **kwargs)
                return await result if inspect.iscoroutine(result) else result  # pyright: ignore[reportUnknownVariableType]
            except KoboshiError as refused:
                defer().fail(refused)

        return answering

    def find(self, which: Any) -> Table[Any]:
        """The table that is meant. Raises `NoSuchTable`."""
        raise NoSuchTable(which)

    @message
    def operate(self, which: Any, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do one operation on a table, as a process that does not own it."""
        try:
            table = self.find(which)
            check_rights(table, operation)
            return getattr(table, operation)(*args, **kwargs)
        except Exception as error:
            defer().fail(error)

    @message
    def sync(self, which: Any) -> None:
        """Have a table's changes written; other requests are answered meanwhile."""
        table = self.find(which)
        check_rights(table, "sync")
        reply = defer()
        saving = asyncio.ensure_future(table.sync())

        def done(saved: asyncio.Future[None]) -> None:
            error = asyncio.CancelledError() if saved.cancelled() else saved.exception()
            if error is None:
                reply.send(None)
            else:
                reply.fail(error)

        # The reply keeps the future, and the node keeps the reply as owed.
        saving.add_done_callback(done)


class TableServer(TableService):
    """Answers for all tables of one event loop, by their numbers."""

    def find(self, which: Any) -> Table[Any]:
        """The table of this number. Raises `NoSuchTable`."""
        found = catalogue_of(self._kb_cell.node).tables.get(which)
        if found is None:
            raise NoSuchTable(which)
        return found

    def __repr__(self) -> str:
        return f"<TableServer of {len(catalogue_of(self._kb_cell.node).tables)} tables>"


def check_rights(table: Table[Any], operation: str) -> None:
    """Find out whether a process that does not own a table may do this.

    Raises:
        AccessDenied: it may not.
        UsageError: it is no operation of tables.
    """
    if operation not in READS and operation not in WRITES:
        raise UsageError(f"{operation!r} is no operation of a table that other nodes may ask for")
    access = table._access
    if operation in ALWAYS or access == "public" or (access == "protected" and operation in READS):
        return
    raise table._denied(operation, access)
