"""All tables of one event loop, by number and, the named ones, by name."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ..._kernel._node import Node, this_node
from ._errors import NoSuchTable, TableNameTaken

if TYPE_CHECKING:
    from ..._kernel._cell import Cell
    from ._table import Table


class Catalogue:
    """Knows each table from its making until it is gone."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.tables: dict[int, Table[Any]] = {}
        self.names: dict[Any, Table[Any]] = {}
        # The actor that answers for these tables to other nodes, once a handle was asked for.
        self.server: Cell | None = None

    def add(self, table: Table[Any], name: Any, *, named: bool) -> int:
        """Take a table in; its number.

        Raises:
            TableNameTaken: it is named and there is another one of this name.
        """
        if named:
            self.take_name(table, name)
        number = next(self._numbers)
        self.tables[number] = table
        return number

    def take_name(self, table: Table[Any], name: Any) -> None:
        """Give a table a name. Raises `TableNameTaken`."""
        holder = self.names.get(name)
        if holder is not None and holder is not table:
            raise TableNameTaken(name, holder.owner_label)
        self.names[name] = table

    def remove(self, table: Table[Any]) -> None:
        """Forget a table."""
        self.tables.pop(table.number, None)
        if self.names.get(table.name) is table:
            del self.names[table.name]


def catalogue_of(node: Node) -> Catalogue:
    """The catalogue of a node, made on first use."""
    found: Catalogue = node.services.setdefault("tables", Catalogue())
    return found


def named_table(name: Any) -> Table[Any]:
    """The table of this event loop that was made with `named=True` under this name.

    Raises:
        NoSuchTable: there is none.
    """
    found = catalogue_of(this_node()).names.get(name)
    if found is None:
        raise NoSuchTable(name)
    return found


def all_tables() -> list[Table[Any]]:
    """All tables of this event loop, the oldest first."""
    return list(catalogue_of(this_node()).tables.values())
