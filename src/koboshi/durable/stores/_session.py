"""The seam between durable work and a database: what may be done inside one transaction.

Everything that koboshi writes goes through `insert`, `update`, `upsert` and `delete`, which take many rows
at once and are data and not text, so each engine writes them in its own SQL. What is read is text that all
engines understand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ._tables import Table

__all__ = ["Row", "Select", "Session"]

Row = tuple[Any, ...]

_NAME = re.compile(r"(?<![:\w]):([a-z_]+)")


class Select:
    """One query, with `:name` in the places of values, which are given in the order of their first
    appearance.

    It may end in `LIMIT :name`, and needs an `ORDER BY` then.
    """

    __slots__ = ("names", "numbered", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: tuple[str, ...] = tuple(dict.fromkeys(_NAME.findall(text)))
        places = {name: index for index, name in enumerate(self.names, 1)}
        #: With `?1` for the first name, `?2` for the second and so on.
        self.numbered = _NAME.sub(lambda found: f"?{places[found[1]]}", text)


class Session(Protocol):
    """One open transaction. Whoever opened it commits it; what runs in it may be run again after a
    rollback.

    What runs in it does not catch errors of it: a change of many rows that fails may have made a part of them, and
    only the rollback takes those away.
    """

    @property
    def now(self) -> float:
        """Seconds since the epoch by the database's clock, asked once in a transaction."""
        ...

    @property
    def lease_now(self) -> float:
        """The time that leases are judged by: a clock of the database that nobody sets, where it has one."""
        ...

    def insert(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Row], *, ignore: bool = False
    ) -> int:
        """Add rows; how many were added.

        Args:
            ignore: leave out those whose primary key is there. Without it one of those fails all.
        """
        ...

    def update(
        self, table: Table, match: tuple[str, ...], change: tuple[str, ...], rows: Sequence[Row]
    ) -> int:
        """Change rows; each of `rows` has the values of `match` and then the new ones of `change`.

        Returns:
            How many rows of the table matched. `match` begins with the primary key.
        """
        ...

    def upsert(self, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        """Add rows, or replace those whose primary key is there."""
        ...

    def delete(self, table: Table, match: tuple[str, ...], rows: Sequence[Row]) -> int:
        """Delete the rows that match; how many there were."""
        ...

    def lookup(
        self, table: Table, columns: tuple[str, ...], match: tuple[str, ...], rows: Sequence[Row]
    ) -> list[Row]:
        """The rows that match, in no order; `match` is the primary key or begins with it or an index."""
        ...

    def fetch(self, query: Select, *values: Any) -> list[Row]:
        """What a query finds."""
        ...

    def take(self, query: Select, *values: Any) -> list[Row]:
        """What a query of one table finds, held for this transaction until it ends.

        Rows that another transaction holds are passed over, so that several programs which take from the head of
        one list get different rows and do not wait for each other.
        """
        ...

    def run(self, change: Select, *values: Any) -> int:
        """Change rows by a condition that is no list of rows; how many were changed."""
        ...

    def execute(self, text: str, values: Mapping[str, Any]) -> list[Row]:
        """Run a statement of the user's own, with `:name` in the places of values; what it gives back."""
        ...
