"""A table from other nodes: operations as messages to an actor beside it, which acts in the caller's name."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..._kernel._actor import Actor
from ..._kernel._cell import NO_KWARGS
from ..._kernel._errors import KoboshiError, UsageError
from ..._kernel._lifecycle import launch
from ..._kernel._message import message
from ..._kernel._node import Node, this_node
from ..._kernel._ref import ActorRef
from ..._kernel._reply import defer
from .._here import actor_here
from ._table import NoTable, Table, TableInfo

if TYPE_CHECKING:
    from ._rows import Row

__all__ = ["TableHandle", "server_of"]

# What may be asked for by name; nothing else of a table is reached from outside.
OPERATIONS = frozenset(
    {
        "delete",
        "delete_all",
        "delete_object",
        "first",
        "info",
        "insert",
        "insert_new",
        "last",
        "lookup",
        "lookup_element",
        "match",
        "member",
        "next",
        "prev",
        "rows",
        "select",
        "select_count",
        "select_delete",
        "select_replace",
        "size",
        "take",
        "update_counter",
        "update_element",
    }
)


class TableServer(Actor):
    """Does operations on the tables of its node for processes of others."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._tables: WeakValueDictionary[int, Table] = WeakValueDictionary()

    def number(self, table: Table) -> int:
        """What a table is called by others."""
        for number, known in self._tables.items():
            if known is table:
                return number
        number = next(self._numbers)
        self._tables[number] = table
        return number

    @message
    def do(self, number: int, what: str, args: tuple[Any, ...], who: ActorRef[Any] | None) -> Any:
        """One operation in the name of `who`; an error in it is its caller's."""
        try:
            return self.act(number, what, args, who)
        except (KoboshiError, LookupError) as refused:
            defer().fail(refused)
            return None

    def act(self, number: int, what: str, args: tuple[Any, ...], who: ActorRef[Any] | None) -> Any:
        """`do`, called directly."""
        if what not in OPERATIONS:
            raise UsageError(f"{what!r} is no operation of tables")
        table = self._tables.get(number)
        if table is None:
            raise NoTable("the table is no more: it was deleted, or its owner has ended")
        node = self._kb_cell.node
        before, node.current = node.current, None if who is None else who._target()
        try:
            return len(table) if what == "size" else getattr(table, what)(*args)
        finally:
            node.current = before


class TableHandle:
    """A table for use on any node; made by `Table.anywhere`. The methods are those of `Table`, and async.

    On the table's own event loop they wait for nothing. Functions given to `select` and its like must be ones
    that can be imported on the table's node, unless they are used there; patterns go anywhere.
    """

    __slots__ = ("_number", "_server")

    def __init__(self, server: ActorRef[TableServer], number: int) -> None:
        self._server = server
        self._number = number

    async def _do(self, what: str, *args: Any) -> Any:
        current = this_node().current
        who = None if current is None else ActorRef[Any](current)
        here = actor_here(self._server, TableServer)
        if here is not None:
            return here.act(self._number, what, args, who)
        return await self._server.call(TableServer.do, self._number, what, args, who)

    async def insert(self, *rows: Row) -> None:
        """See `Table.insert`; the others likewise."""
        await self._do("insert", *rows)

    async def insert_new(self, *rows: Row) -> bool:
        return bool(await self._do("insert_new", *rows))

    async def delete(self, key: Any) -> None:
        await self._do("delete", key)

    async def delete_object(self, row: Row) -> None:
        await self._do("delete_object", row)

    async def delete_all(self) -> int:
        return int(await self._do("delete_all"))

    async def take(self, key: Any) -> list[Row]:
        return list(await self._do("take", key))

    async def update_counter(self, key: Any, change: Any = 1, default: Row | None = None) -> Any:
        return await self._do("update_counter", key, change, default)

    async def update_element(self, key: Any, elements: dict[int, Any]) -> bool:
        return bool(await self._do("update_element", key, elements))

    async def lookup(self, key: Any) -> list[Row]:
        return list(await self._do("lookup", key))

    async def lookup_element(self, key: Any, place: int, *default: Any) -> Any:
        return await self._do("lookup_element", key, place, *default)

    async def member(self, key: Any) -> bool:
        return bool(await self._do("member", key))

    async def size(self) -> int:
        """How many rows there are."""
        return int(await self._do("size"))

    async def match(self, pattern: Row) -> list[Row]:
        return list(await self._do("match", pattern))

    async def select(self, where: Any) -> list[Row]:
        return list(await self._do("select", where))

    async def select_count(self, where: Any) -> int:
        return int(await self._do("select_count", where))

    async def select_delete(self, where: Any) -> int:
        return int(await self._do("select_delete", where))

    async def select_replace(self, where: Any, change: Any) -> int:
        return int(await self._do("select_replace", where, change))

    async def rows(self) -> list[Row]:
        return list(await self._do("rows"))

    async def first(self) -> Any:
        return await self._do("first")

    async def last(self) -> Any:
        return await self._do("last")

    async def next(self, key: Any) -> Any:
        return await self._do("next", key)

    async def prev(self, key: Any) -> Any:
        return await self._do("prev", key)

    async def info(self) -> TableInfo:
        found: TableInfo = await self._do("info")
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableHandle) and (self._server, self._number) == (
            other._server,
            other._number,
        )

    def __hash__(self) -> int:
        return hash((self._server, self._number))

    def __repr__(self) -> str:
        return f"<TableHandle {self._number} at {self._server!r}>"


def server_of(node: Node, table: Table) -> tuple[ActorRef[TableServer], int]:
    """The actor beside the tables of a node, started at first need, and what it calls this one."""
    ref: ActorRef[TableServer] | None = node.services.get("table server")
    if ref is None or not ref.alive:
        ref = ActorRef[TableServer](launch(node, TableServer._kb_info, (), NO_KWARGS, None))
        node.services["table server"] = ref
    server: Any = ref._target().actor
    return ref, server.number(table)
