"""One transaction on a server, and the connection that it is on; runs where SQLAlchemy wants its sync code.

What is sent, and whose fault an error is, the dialect says.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from .._error_text import first_line
from .._failures import StatementRefused, StoreUnavailable
from ._refused import refused
from ._session import Row, Select
from ._sql_dialect import Dialect, Fault, Statement
from ._sql_url import SqlURL
from ._tables import Table

__all__ = ["ServerLost", "SqlConnection", "SqlSession", "fault_of", "said"]

Touch = Callable[[], None]
_OTHERS_TOOK_LONG = "others of its group took too long"
# Another transaction may add the same key between our looking and our adding, but not over and over.
_RACES = 10


class ServerLost(Exception):
    """The connection broke under the driver, which reported it in its own way; the cause says how."""


def fault_of(error: BaseException, dialect: Dialect) -> Fault:
    """Whose fault an error is that came out of an operation or a statement."""
    if isinstance(error, ServerLost):
        return Fault.SERVER
    if isinstance(error, DBAPIError):
        original = error.orig
        if error.connection_invalidated or not isinstance(original, Exception):
            return Fault.SERVER
        return dialect.fault(original)
    return Fault.OPERATION


def said(error: BaseException) -> str:
    """What the driver said, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, TimeoutError):
        return "no answer in time"
    return first_line(original)


class SqlSession:
    """See `Session`.

    Attributes:
        hurried: whether statements have less time than they may have otherwise.
    """

    def __init__(self, connection: sa.Connection, dialect: Dialect, touch: Touch, url: SqlURL) -> None:
        self._connection = connection
        self._dialect = dialect
        self._url = url
        self._touch = touch
        self._now: float | None = None
        self.hurried = False

    @property
    def now(self) -> float:
        """See `Session.now`."""
        if self._now is None:
            self._now = float(self._do((self._dialect.clock, ())).scalar_one())
        return self._now

    @property
    def lease_now(self) -> float:
        """The same: servers have one clock."""
        return self.now

    def insert(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Row], *, ignore: bool = False
    ) -> int:
        """See `Session.insert`."""
        if not ignore:
            return self._change(self._dialect.insert(table, columns, rows))
        return sum(self._insert_new(each) for each in self._dialect.insert_new(table, columns, rows))

    def _insert_new(self, statement: Statement) -> int:
        attempts = _RACES if self._dialect.races_on_insert else 1
        while True:
            attempts -= 1
            try:
                return self._do(statement).rowcount
            except IntegrityError:
                if not attempts:
                    raise

    def update(
        self, table: Table, match: tuple[str, ...], change: tuple[str, ...], rows: Sequence[Row]
    ) -> int:
        """See `Session.update`."""
        return self._change(self._dialect.update(table, match, change, rows))

    def upsert(self, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        """See `Session.upsert`."""
        self._change(self._dialect.upsert(table, columns, rows))

    def delete(self, table: Table, match: tuple[str, ...], rows: Sequence[Row]) -> int:
        """See `Session.delete`."""
        return self._change(self._dialect.delete(table, match, rows))

    def lookup(
        self, table: Table, columns: tuple[str, ...], match: tuple[str, ...], rows: Sequence[Row]
    ) -> list[Row]:
        """See `Session.lookup`."""
        return [
            tuple(row)
            for statement in self._dialect.lookup(table, columns, match, rows)
            for row in self._do(statement)
        ]

    def fetch(self, query: Select, *values: Any) -> list[Row]:
        """See `Session.fetch`."""
        return [_plain(row) for row in self._ask(self._dialect.text(query.text), query, values)]

    def take(self, query: Select, *values: Any) -> list[Row]:
        """See `Session.take`."""
        return [_plain(row) for row in self._ask(self._dialect.taking(query.text), query, values)]

    def run(self, change: Select, *values: Any) -> int:
        """See `Session.run`."""
        return self._ask(self._dialect.text(change.text), change, values).rowcount

    def execute(self, text: str, values: Mapping[str, Any]) -> list[Row]:
        """See `Session.execute`."""
        try:
            self._dialect.check(values.values())
            result = self._guarded(lambda: self._connection.execute(sa.text(text), dict(values)))
        except StoreUnavailable:
            raise
        except Exception as error:
            fault = fault_of(error, self._dialect)
            if fault is Fault.SLOW and self.hurried:
                raise StoreUnavailable(self._url.shown, _OTHERS_TOOK_LONG) from error
            # One that is too slow is refused: done again it would take as long, and hold up everybody else.
            if fault not in (Fault.OPERATION, Fault.SLOW):
                raise
            of_driver = _of_driver(error)
            raise refused(text, of_driver) from of_driver.with_traceback(None)
        return [tuple(row) for row in result] if result.returns_rows else []

    def _change(self, statements: Iterator[Statement]) -> int:
        return sum(self._do(statement).rowcount for statement in statements)

    def _ask(self, text: str, query: Select, values: tuple[Any, ...]) -> sa.CursorResult[Any]:
        clause = _clause(text)
        named = dict(zip(query.names, values, strict=True))
        return self._guarded(lambda: self._connection.execute(clause, named))

    def _do(self, statement: Statement) -> sa.CursorResult[Any]:
        return self._guarded(lambda: self._connection.exec_driver_sql(*statement))

    def _guarded(self, send: Callable[[], sa.CursorResult[Any]]) -> sa.CursorResult[Any]:
        """Have a statement done; what breaks below the driver is told apart from an operation's errors."""
        self._touch()
        try:
            return send()
        except (OSError, EOFError) as error:
            raise ServerLost(str(error) or type(error).__name__) from error
        except DBAPIError as error:
            if fault_of(error, self._dialect) is Fault.LOCKED:
                found = f"a row is locked by somebody else ({said(error)})"
                raise StoreUnavailable(self._url.shown, found) from error
            raise


def _of_driver(error: Exception) -> BaseException:
    """The driver's own error, where SQLAlchemy has wrapped one."""
    original = error.orig if isinstance(error, StatementError) else None
    return error if original is None else original.__cause__ or original


@functools.lru_cache(maxsize=512)
def _clause(text: str) -> sa.TextClause:
    return sa.text(text)


def _plain(row: Sequence[Any]) -> Row:
    """A row with numbers as all engines give them: sums of integers are integers."""
    if not any(type(value) is Decimal for value in row):
        return tuple(row)
    return tuple(_number(value) if type(value) is Decimal else value for value in row)


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


class SqlConnection:
    """See `Connection`.

    Args:
        steady: whether all statements of a transaction see one moment; it changes nothing then.

    Attributes:
        committing: whether COMMIT was sent and not answered.
    """

    def __init__(
        self, connection: sa.Connection, dialect: Dialect, touch: Touch, url: SqlURL, *, steady: bool = False
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._touch = touch
        self._url = url
        self._steady = steady
        self._session: SqlSession | None = None
        self._until = 0.0
        self.committing = False

    def begin(self, *, writes: bool) -> SqlSession:
        """See `Connection.begin`."""
        self._connection.begin()
        if self._steady:
            self._send(self._dialect.steady)
        self._session = SqlSession(self._connection, self._dialect, self._touch, self._url)
        return self._session

    def commit(self) -> None:
        """See `Connection.commit`."""
        self._take_time_again()
        self._touch()
        self.committing = True
        try:
            self._connection.commit()
        except (OSError, EOFError) as error:
            raise ServerLost(str(error) or type(error).__name__) from error
        self.committing = False

    def roll_back(self) -> None:
        """See `Connection.roll_back`."""
        self._touch()
        try:
            self._connection.rollback()
            self._take_time_again()
        except (SQLAlchemyError, OSError, EOFError) as error:
            self._connection.invalidate(error)

    def savepoint(self) -> None:
        """See `Connection.savepoint`."""
        self._send(self._dialect.savepoint)

    def release(self) -> None:
        """See `Connection.release`."""
        self._send(self._dialect.release)

    def roll_back_to_savepoint(self) -> None:
        """See `Connection.roll_back_to_savepoint`."""
        self._send(self._dialect.roll_back_to_savepoint)

    def _send(self, text: str | None) -> None:
        # Not SQLAlchemy's own savepoints: one of those is over when its release fails.
        self._touch()
        if text is not None:
            self._connection.exec_driver_sql(text)

    def is_to_blame(self, error: Exception) -> bool:
        """See `Connection.is_to_blame`."""
        return fault_of(error, self._dialect) is not Fault.OPERATION

    def took_long(self, error: Exception) -> bool:
        """See `Connection.took_long`."""
        if isinstance(error, StatementRefused):
            return (
                isinstance(error.__cause__, Exception) and self._dialect.fault(error.__cause__) is Fault.SLOW
            )
        # The session says so of a row that is locked; what else the server is to blame for ends the group.
        return isinstance(error, StoreUnavailable)

    def hurry(self) -> None:
        """See `Connection.hurry`."""
        assert self._session is not None
        if not self._session.hurried:
            self._session.hurried = True
            self._until = time.monotonic() + self._url.statement_timeout
            self._send(self._dialect.hurry)

    def out_of_time(self) -> Exception | None:
        """See `Connection.out_of_time`."""
        if self._session is None or not self._session.hurried or time.monotonic() < self._until:
            return None
        return StoreUnavailable(self._url.shown, _OTHERS_TOOK_LONG)

    def _take_time_again(self) -> None:
        if self._session is not None and self._session.hurried:
            self._session.hurried = False
            self._send(self._dialect.no_hurry(self._url))
