"""A look at a queue that writes nothing."""

from __future__ import annotations

from ..stores import Select, Session
from . import _counters

__all__ = ["is_paused", "lost_and_paused", "peek"]

_READY = Select(
    "SELECT task_id FROM kb_task WHERE queue_name = :queue AND state = 'ready' ORDER BY turn, due_at LIMIT :most"
)
_NEXT = Select("SELECT MIN(due_at) FROM kb_task WHERE queue_name = :queue AND state = 'later' AND turn = 0")
_LOST = Select(
    "SELECT COUNT(*) FROM kb_task WHERE queue_name = :queue AND state = 'claimed' AND owner <> :host AND NOT "
    "EXISTS (SELECT 1 FROM kb_host WHERE kb_host.host_id = kb_task.owner AND kb_host.lease_until > :now)"
)


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


def lost_and_paused(session: Session, queue: str, host: str) -> tuple[bool, bool]:
    """Whether tasks are claimed by hosts that are gone, and whether the queue is paused."""
    lost = session.fetch(_LOST, queue, host, session.lease_now)[0][0]
    return bool(lost), is_paused(session, queue)
