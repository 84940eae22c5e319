"""`TableOwner`: an actor whose only work is to own tables, so that they outlive whoever uses them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..._kernel._errors import UsageError
from ..._kernel._message import message
from ..._kernel._ref import ActorRef
from ._disk_table import DiskTable, check_seconds
from ._errors import NoSuchTable, TableNameTaken
from ._handle import TableHandle
from ._serving import TableService
from ._stores import Access, Kind
from ._table import Table, TableTransfer, check_options


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table for a `TableOwner` to make: the options of `Table`, or with a `path` those of `DiskTable.open`.

    Tables are "public" by default here, since those who use them do not own them.
    """

    name: Any
    kind: Kind = "set"
    access: Access = "public"
    key: int = 0
    named: bool = False
    path: str | os.PathLike[str] | None = None
    auto_save: float | None = 3.0

    def __post_init__(self) -> None:
        check_options(self.name, self.kind, self.access, self.key, self.named)
        check_seconds("auto_save", self.auto_save)


@dataclass(frozen=True, slots=True)
class TableOwnerStatistics:
    """What a `TableOwner` has at one moment: tables, rows in them, and how many tables are lent."""

    tables: int
    rows: int
    lent: int


class TableOwner(TableService):
    """Owns tables: `kb.child(otp.TableOwner, otp.TableSpec("hits")).options(id="tables", name="tables")`.

    `otp.table("tables", "hits")` is a handle on one of them, on every node.

    Args:
        specs: the tables to make, in this order, before it takes messages.

    Raises:
        UsageError: something is no spec, or two have one name.
    """

    def __init__(self, *specs: TableSpec) -> None:
        seen: set[Any] = set()
        for spec in specs:
            if not isinstance(spec, TableSpec):
                raise UsageError(f"a TableOwner takes specs, such as otp.TableSpec('hits'), got {spec!r}")
            if spec.name in seen:
                raise UsageError(f"two tables are called {spec.name!r}; give one another name")
            seen.add(spec.name)
        self._specs = specs
        self.is_up = False
        self._tables: dict[Any, Table[Any]] = {}

    async def on_start(self) -> None:
        for spec in self._specs:
            await self._make(spec)
        self.is_up = True

    async def _make(self, spec: TableSpec) -> Table[Any]:
        made: Table[Any]
        options: Any = {"kind": spec.kind, "access": spec.access, "key": spec.key, "named": spec.named}
        if spec.path is None:
            made = Table(spec.name, **options)
        else:
            made = await DiskTable[Any].open(spec.path, name=spec.name, auto_save=spec.auto_save, **options)
        made.set_heir(self.me)
        self._tables[spec.name] = made
        return made

    def find(self, which: Any) -> Table[Any]:
        """The table of this name. Raises `NoSuchTable`."""
        found = self._tables.get(which)
        if found is None or not found.exists:
            raise NoSuchTable(which)
        return found

    def on_info(self, message: Any) -> None:
        """A table that was lent comes back, or one that somebody gives away is taken in under its name."""
        if isinstance(message, TableTransfer):
            table = message.table
            if table in self._tables.values():
                return
            holder = self._tables.get(table.name)
            if holder is None or not holder.exists:
                self._tables[table.name] = table
                return
            table.drop()  # nobody could find it
        super().on_info(message)

    # -- messages ----------------------------------------------------------------------------------

    @message
    async def create(self, spec: TableSpec) -> TableHandle[Any]:
        """Make one more table.

        Raises:
            TableNameTaken: it has one of this name.
            TableFileError: as `DiskTable.open`.
        """
        if not isinstance(spec, TableSpec):
            raise UsageError(f"create takes a spec, such as otp.TableSpec('hits'), got {spec!r}")
        old = self._tables.get(spec.name)
        if old is not None and old.exists:
            raise TableNameTaken(spec.name, old.owner_label)
        await self._make(spec)
        return TableHandle(self.me, spec.name)

    @message
    def drop(self, name: Any) -> None:
        """Delete a table; a file stays. Raises `NoSuchTable`, or `AccessDenied` when it is lent."""
        self.find(name).drop()
        del self._tables[name]

    @message
    def lend(self, name: Any, borrower: ActorRef[Any]) -> None:
        """Give a table to a process of this event loop until its end; it gets a `TableTransfer`.

        Raises:
            NoSuchTable: there is none of this name.
            AccessDenied: it is lent already.
            UsageError, ActorExited: as `Table.give_away`.
        """
        self.find(name).give_away(borrower, name)

    @message
    def names(self) -> list[Any]:
        """The names of all tables, the oldest first."""
        return [name for name, table in self._tables.items() if table.exists]

    @message
    def statistics(self) -> TableOwnerStatistics:
        """Figures at this moment."""
        there = [table for table in self._tables.values() if table.exists]
        return TableOwnerStatistics(
            tables=len(there),
            rows=sum(table.statistics().rows for table in there),
            lent=sum(1 for table in there if table._owner is not self._kb_cell),
        )

    def __repr__(self) -> str:
        return f"<TableOwner of {len(self._tables)} tables>"
