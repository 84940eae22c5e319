"""Putting tasks, as an operation of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ..stores import Operation, Select, Session
from ._rows import TaskRow, put_rows

__all__ = ["FULL", "PutTasks"]

#: In place of the outcome: the queue has no room for these tasks, and none of them was put.
FULL: list[tuple[str, bool]] = []

_WAITING = Select(
    "SELECT COUNT(*) FROM kb_task WHERE queue_name = :queue AND (state = 'ready' OR state = 'later')"
)


class PutTasks(Operation[list[tuple[str, bool]]]):
    """Put all of some tasks or none; see `put_rows` for what it gives.

    Args:
        limit: tasks that may wait in the queue, these included; None: any number.
    """

    rank = 4

    def __init__(self, rows: Sequence[TaskRow], limit: int | None = None) -> None:
        self._rows = rows
        self._limit = limit

    def perform(self, session: Session) -> list[tuple[str, bool]]:
        """See `Operation.perform`."""
        [found] = self.perform_all(session, [self])
        return cast("list[tuple[str, bool]]", found)

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Any]) -> list[Any]:
        """See `Operation.perform_all`."""
        waiting: dict[str, int] = {}
        admitted: list[bool] = []
        rows: list[TaskRow] = []
        for each in operations:
            fits = each._limit is None or not each._rows or each._fits(session, waiting)
            admitted.append(fits)
            if fits:
                rows += each._rows
        outcome = put_rows(session, rows)
        found: list[list[tuple[str, bool]]] = []
        start = 0
        for each, fits in zip(operations, admitted, strict=True):
            size = len(each._rows) if fits else 0
            found.append(outcome[start : start + size] if fits else FULL)
            start += size
        return found

    def _fits(self, session: Session, waiting: dict[str, int]) -> bool:
        assert self._limit is not None
        queue = self._rows[0].queue
        if queue not in waiting:
            waiting[queue] = session.fetch(_WAITING, queue)[0][0]
        if waiting[queue] + len(self._rows) > self._limit:
            return False
        waiting[queue] += len(self._rows)
        return True
