"""The events of all actors in the order in which they were committed, and how far somebody has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors._identity import Identity
from ..actors._write import EVENTS
from ..stores import Select, Session
from ..stores._tables import COUNTER
from ._handlers import Happened, Source
from ._replay import event_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..actors._definition import Definition

__all__ = ["Offset", "happened", "last_place", "lock_places", "read_log"]

_AFTER = Select(
    "SELECT place, actor_type, actor_key, seq, event_type, schema_version, payload, codec, key_id, recorded_at"
    " FROM kb_event WHERE system_name = :system AND place > :after ORDER BY place LIMIT :most"
)
_LOCK = Select(
    "UPDATE kb_counter SET amount = amount + 0 WHERE system_name = :system AND counter_name = :name"
)
_COUNTER = ("system_name", "counter_name")


def read_log(session: Session, system: str, after: int, most: int) -> list[tuple[Any, ...]]:
    """Up to so many rows with places over `after`, in order. None can come in between later."""
    return session.fetch(_AFTER, system, after, most)


def happened(sources: Mapping[str, Definition], row: tuple[Any, ...]) -> Happened | None:
    """What a row of the log says, if it is of one of these kinds.

    Raises:
        Corrupted: it cannot be used.
    """
    definition = sources.get(row[1])
    if definition is None:
        return None
    who = Identity(definition.system, row[1], row[2])
    found = event_of(definition, definition.cls._kb_folds, who, row[3:])
    return None if found is None else Happened(Source(row[1], row[2], row[3], row[9]), found[1])


def lock_places(session: Session, system: str) -> None:
    """Have nobody commit an event until this transaction has ended."""
    session.run(_LOCK, system, EVENTS)


def last_place(session: Session, system: str) -> int:
    """The place of the last event that is committed."""
    return Offset(system, EVENTS).get(session)


class Offset:
    """How far somebody has read: a counter in the store, moved in the transaction of what was done with it."""

    def __init__(self, system: str, name: str) -> None:
        self._key = (system, name)

    def get(self, session: Session) -> int:
        """Where it is; 0 at first."""
        found = session.lookup(COUNTER, ("amount",), _COUNTER, [self._key])
        return int(found[0][0]) if found else 0

    def set(self, session: Session, place: int) -> None:
        """Put it there."""
        session.upsert(COUNTER, (*_COUNTER, "amount"), [(*self._key, place)])

    def move(self, session: Session, since: int, place: int) -> bool:
        """Move it on; False when it is not at `since`: somebody else has moved it."""
        if not since:
            session.insert(COUNTER, (*_COUNTER, "amount"), [(*self._key, 0)], ignore=True)
        return session.update(COUNTER, (*_COUNTER, "amount"), ("amount",), [(*self._key, since, place)]) == 1
