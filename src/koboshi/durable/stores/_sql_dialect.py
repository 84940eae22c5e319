"""What one family of servers does in its own way: its SQL, its types, and whose fault an error is.

A dialect is pure: values in, statements out. All that is sent to a server is here or in a subclass.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ._session import Row
from ._sql_url import SqlURL
from ._tables import Column, Kind, Table

__all__ = ["Dialect", "Fault", "Statement", "latest", "parts", "unique"]

#: A text in the manner of the driver, and its values.
Statement = tuple[str, tuple[Any, ...]]
Names = tuple[str, ...]


class Fault(enum.Enum):
    """Whose fault an error is."""

    #: The statement or its values are wrong.
    OPERATION = "operation"
    #: The transaction lost against another one, and is to be done again.
    CLASH = "clash"
    #: The server cannot be reached or cannot do it now.
    SERVER = "server"
    #: Somebody else holds a row of it for longer than a lock is waited for.
    LOCKED = "locked"
    #: The statement took longer than one may.
    SLOW = "slow"


class Dialect(ABC):
    """One family of servers."""

    types: dict[Kind, str]
    #: Gives the seconds since the epoch.
    clock: str
    #: Gives the names of the tables and columns of the database that we are in.
    catalogue: str
    #: Whether `insert_new` may fail on a key that another transaction has just added; done again, it sees it.
    races_on_insert = False

    savepoint = "SAVEPOINT kb_one"
    #: Forgets the savepoint; None: the end of the transaction does.
    release: str | None = "RELEASE SAVEPOINT kb_one"
    roll_back_to_savepoint = "ROLLBACK TO SAVEPOINT kb_one"

    #: Comes first in a transaction whose statements are all to see one moment; None: there is no way.
    steady: str | None = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

    #: Lets the statements of a transaction that follow wait for a moment only; None: there is no way.
    hurry: str | None = None

    def no_hurry(self, url: SqlURL) -> str | None:
        """Undoes that, where the end of the transaction does not."""
        return None

    # -- connecting --------------------------------------------------------------------------------

    def options(self, url: SqlURL) -> dict[str, Any]:
        """Arguments for the driver's `connect`."""
        return {}

    def setup(self, url: SqlURL, version: tuple[int | str, ...]) -> Sequence[str]:
        """Statements for a new connection.

        Raises:
            StoreUnusable: the server is too old.
        """
        return ()

    #: Asks what this dialect has to know of the server; None: nothing.
    question: str | None = None

    def learn(self, answer: Any) -> None:  # noqa: B027 - most have nothing to learn
        """Take what the server has answered to that."""

    def check(self, values: Iterable[Any]) -> None:  # noqa: B027 - most take what comes
        """Refuse values of a statement that no connection would survive.

        Raises:
            UsageError: they are too large.
        """

    @abstractmethod
    def fault(self, error: Exception) -> Fault:
        """Whose fault an error of the driver is."""

    # -- presence ----------------------------------------------------------------------------------

    def hold(self, incarnation: str) -> Statement | None:
        """Takes a lock that shows others that this host is there; None: this family knows of none."""
        return None

    def held(self, incarnations: Sequence[str], settled: float) -> Statement | None:
        """Finds those whose locks are held; all of them while the server is up for less than `settled` seconds."""
        return None

    # -- rows --------------------------------------------------------------------------------------

    @abstractmethod
    def insert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """Add rows; a key that is there is an error."""

    @abstractmethod
    def insert_new(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """Add the rows whose key is not there."""

    @abstractmethod
    def update(self, table: Table, match: Names, change: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """Change the rows that match."""

    @abstractmethod
    def upsert(self, table: Table, columns: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """Add rows or replace them."""

    @abstractmethod
    def delete(self, table: Table, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """Delete the rows that match."""

    @abstractmethod
    def lookup(self, table: Table, columns: Names, match: Names, rows: Sequence[Row]) -> Iterator[Statement]:
        """Find the rows that match."""

    def text(self, text: str) -> str:
        """A text that all engines understand, as this family writes it."""
        return text

    def taking(self, text: str) -> str:
        """The same, for a query that holds the rows it finds and passes over those that others hold."""
        return f"{self.text(text)} FOR UPDATE SKIP LOCKED"

    #: Finds the count of writes in a host's row. It waits for a transaction that still holds the row.
    writes = "SELECT writes FROM kb_host WHERE host_id = :host FOR UPDATE"

    # -- tables ------------------------------------------------------------------------------------

    #: Whether CREATE TABLE is undone by ROLLBACK.
    transactional_ddl = True

    def type_of(self, column: Column) -> str:
        """The type of a column."""
        return self.types[column.kind].format(length=column.length)

    def create(self, table: Table) -> list[str]:
        """The statements that make a table and its indexes."""
        columns = [
            f"{each.name} {self.type_of(each)}{'' if each.nullable else ' NOT NULL'}"
            for each in table.columns
        ]
        key = f"PRIMARY KEY ({', '.join(table.key)})"
        return [
            f"CREATE TABLE {table.name} ({', '.join([*columns, key])})",
            *(
                f"CREATE INDEX {each.name} ON {table.name} ({', '.join(each.columns)})"
                for each in table.indexes
            ),
        ]

    #: Makes the table of versions unless it is there.
    create_schema = "CREATE TABLE IF NOT EXISTS kb_schema (version INTEGER NOT NULL PRIMARY KEY)"

    def note_version(self, number: int) -> str:
        """Notes that the tables of a version are there."""
        return f"INSERT INTO kb_schema (version) VALUES ({number})"

    def lock(self, url: SqlURL) -> Statement | None:
        """Lets one program at a time make tables; held until the end of the transaction or `unlock`."""
        return None

    def unlock(self) -> Statement | None:
        """Gives the lock back, where the end of the transaction does not."""
        return None


def parts(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """The rows in portions of `size` at most."""
    if len(rows) <= size:
        if rows:
            yield rows
        return
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def latest(table: Table, columns: Names, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows without those whose key comes again further on: a statement may meet each key only once."""
    if len(rows) < 2:
        return rows
    places = [columns.index(name) for name in table.key]
    found = {tuple(row[place] for place in places): row for row in rows}
    return rows if len(found) == len(rows) else list(found.values())


def unique(table: Table, columns: Names, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows without those whose key was there before, where a statement does not see what it has added."""
    return latest(table, columns, rows[::-1])[::-1]
