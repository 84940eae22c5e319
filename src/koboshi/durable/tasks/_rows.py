"""Tasks as rows: how they are put, inside a transaction that somebody else begins and commits."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from ..stores import Session
from ..stores._tables import TASK, TASK_UNIQUE

__all__ = ["FOREVER", "PUT_COLUMNS", "TaskRow", "new_id", "put_rows"]

PUT_COLUMNS = (
    "queue_name",
    "task_id",
    "function_name",
    "payload",
    "state",
    "priority",
    "turn",
    "due_at",
    "attempts",
    "interruptions",
    "token",
    "batch_id",
    "unique_key",
    "put_at",
)

#: When what is kept for ever may be forgotten.
FOREVER = 1e15

# Between two tasks of one transaction, in seconds, so that they are run in the order in which they were put.
_APART = 1e-6

_numbers = count()
_process = os.urandom(4).hex()


def _renew() -> None:
    global _process
    _process = os.urandom(4).hex()


os.register_at_fork(after_in_child=_renew)


def new_id() -> str:
    """An id that no other task has. They rise, because rows in the order of their key are written faster."""
    return f"{time.time_ns() // 1000:014x}-{_process}-{next(_numbers):x}"


class TaskRow(NamedTuple):
    """One task that is to be put.

    Attributes:
        run_at: seconds since the epoch; None: now.
        delay: seconds from the transaction on, in place of `run_at`.
        unique: only if no other task with this key waits or runs.
    """

    queue: str
    id: str
    function: str
    payload: bytes
    priority: int = 0
    run_at: float | None = None
    delay: float | None = None
    batch: str | None = None
    unique: str | None = None


def put_rows(session: Session, rows: Sequence[TaskRow]) -> list[tuple[str, bool]]:
    """Add tasks to their queues.

    Returns:
        For each, in order: the id of the task that is there now, and whether it is new. The id is another one
        where `unique` found a task that waits or runs.
    """
    found = _taken(session, rows) if _any_unique(rows) else {}
    fresh = [row for index, row in enumerate(rows) if index not in found]
    mark = os.urandom(8)
    added = _insert(session, fresh, mark)
    if added == len(fresh):
        return [(found.get(index, row.id), index not in found) for index, row in enumerate(rows)]
    keys = [(row.queue, row.id) for row in fresh]
    mine = {
        (queue, id)
        for queue, id, token in session.lookup(
            TASK, ("queue_name", "task_id", "token"), ("queue_name", "task_id"), keys
        )
        if token == mark
    }
    outcome: list[tuple[str, bool]] = []
    for index, row in enumerate(rows):
        key = (row.queue, row.id)
        outcome.append((found.get(index, row.id), index not in found and key in mine))
        mine.discard(key)  # of two with one id in the same list, the first is the new one
    return outcome


def _any_unique(rows: Sequence[TaskRow]) -> bool:
    return any(row.unique is not None for row in rows)


def _insert(session: Session, rows: Sequence[TaskRow], mark: bytes) -> int:
    if not rows:
        return 0
    now = session.now
    values: list[tuple[object, ...]] = []
    for index, row in enumerate(rows):
        if row.run_at is not None:
            due = row.run_at
        else:
            due = now + (row.delay or 0.0) + index * _APART
        later = due > now and (row.run_at is not None or bool(row.delay))
        values.append(
            (
                row.queue,
                row.id,
                row.function,
                row.payload,
                "later" if later else "ready",
                row.priority,
                0 if later else -row.priority,
                due,
                0,
                0,
                mark,
                row.batch,
                row.unique,
                now,
            )
        )
    return session.insert(TASK, PUT_COLUMNS, values, ignore=True)


def _taken(session: Session, rows: Sequence[TaskRow]) -> dict[int, str]:
    """Which rows are not to be put, by index, because another task holds their key: its id."""
    wanted = [(row.queue, row.unique, row.id) for row in rows if row.unique is not None]
    held: dict[tuple[str, str], str] = {}
    # Whoever is first has the key; on servers the others wait here for the first one's commit. They may also find a
    # key taken that is gone when they look whose it is: its task has ended between the two statements.
    while missing := [each for each in wanted if each[:2] not in held]:
        session.insert(TASK_UNIQUE, ("queue_name", "unique_key", "task_id"), missing, ignore=True)
        keys = list({(queue, key) for queue, key, _ in missing})
        for queue, key, id in session.lookup(
            TASK_UNIQUE, ("queue_name", "unique_key", "task_id"), ("queue_name", "unique_key"), keys
        ):
            held[queue, key] = id
    return {
        index: held[row.queue, row.unique]
        for index, row in enumerate(rows)
        if row.unique is not None and held[row.queue, row.unique] != row.id
    }
