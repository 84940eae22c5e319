"""Tasks that belong together: counted down as they end, and what follows the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..stores import Operation, Select, Session
from ..stores._tables import TASK_BATCH
from ._rows import TaskRow, put_rows

__all__ = ["BatchInfo", "PutBatch", "count_down", "read_batches"]

_KEY = ("queue_name", "batch_id")
_COLUMNS = (*_KEY, "total", "pending", "failed", "function_name", "payload")

# On servers the row is locked from here to the commit, so that exactly one transaction sees the last one end.
_DOWN = Select(
    "UPDATE kb_task_batch SET pending = pending - :ended, failed = failed + :failed "
    "WHERE queue_name = :queue AND batch_id = :batch"
)


class BatchInfo(NamedTuple):
    """One batch: its tasks in all, those that have not ended, and those that failed or were cancelled."""

    queue: str
    id: str
    total: int
    pending: int
    failed: int
    function: str | None
    payload: bytes | None


class PutBatch(Operation[bool]):
    """Put a batch with all its tasks; False if there is one with its id, and nothing was put.

    Args:
        then: what is put when all have ended; its id is the batch's with ".then".
    """

    rank = 4

    def __init__(self, queue: str, id: str, rows: Sequence[TaskRow], then: TaskRow | None) -> None:
        self._queue = queue
        self._id = id
        self._rows = rows
        self._then = then

    def perform(self, session: Session) -> bool:
        """See `Operation.perform`."""
        then = self._then
        function, payload = (None, None) if then is None else (then.function, then.payload)
        total = len(self._rows)
        row = (self._queue, self._id, total, total, 0, function, payload)
        if not session.insert(TASK_BATCH, _COLUMNS, [row], ignore=True):
            return False
        new = sum(is_new for _, is_new in put_rows(session, self._rows))
        followers = []
        if new < total:
            # Tasks that were there before are not of this batch, and are not waited for.
            followers = count_down(session, [(self._queue, self._id, False)] * (total - new))
        elif not total and then is not None:
            followers = [then._replace(id=f"{self._id}.then")]
        put_rows(session, followers)
        return True


def count_down(session: Session, ended: Sequence[tuple[str, str, bool]]) -> list[TaskRow]:
    """Tasks of batches have ended: (queue, batch, whether it failed). Returns the tasks that follow now."""
    all_ended = Counter((queue, batch) for queue, batch, _ in ended)
    failed = Counter((queue, batch) for queue, batch, has_failed in ended if has_failed)
    # In one order, so that two transactions cannot wait for each other.
    for queue, batch in sorted(all_ended):
        session.run(_DOWN, all_ended[queue, batch], failed[queue, batch], queue, batch)
    return [
        TaskRow(each.queue, f"{each.id}.then", each.function, each.payload)
        for each in read_batches(session, list(all_ended))
        if each.pending == 0 and each.function is not None and each.payload is not None
    ]


def read_batches(session: Session, keys: Sequence[tuple[str, str]]) -> list[BatchInfo]:
    """Those batches that there are."""
    return [BatchInfo(*row) for row in session.lookup(TASK_BATCH, _COLUMNS, _KEY, keys)]
