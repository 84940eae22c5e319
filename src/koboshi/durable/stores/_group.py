"""Group commit: many operations, one transaction.

Synchronous and the same for all engines. The rules:

- Nobody learns of a result before the COMMIT that holds it has returned.
- A group is first done together, without savepoints. If an operation turns out bad, the group is rolled back
  and done once more with a savepoint around each, so that only the bad one fails. Hence operations can be
  repeated.
- Behind an operation that took too long the others of its group are done, if they need no such wait: all else
  of this host waits as well, its lease among it.
- Up to COMMIT every failure is clean: nothing was written. A COMMIT that fails is looked up afterwards by the
  count of writes in the host's row; only where that does not show that it never happened, the outcome is
  unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

from ._operation import Operation, Outcome
from ._session import Session
from ._tables import HOST

__all__ = ["Connection", "perform_group"]


class Connection(Protocol):
    """One connection of an engine. Its errors are the driver's own."""

    def begin(self, *, writes: bool) -> Session:
        """Begin a transaction."""
        ...

    def commit(self) -> None:
        """Make it last."""
        ...

    def roll_back(self) -> None:
        """Undo it. A connection that cannot is closed, which undoes it too."""
        ...

    def savepoint(self) -> None:
        """Mark a place in the transaction."""
        ...

    def release(self) -> None:
        """Forget the mark."""
        ...

    def roll_back_to_savepoint(self) -> None:
        """Undo what was done since the mark, and forget it."""
        ...

    def is_to_blame(self, error: Exception) -> bool:
        """Whether the database, and not the operation, is at fault."""
        ...

    def took_long(self, error: Exception) -> bool:
        """Whether an operation failed because it waited or worked longer than it may."""
        ...

    def hurry(self) -> None:
        """Wait for less in the rest of this transaction."""
        ...

    def out_of_time(self) -> Exception | None:
        """What to tell the operations that are left, when those in a hurry have used up their time too."""
        ...


_DONE = Outcome(None, None)


class _BadOperation(Exception):
    """An operation failed by its own fault; the cause says how."""


def perform_group(
    connection: Connection, operations: Sequence[Operation[Any]], host: str | None, write: int
) -> tuple[list[Outcome], bool]:
    """Do everything up to the COMMIT, which is the caller's.

    Args:
        host: the row that counts the host's writes; None: there is none yet.
        write: the number of this write.

    Returns:
        One outcome for each operation, in order, and whether anything was written and so counted.
    """
    writes = any(each.writes for each in operations)
    try:
        return _done(connection, operations, host, write, writes, together=True)
    except _BadOperation as bad:
        cause = bad.__cause__
        if len(operations) == 1 and isinstance(cause, Exception) and connection.took_long(cause):
            return [Outcome(None, cause)], False
    # Outside of the except clause, so that errors do not tell of the first go as their context: people read them.
    return _done(connection, operations, host, write, writes, together=False)


def _done(
    connection: Connection,
    operations: Sequence[Operation[Any]],
    host: str | None,
    write: int,
    writes: bool,
    *,
    together: bool,
) -> tuple[list[Outcome], bool]:
    session = connection.begin(writes=writes)
    try:
        outcomes = (_together if together else _one_by_one)(connection, session, operations)
        # Of a group that failed as a whole nothing is left, not even the session.
        writes = writes and any(each.error is None for each in outcomes)
        if writes and host is not None:
            _count(connection, session, host, write, together=together)
    except BaseException:
        connection.roll_back()
        raise
    return outcomes, writes


def _count(connection: Connection, session: Session, host: str, write: int, *, together: bool) -> None:
    try:
        session.update(HOST, ("host_id",), ("writes",), [(host, write)])
    except Exception as error:
        # An operation has swallowed an error of its own, and the transaction did not survive that.
        if together and not connection.is_to_blame(error):
            raise _BadOperation from error
        raise


def _together(
    connection: Connection, session: Session, operations: Sequence[Operation[Any]]
) -> list[Outcome]:
    kinds = {type(each) for each in operations}
    if len(kinds) == 1:
        return _of_one_kind(connection, session, kinds.pop(), operations)
    found: list[Outcome | None] = [None] * len(operations)
    order = sorted(range(len(operations)), key=lambda index: operations[index].rank)
    for kind, each in itertools.groupby(order, key=lambda index: type(operations[index])):
        places = list(each)
        outcomes = _of_one_kind(connection, session, kind, [operations[index] for index in places])
        for index, outcome in zip(places, outcomes, strict=True):
            found[index] = outcome
    return [each for each in found if each is not None]


def _of_one_kind(
    connection: Connection, session: Session, kind: type[Operation[Any]], operations: Sequence[Operation[Any]]
) -> list[Outcome]:
    try:
        values = kind.perform_all(session, operations)
    except Exception as error:
        if connection.is_to_blame(error):
            raise
        raise _BadOperation from error
    return [_DONE if value is None else Outcome(value, None) for value in values]


def _one_by_one(
    connection: Connection, session: Session, operations: Sequence[Operation[Any]]
) -> list[Outcome]:
    found: list[Outcome | None] = [None] * len(operations)
    for index in sorted(range(len(operations)), key=lambda index: operations[index].rank):
        each = operations[index]
        late = connection.out_of_time()
        if late is not None:
            found[index] = Outcome(None, late)
            continue
        connection.savepoint()
        try:
            [value] = type(each).perform_all(session, [each])
            connection.release()
        except Exception as error:
            if connection.is_to_blame(error):
                raise
            connection.roll_back_to_savepoint()
            found[index] = Outcome(None, error)
            if connection.took_long(error):
                connection.hurry()
        else:
            found[index] = Outcome(value, None)
    return [each for each in found if each is not None]
