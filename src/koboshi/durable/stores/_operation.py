"""One thing to be done in a store, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ._session import Session

__all__ = ["Change", "Operation", "Outcome", "Query"]

T = TypeVar("T")


class Outcome(NamedTuple):
    """What one operation gave: a value, or the error to raise at its caller."""

    value: Any
    error: Exception | None


class Operation(Generic[T]):
    """Something that is done inside a transaction that it shares with others.

    It may be run again after a rollback. An error that it raises is its own: the others are done without it.
    """

    #: Whether it changes anything.
    writes: ClassVar[bool] = True
    #: Operations with a lower number are done before others of their group, whatever the order of asking.
    rank: ClassVar[int] = 1
    #: Whether all its statements see the store as it was at one moment; else each may see what others have committed
    #: since the one before. For what changes nothing.
    steady: bool = False

    def seal(self) -> None:
        """Called on the event loop when it is handed over: nothing may be added to it any more."""

    def perform(self, session: Session) -> T:
        """Do it."""
        raise NotImplementedError

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Any]) -> list[Any]:
        """Do several of this class that follow each other; their values, in order.

        A class that can do many at once has its own. If one of them is bad it raises, and all are done
        again one by one.
        """
        return [each.perform(session) for each in operations]


class Query(Operation[T]):
    """A function of a session, as an operation that changes nothing."""

    writes = False
    rank = 2

    def __init__(self, read: Callable[[Session], T], *, steady: bool = False) -> None:
        self._read = read
        self.steady = steady

    def perform(self, session: Session) -> T:
        return self._read(session)


class Change(Operation[T]):
    """A function of a session, as an operation."""

    def __init__(self, write: Callable[[Session], T]) -> None:
        self._write = write

    def perform(self, session: Session) -> T:
        return self._write(session)
