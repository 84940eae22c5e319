"""`TableHandle`: a table from anywhere. It pickles, and does directly what is on the same event loop."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast, overload

from ..._kernel._cell import DEAD, REMOTE
from ..._kernel._errors import UsageError
from ..._kernel._ref import ActorRef
from ..._kernel._self import named
from ..._kernel._start import launch
from ._catalogue import catalogue_of
from ._counters import CounterOp
from ._errors import NoSuchTable
from ._patterns import Where
from ._reading import MISSING
from ._serving import TableServer, TableService
from ._table import Table, TableInfo, TableStatistics

if TYPE_CHECKING:
    from ._table_owner import TableOwner

R = TypeVar("R", bound=tuple[Any, ...])
T = TypeVar("T")


class TableHandle(Generic[R]):
    """The methods of `Table` as `async` ones, for all nodes; made by `table.handle` and `otp.table`.

    On the table's own event loop they are done at once, with the rights of the current process. From other
    nodes they are calls, with the rights of any process but the owner; functions and rows are pickled then.
    """

    __slots__ = ("_ref", "_which")

    def __init__(self, ref: ActorRef[Any], which: Any) -> None:
        self._ref: ActorRef[TableService] = ref
        self._which = which

    def within(self, seconds: float | None) -> TableHandle[R]:
        """The same table with another deadline for calls to other nodes, in seconds; None waits for ever."""
        return TableHandle(self._ref.within(seconds), self._which)

    @property
    def local(self) -> Table[R] | None:
        """The table itself, None when it is on another node, or its owner has not made it yet.

        Raises:
            NoSuchTable: it is gone.
            NotRunning: its `TableOwner` is not there now.
            ActorExited: its node is lost (`NoConnection`).
            WrongThread: this is another thread than the table's.
        """
        cell = self._ref._target()
        if cell.state == REMOTE:
            return None
        if get_ident() != cell.node.thread:
            raise self._ref._wrong_thread()
        if cell.state == DEAD:
            self._ref._find(TableService.operate)  # says why
        service: TableService = cell.actor
        return service.find(self._which) if service.is_up else None

    async def _do(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        table = self.local
        if table is None:
            return await self._ref.call(TableService.operate, self._which, operation, args, kwargs)
        return getattr(table, operation)(*args, **kwargs)

    # -- reading -----------------------------------------------------------------------------------

    async def lookup(self, key: Any) -> list[R]:
        """As `Table.lookup`."""
        return cast("list[R]", await self._do("lookup", key))

    async def lookup_element(self, key: Any, place: int, default: Any = MISSING) -> Any:
        """As `Table.lookup_element`."""
        given = () if default is MISSING else (default,)
        return await self._do("lookup_element", key, place, *given)

    async def member(self, key: Any) -> bool:
        """As `Table.member`."""
        return cast("bool", await self._do("member", key))

    async def match(self, pattern: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """As `Table.match`."""
        return cast("list[tuple[Any, ...]]", await self._do("match", pattern))

    @overload
    async def select(self, where: Where[R] = None, *, limit: int | None = None) -> list[R]: ...
    @overload
    async def select(
        self, where: Where[R], result: Callable[[R], T], *, limit: int | None = None
    ) -> list[T]: ...
    async def select(self, where: Any = None, result: Any = None, *, limit: int | None = None) -> list[Any]:
        """As `Table.select`."""
        return cast("list[Any]", await self._do("select", where, result, limit=limit))

    async def select_count(self, where: Where[R] = None) -> int:
        """As `Table.select_count`."""
        return cast("int", await self._do("select_count", where))

    async def rows(self) -> list[R]:
        """As `Table.rows`."""
        return cast("list[R]", await self._do("rows"))

    async def keys(self) -> list[Any]:
        """As `Table.keys`."""
        return cast("list[Any]", await self._do("keys"))

    async def size(self) -> int:
        """How many rows there are."""
        return cast("int", await self._do("__len__"))

    async def range(self, low: Any, high: Any) -> list[R]:
        """As `Table.range`."""
        return cast("list[R]", await self._do("range", low, high))

    async def foldl(self, fn: Callable[[T, R], T], initial: T) -> T:
        """As `Table.foldl`."""
        return cast("T", await self._do("foldl", fn, initial))

    async def foldr(self, fn: Callable[[T, R], T], initial: T) -> T:
        """As `Table.foldr`."""
        return cast("T", await self._do("foldr", fn, initial))

    async def first(self, default: Any = None) -> Any:
        """As `Table.first`."""
        return await self._do("first", default)

    async def last(self, default: Any = None) -> Any:
        """As `Table.last`."""
        return await self._do("last", default)

    async def next(self, key: Any, default: Any = None) -> Any:
        """As `Table.next`."""
        return await self._do("next", key, default)

    async def prev(self, key: Any, default: Any = None) -> Any:
        """As `Table.prev`."""
        return await self._do("prev", key, default)

    async def info(self) -> TableInfo:
        """As `Table.info`."""
        return cast("TableInfo", await self._do("info"))

    async def statistics(self) -> TableStatistics:
        """As `Table.statistics`."""
        return cast("TableStatistics", await self._do("statistics"))

    # -- writing -----------------------------------------------------------------------------------

    async def insert(self, *rows: R) -> None:
        """As `Table.insert`."""
        await self._do("insert", *rows)

    async def insert_new(self, *rows: R) -> bool:
        """As `Table.insert_new`."""
        return cast("bool", await self._do("insert_new", *rows))

    async def delete(self, key: Any) -> bool:
        """As `Table.delete`."""
        return cast("bool", await self._do("delete", key))

    async def take(self, key: Any) -> list[R]:
        """As `Table.take`."""
        return cast("list[R]", await self._do("take", key))

    async def delete_object(self, row: R) -> int:
        """As `Table.delete_object`."""
        return cast("int", await self._do("delete_object", row))

    async def delete_all(self) -> None:
        """As `Table.delete_all`."""
        await self._do("delete_all")

    async def select_delete(self, where: Where[R] = None) -> int:
        """As `Table.select_delete`."""
        return cast("int", await self._do("select_delete", where))

    @overload
    async def update_counter(self, key: Any, op: CounterOp = 1, default: R | None = None) -> int: ...
    @overload
    async def update_counter(self, key: Any, op: list[CounterOp], default: R | None = None) -> list[int]: ...
    async def update_counter(self, key: Any, op: Any = 1, default: Any = None) -> Any:
        """As `Table.update_counter`."""
        return await self._do("update_counter", key, op, default)

    async def update_element(
        self, key: Any, updates: tuple[int, Any] | list[tuple[int, Any]], default: R | None = None
    ) -> bool:
        """As `Table.update_element`."""
        return cast("bool", await self._do("update_element", key, updates, default))

    async def select_replace(self, where: Where[R], change: Callable[[R], R]) -> int:
        """As `Table.select_replace`."""
        return cast("int", await self._do("select_replace", where, change))

    async def rename(self, name: Any) -> None:
        """As `Table.rename`."""
        await self._do("rename", name)

    async def drop(self) -> None:
        """As `Table.drop`."""
        await self._do("drop")

    async def sync(self) -> None:
        """As `DiskTable.sync`; a table in memory has nothing to do."""
        table = self.local
        if table is None:
            await self._ref.call(TableService.sync, self._which)
        else:
            await table.sync()

    # -- itself ------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not _is_handle(other):
            return NotImplemented
        return self._ref == other._ref and self._which == other._which

    def __hash__(self) -> int:
        return hash((self._ref, self._which))

    def __reduce__(self) -> tuple[Any, ...]:
        return TableHandle, (self._ref, self._which)

    def __repr__(self) -> str:
        return f"<TableHandle {self._which!r} of {self._ref!r}>"


def _is_handle(value: object) -> TypeGuard[TableHandle[Any]]:
    return isinstance(value, TableHandle)


def handle_of(table: Table[R]) -> TableHandle[R]:
    """A handle on this very table; starts what answers for the tables of its loop, if it is the first."""
    if not table.exists:
        raise NoSuchTable(table.name)
    catalogue = catalogue_of(table._node)
    if catalogue.server is None or catalogue.server.state == DEAD:
        catalogue.server = launch(table._node, TableServer._kb_info, (), {}, None)
    return TableHandle(ActorRef(catalogue.server), table.number)


def table(owner: ActorRef[TableOwner] | str | tuple[Any, ...], name: Any) -> TableHandle[Any]:
    """A handle on the table `name` of a `TableOwner`, given by its ref or its registered name.

    It finds the table at each use, so it survives restarts of the owner as far as the ref does.
    """
    ref: Any = owner if isinstance(owner, ActorRef) else named(TableService, owner)
    cls = ref._target().info.cls
    if not (isinstance(cls, type) and issubclass(cls, TableService)):
        raise UsageError(f"table takes the ref or the name of an otp.TableOwner, got {owner!r}")
    return TableHandle(ref, name)
