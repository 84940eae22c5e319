"""All rows of an actor, to be taken away."""

from __future__ import annotations

from ..stores import Session
from ..stores._tables import (
    ACTOR,
    DATA_KEY,
    EVENT,
    JOURNAL,
    OUTBOX,
    REQUEST,
    SUBSCRIPTION,
    TAG,
    TIMER,
)
from ._identity import Identity

__all__ = ["erase_rows"]

_KEY = ("system_name", "actor_type", "actor_key")


def erase_rows(session: Session, who: Identity) -> int:
    """Delete every row of an actor, and what is on its way to it and from it; how many there were."""
    tables = (ACTOR, EVENT, REQUEST, TIMER, SUBSCRIPTION, JOURNAL, DATA_KEY, TAG)
    deleted = sum(session.delete(table, _KEY, [who]) for table in tables)
    deleted += session.delete(OUTBOX, ("system_name", "target_type", "target_key"), [who])
    source = f"{who.type}/{who.key}"
    return deleted + session.delete(OUTBOX, ("system_name", "source"), [(who.system, source)])
