"""All rows of actors: sealing them anew with another key, and taking those of one actor away."""

from __future__ import annotations

from typing import Any

from ..stores import Select, Session
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
from ._recording import event_number
from ._seal import Sealer

__all__ = ["erase_rows", "keys_in_use", "reseal_events", "reseal_states"]

_KEY = ("system_name", "actor_type", "actor_key")
_STATES = Select(
    "SELECT actor_key, revision, state, state_revision FROM kb_actor WHERE system_name = :system"
    " AND actor_type = :type AND actor_key > :after AND state IS NOT NULL"
    " AND (key_id IS NULL OR key_id <> :current) ORDER BY actor_key LIMIT :most"
)
_EVENTS = Select(
    "SELECT actor_key, seq, event_type, schema_version, payload FROM kb_event WHERE system_name = :system"
    " AND actor_type = :type AND (actor_key > :after OR (actor_key = :after AND seq > :number))"
    " AND (key_id IS NULL OR key_id <> :current) ORDER BY actor_key, seq LIMIT :most"
)
_IN_USE = [
    Select(
        f"SELECT key_id, COUNT(*) FROM {table} WHERE system_name = :system AND {column} = :type GROUP BY key_id"
    )
    for table, column in (
        ("kb_actor", "actor_type"),
        ("kb_event", "actor_type"),
        ("kb_journal", "actor_type"),
        ("kb_timer", "actor_type"),
        ("kb_outbox", "target_type"),
    )
]


def reseal_states(
    session: Session, sealer: Sealer, who: Identity, after: str, current: str, most: int
) -> tuple[int, str | None]:
    """Seal up to `most` states anew; how many, and the key of the last one, None at the end.

    The revision is named, so what a running actor writes meanwhile is not touched: it is sealed with the new key.
    """
    rows = session.fetch(_STATES, who.system, who.type, after, current, most)
    changed: list[tuple[Any, ...]] = []
    for key, revision, state, state_revision in rows:
        each = Identity(who.system, who.type, key)
        blob, key_id = sealer.seal(
            each, "state", state_revision, sealer.open(each, "state", state_revision, bytes(state))
        )
        changed.append((*each, revision, blob, key_id))
    done = session.update(ACTOR, (*_KEY, "revision"), ("state", "key_id"), changed)
    return done, str(rows[-1][0]) if len(rows) == most else None


def reseal_events(
    session: Session, sealer: Sealer, who: Identity, after: tuple[str, int], current: str, most: int
) -> tuple[int, tuple[str, int] | None]:
    """The same for events."""
    rows = session.fetch(_EVENTS, who.system, who.type, *after, current, most)
    changed: list[tuple[Any, ...]] = []
    for key, seq, type, version, payload in rows:
        each, number = Identity(who.system, who.type, key), event_number(seq, type, version)
        blob, key_id = sealer.seal(each, "event", number, sealer.open(each, "event", number, bytes(payload)))
        changed.append((*each, seq, blob, key_id))
    done = session.update(EVENT, (*_KEY, "seq"), ("payload", "key_id"), changed)
    return done, (str(rows[-1][0]), int(rows[-1][1])) if len(rows) == most else None


def keys_in_use(session: Session, system: str, type: str) -> dict[str | None, int]:
    """How many rows are sealed with each key; None stands for rows that are not encrypted."""
    found: dict[str | None, int] = {}
    for query in _IN_USE:
        for key_id, count in session.fetch(query, system, type):
            found[key_id] = found.get(key_id, 0) + int(count)
    return found


def erase_rows(session: Session, who: Identity) -> int:
    """Delete every row of an actor, and what is on its way to it and from it; how many there were."""
    tables = (ACTOR, EVENT, REQUEST, TIMER, SUBSCRIPTION, JOURNAL, DATA_KEY)
    deleted = sum(session.delete(table, _KEY, [who]) for table in tables)
    deleted += session.delete(TAG, _KEY, [who])
    deleted += session.delete(OUTBOX, ("system_name", "target_type", "target_key"), [who])
    source = f"{who.type}/{who.key}"
    return deleted + session.delete(OUTBOX, ("system_name", "source"), [(who.system, source)])
