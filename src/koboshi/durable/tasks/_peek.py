"""A look at a queue that writes nothing."""

from __future__ import annotations

from typing import NamedTuple

from ..stores import Select, Session
from . import _counters

__all__ = ["Others", "is_paused", "look_at_others", "peek"]

_READY = Select(
    "SELECT task_id FROM kb_task WHERE queue_name = :queue AND state = 'ready' ORDER BY turn, due_at LIMIT :most"
)
_NEXT = Select("SELECT MIN(due_at) FROM kb_task WHERE queue_name = :queue AND state = 'later' AND turn = 0")
_OWNERS = Select(
    "SELECT DISTINCT t.owner, h.incarnation, h.lease_until FROM kb_task t LEFT JOIN kb_host h "
    "ON h.host_id = t.owner WHERE t.queue_name = :queue AND t.state = 'claimed' AND t.owner <> :host"
)


class Others(NamedTuple):
    """What other programs make of a queue.

    Attributes:
        lost: tasks are claimed by hosts that are gone.
        alive: id and incarnation of those that have claimed some and whose leases run.
        paused: nothing is to be begun.
    """

    lost: bool
    alive: list[tuple[str, str]]
    paused: bool


def peek(session: Session, queue: str) -> float | None:
    """Seconds until a task of the queue can be claimed, 0.0 for now; None: there is none."""
    if is_paused(session, queue):
        return None
    if session.fetch(_READY, queue, 1):
        return 0.0
    due = session.fetch(_NEXT, queue)[0][0]
    return None if due is None else max(0.0, due - session.now)


def is_paused(session: Session, queue: str) -> bool:
    """Whether nothing of the queue is to be begun."""
    name = _counters.paused_name(queue)
    return bool(_counters.read(session, [name]).get(name))


def look_at_others(session: Session, queue: str, host: str) -> Others:
    """Whose tasks of the queue are claimed that are not this host's, and whether it is paused."""
    owners, now = session.fetch(_OWNERS, queue, host), session.lease_now
    alive = [
        (owner, incarnation) for owner, incarnation, until in owners if until is not None and until > now
    ]
    return Others(len(alive) < len(owners), alive, is_paused(session, queue))
