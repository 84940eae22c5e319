"""Tasks that belong together: counted down as they end, and what follows the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..stores import Operation, Select, Session
from ..stores._tables import TASK_BATCH
from ._rows import FOREVER, TaskRow, put_rows

__all__ = ["BatchInfo", "Ended", "PutBatch", "count_down", "read_batches"]

_KEY = ("queue_name", "batch_id")
_COLUMNS = (*_KEY, "total", "pending", "failed", "function_name", "payload", "priority")

# On servers the row is locked from here to the commit, so that exactly one transaction sees the last one end.
_DOWN = Select(
    "UPDATE kb_task_batch SET pending = pending - :ended, failed = failed + :failed, expires_at = :until "
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
    priority: int


class Ended(NamedTuple):
    """A task of a batch that has ended: whether it failed, and until when the batch is to be known of."""

    queue: str
    batch: str
    failed: bool
    until: float


class PutBatch(Operation[bool]):
    """Put a batch with all its tasks; False if there is one with its id, and nothing was put.

    Args:
        then: what is put when all have ended; its id is the batch's with ".then".
        keep: seconds for which the batch is known of after its end; None: for ever.
    """

    rank = 4

    def __init__(
        self, queue: str, id: str, rows: Sequence[TaskRow], then: TaskRow | None, keep: float | None
    ) -> None:
        self._queue = queue
        self._keep = keep
        self._id = id
        self._rows = rows
        self._then = then

    def perform(self, session: Session) -> bool:
        """See `Operation.perform`."""
        then = self._then
        follower = (None, None, 0) if then is None else (then.function, then.payload, then.priority)
        total = len(self._rows)
        until = FOREVER if self._keep is None else session.now + self._keep
        row = (self._queue, self._id, total, total, 0, *follower, until)
        if not session.insert(TASK_BATCH, (*_COLUMNS, "expires_at"), [row], ignore=True):
            return False
        new = sum(is_new for _, is_new in put_rows(session, self._rows))
        followers = []
        if new < total:
            # Tasks that were there before are not of this batch, and are not waited for.
            followers = count_down(session, [Ended(self._queue, self._id, False, until)] * (total - new))
        elif not total and then is not None:
            followers = [then]
        put_rows(session, followers)
        return True


def count_down(session: Session, ended: Sequence[Ended]) -> list[TaskRow]:
    """Tasks of batches have ended. Returns the tasks that follow now."""
    all_ended = Counter((each.queue, each.batch) for each in ended)
    failed = Counter((each.queue, each.batch) for each in ended if each.failed)
    until = {(each.queue, each.batch): each.until for each in ended}
    # In one order, so that two transactions cannot wait for each other.
    for queue, batch in sorted(all_ended):
        session.run(_DOWN, all_ended[queue, batch], failed[queue, batch], until[queue, batch], queue, batch)
    return [
        TaskRow(each.queue, f"{each.id}.then", each.function, each.payload, each.priority)
        for each in read_batches(session, list(all_ended))
        if each.pending == 0 and each.function is not None and each.payload is not None
    ]


def read_batches(session: Session, keys: Sequence[tuple[str, str]]) -> list[BatchInfo]:
    """Those batches that there are."""
    return [BatchInfo(*row) for row in session.lookup(TASK_BATCH, _COLUMNS, _KEY, keys)]
