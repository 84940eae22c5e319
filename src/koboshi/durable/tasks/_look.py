"""Reading tasks, and what people do to them by hand: requeue, cancel, forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..stores import Operation, Row, Select, Session
from ..stores._tables import TASK, TASK_BATCH, TASK_UNIQUE
from . import _batches
from ._rows import FOREVER, put_rows
from ._vault import Vault

__all__ = [
    "Cancel",
    "Discard",
    "LookAt",
    "Ours",
    "Purge",
    "Requeue",
    "States",
    "TaskInfo",
    "TaskState",
    "count",
    "page",
    "read",
    "results",
]

TaskState = Literal["ready", "later", "claimed", "done", "dead", "cancelled"]

_COLUMNS = (
    "task_id", "state", "function_name", "attempts", "interruptions", "priority", "due_at", "owner", "report",
    "put_at",
)  # fmt: skip
_KEY = ("queue_name", "task_id")

_COUNT = Select("SELECT state, COUNT(*) FROM kb_task WHERE queue_name = :queue GROUP BY state")
_PAGE = Select(
    f"SELECT {', '.join(_COLUMNS)} FROM kb_task WHERE queue_name = :queue AND state = :state "
    "AND task_id > :after ORDER BY task_id LIMIT :most"
)
_RESULTS = Select(
    "SELECT turn, task_id, result FROM kb_task WHERE queue_name = :queue AND state = 'done' AND turn > :after "
    "ORDER BY turn, due_at LIMIT :most"
)
_EXPIRED = Select(
    "SELECT task_id FROM kb_task WHERE queue_name = :queue AND state = :state AND turn = 0 AND due_at <= :now "
    "ORDER BY due_at LIMIT :most"
)


_EXPIRED_BATCHES = Select(
    "SELECT batch_id FROM kb_task_batch WHERE queue_name = :queue AND pending = 0 AND expires_at <= :now "
    "ORDER BY expires_at LIMIT :most"
)


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One task as it is stored; times in seconds since the epoch.

    Attributes:
        state: "ready" to run; "later", waiting for its time; "claimed" by a program that is `owner`; "done",
            "dead" or "cancelled".
        attempts: begun so far, a running one included. Interrupted ones are not counted there.
        report: the last failure: one line, then the traceback.
    """

    id: str
    state: TaskState
    function: str
    attempts: int
    interruptions: int
    priority: int
    due_at: float
    owner: str | None
    report: str | None
    put_at: float


#: State, result and report of those tasks that there are, by id.
States = dict[str, tuple[str, bytes | None, str | None]]


def read(session: Session, queue: str, vault: Vault, id: str) -> TaskInfo | None:
    """One task."""
    found = session.lookup(TASK, _COLUMNS, _KEY, [(queue, id)])
    return _info(vault, found[0]) if found else None


def _info(vault: Vault, row: Row) -> TaskInfo:
    info = TaskInfo(*row)
    return replace(info, report=vault.shown_report(info.id, info.report))


def count(session: Session, queue: str) -> dict[str, int]:
    """How many tasks are in each state."""
    return dict(session.fetch(_COUNT, queue))


def page(session: Session, queue: str, vault: Vault, state: str, after: str, most: int) -> list[TaskInfo]:
    """Tasks of one state in the order of their ids."""
    return [_info(vault, row) for row in session.fetch(_PAGE, queue, state, after, most)]


def results(session: Session, queue: str, after: int, most: int) -> list[tuple[int, str, bytes]]:
    """Results of a queue that keeps their order, from a place on: (place, id, result)."""
    return [(place, id, value) for place, id, value in session.fetch(_RESULTS, queue, after, most)]


class LookAt(Operation[States]):
    """Look several tasks up."""

    writes = False
    rank = 2

    def __init__(self, queue: str, ids: Sequence[str]) -> None:
        self._queue = queue
        self._ids = ids

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Any]) -> list[Any]:
        """See `Operation.perform_all`."""
        keys = list({(each._queue, id) for each in operations for id in each._ids})
        columns = (*_KEY, "state", "result", "report")
        found = {(queue, id): rest for queue, id, *rest in session.lookup(TASK, columns, _KEY, keys)}
        return [
            {id: tuple(found[each._queue, id]) for id in each._ids if (each._queue, id) in found}
            for each in operations
        ]


class Ours(Operation[set[str]]):
    """Which of these tasks a host has claimed still."""

    writes = False
    rank = 2

    def __init__(self, queue: str, host: str, ids: Sequence[str]) -> None:
        self._queue = queue
        self._host = host
        self._ids = ids

    def perform(self, session: Session) -> set[str]:
        """See `Operation.perform`."""
        keys = [(self._queue, id) for id in self._ids]
        found = session.lookup(TASK, ("task_id", "state", "owner"), _KEY, keys)
        return {id for id, state, owner in found if state == "claimed" and owner == self._host}


class Requeue(Operation[int]):
    """Give dead letters all their attempts again; how many there were among these ids."""

    def __init__(self, queue: str, ids: Sequence[str]) -> None:
        self._queue = queue
        self._ids = ids

    def perform(self, session: Session) -> int:
        """See `Operation.perform`."""
        found = session.lookup(TASK, ("task_id", "priority"), (*_KEY, "state"), [
            (self._queue, id, "dead") for id in self._ids
        ])  # fmt: skip
        # Its batch has counted it as ended already.
        rows = [
            (self._queue, id, "dead", "ready", -priority, session.now, 0, 0, None, None)
            for id, priority in found
        ]
        change = ("state", "turn", "due_at", "attempts", "interruptions", "batch_id", "unique_key")
        return session.update(TASK, (*_KEY, "state"), change, rows) if rows else 0


class Cancel(Operation[bool]):
    """End a task that has not ended; False if there is none. Whoever runs it finds its claim gone."""

    def __init__(self, queue: str, id: str, keep: float | None) -> None:
        self._queue = queue
        self._id = id
        self._keep = keep

    def perform(self, session: Session) -> bool:
        """See `Operation.perform`."""
        key = (self._queue, self._id)
        found = session.lookup(TASK, ("state", "batch_id", "unique_key"), _KEY, [key])
        if not found or found[0][0] not in ("ready", "later", "claimed"):
            return False
        state, batch, unique = found[0]
        until = FOREVER if self._keep is None else session.now + self._keep
        row = (*key, state, "cancelled", 0, until, None)
        if not session.update(TASK, (*_KEY, "state"), ("state", "turn", "due_at", "owner"), [row]):
            return False  # it has gone on to another state at this very moment
        if unique is not None:
            session.delete(TASK_UNIQUE, ("queue_name", "unique_key"), [(self._queue, unique)])
        if batch is not None:
            ended = [_batches.Ended(self._queue, batch, True, until)]
            put_rows(session, _batches.count_down(session, ended))
        return True


class Discard(Operation[int]):
    """Forget dead letters; how many there were among these ids."""

    def __init__(self, queue: str, ids: Sequence[str]) -> None:
        self._queue = queue
        self._ids = ids

    def perform(self, session: Session) -> int:
        """See `Operation.perform`."""
        keys = [(self._queue, id, "dead") for id in self._ids]
        return session.delete(TASK, (*_KEY, "state"), keys) if keys else 0


class Purge(Operation[int]):
    """Forget tasks and batches that were kept long enough; how many.

    Args:
        keep_dead: seconds that dead letters are kept; None: for ever.
    """

    def __init__(self, queue: str, keep_dead: float | None = None, most: int = 5_000) -> None:
        self._queue = queue
        self._keep_dead = keep_dead
        self._most = most

    def perform(self, session: Session) -> int:
        """See `Operation.perform`."""
        gone = 0
        for state, until in self._states(session.now):
            ids = session.fetch(_EXPIRED, self._queue, state, until, self._most)
            keys = [(self._queue, id, state) for (id,) in ids]
            gone += session.delete(TASK, (*_KEY, "state"), keys) if keys else 0
        batches = session.fetch(_EXPIRED_BATCHES, self._queue, session.now, self._most)
        if batches:
            gone += session.delete(
                TASK_BATCH, ("queue_name", "batch_id"), [(self._queue, *row) for row in batches]
            )
        return gone

    def _states(self, now: float) -> list[tuple[str, float]]:
        states = [("done", now), ("cancelled", now)]
        # The row of a dead letter says when it died.
        return states if self._keep_dead is None else [*states, ("dead", now - self._keep_dead)]
