"""The attempt that runs now, and what it wants to happen together with its acknowledgement."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any

from ..._kernel._errors import UsageError
from ._rows import TaskRow

__all__ = ["Turn", "begin", "current", "end", "transact"]

Statement = tuple[str, dict[str, Any]]


@dataclass(slots=True)
class Turn:
    """One attempt of one task.

    Attributes:
        id: the task's, the same in every attempt: an idempotency key for effects elsewhere.
        attempt: from 1.
        statements: SQL that is run in the transaction of the acknowledgement.
        rows: tasks that are put in it.
    """

    id: str
    attempt: int
    statements: list[Statement] = field(default_factory=list)
    rows: list[TaskRow] = field(default_factory=list)


_turn: ContextVar[Turn | None] = ContextVar("koboshi_task_turn", default=None)


def begin(turn: Turn) -> Token[Turn | None]:
    """Make it the current one of this context."""
    return _turn.set(turn)


def end(token: Token[Turn | None]) -> None:
    """Undo `begin`."""
    _turn.reset(token)


def current() -> Turn:
    """The attempt that this code runs in.

    Raises:
        UsageError: it runs in none.
    """
    turn = _turn.get()
    if turn is None:
        raise UsageError("this can be called inside a task only, while a queue runs it")
    return turn


def transact(sql: str, /, **values: Any) -> None:
    """Inside a task: have a statement run in the transaction that records the task as done.

    It is run once, if the task is recorded, and not at all if it is not: whatever crashes, and however often the
    function ran. Statements are run in the order of these calls. One that the database refuses fails the attempt.

    Args:
        sql: one statement for the database of the queue's store, with `:name` in the places of values.

    Raises:
        UsageError: it is called outside of a task.
    """
    current().statements.append((sql, values))
