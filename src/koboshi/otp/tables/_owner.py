"""`TableOwner`: an actor that does nothing but own tables, so that they outlive those who use them."""

from __future__ import annotations

from typing import Any

from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._message import message
from ..._kernel._reply import defer
from ._anywhere import TableHandle
from ._table import NoTable, Table, new_table

__all__ = ["TableOwner"]


class TableOwner(Actor):
    """Owns tables: `kb.child(otp.TableOwner, {"sessions": {"access": "public"}})`.

    Put it before the users of the tables in a tree: their crashes cost no row.

    Args:
        tables: by name, the options that `new_table` takes.
    """

    def __init__(self, tables: dict[Any, dict[str, Any]]) -> None:
        made: object = tables
        if not isinstance(made, dict):
            raise UsageError(f"tables takes options by name, got {tables!r}")
        self._wanted = tables
        self.tables: dict[Any, Table] = {}

    def on_start(self) -> None:
        for name, options in self._wanted.items():
            try:
                self.tables[name] = new_table(name, **options)
            except TypeError as error:
                raise UsageError(f"the options of the table {name!r} do not fit: {error}") from None

    @message
    def handle(self, name: Any) -> TableHandle:
        """The table of that name, for use on any node. Raises `NoTable`."""
        found = self.tables.get(name)
        if found is None:
            known = ", ".join(map(repr, self.tables))
            defer().fail(NoTable(f"{self.me!r} owns no table {name!r}; its tables are: {known}"))
            return None  # type: ignore[return-value]  # the reply is the error
        return found.anywhere
