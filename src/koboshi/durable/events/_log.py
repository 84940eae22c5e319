"""The events of all actors in the order in which they were committed, and how far somebody has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors._identity import Identity
from ..actors._past import PAST
from ..actors._write import EVENTS
from ..stores import Select, Session
from ..stores._tables import COUNTER
from ._handlers import Happened, Source
from ._replay import event_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..actors._definition import Definition
    from ..actors._seal import Sealer

__all__ = ["Log", "Offset", "last_place", "lock_places", "read_log"]

_ROW = ("place", "actor_type", "actor_key", *PAST)
# One statement for both: an actor may be erased between two, and its events would be there without their key.
_AFTER = Select(
    f"SELECT {', '.join(f'e.{name}' for name in _ROW)}, d.wrapped FROM kb_event e LEFT JOIN kb_data_key d"
    " ON d.system_name = e.system_name AND d.actor_type = e.actor_type AND d.actor_key = e.actor_key"
    " WHERE e.system_name = :system AND e.place > :after ORDER BY e.place LIMIT :most"
)
_LOCK = Select(
    "UPDATE kb_counter SET amount = amount + 0 WHERE system_name = :system AND counter_name = :name"
)
_COUNTER = ("system_name", "counter_name")


class Log:
    """Some rows of the log, in order, with the data keys of their actors as those are stored."""

    def __init__(self, system: str, rows: list[tuple[Any, ...]], data_keys: dict[Identity, bytes]) -> None:
        self.rows = rows
        self._system = system
        self._data_keys = data_keys

    def happened(self, sources: Mapping[str, Definition]) -> list[Happened]:
        """What the rows say that are of these kinds.

        Raises:
            Corrupted: one of them cannot be used.
        """
        sealers: dict[Identity, Sealer] = {}
        found: list[Happened] = []
        for row in self.rows:
            definition = sources.get(row[1])
            if definition is None:
                continue
            who = Identity(self._system, row[1], row[2])
            sealer = sealers.get(who)
            if sealer is None:
                sealer = sealers[who] = definition.opener(who, self._data_keys.get(who))
            event = event_of(definition, sealer, definition.cls._kb_folds, who, row[3:])
            if event is not None:
                found.append(Happened(Source(row[1], row[2], row[3], row[9]), event[1]))
        return found


def read_log(session: Session, system: str, after: int, most: int) -> Log:
    """Up to so many rows with places over `after`, in order. None can come in between later."""
    rows = session.fetch(_AFTER, system, after, most)
    keys = {Identity(system, row[1], row[2]): bytes(row[-1]) for row in rows if row[-1] is not None}
    return Log(system, [row[:-1] for row in rows], keys)


def lock_places(session: Session, system: str) -> None:
    """Have nobody commit an event until this transaction has ended."""
    session.run(_LOCK, system, EVENTS)


def last_place(session: Session, system: str) -> int:
    """The place of the last event that is committed."""
    return Offset(system, EVENTS).get(session)


class Offset:
    """How far somebody has read: a counter in the store, moved in the transaction of what was done with it."""

    def __init__(self, system: str, name: str) -> None:
        self.key = (system, name)

    def get(self, session: Session) -> int:
        """Where it is; 0 at first."""
        found = session.lookup(COUNTER, ("amount",), _COUNTER, [self.key])
        return int(found[0][0]) if found else 0

    def set(self, session: Session, place: int) -> None:
        """Put it there."""
        session.upsert(COUNTER, (*_COUNTER, "amount"), [(*self.key, place)])

    def move(self, session: Session, since: int, place: int) -> bool:
        """Move it on; False when it is not at `since`: somebody else has moved it."""
        if not since:
            session.insert(COUNTER, (*_COUNTER, "amount"), [(*self.key, 0)], ignore=True)
        return session.update(COUNTER, (*_COUNTER, "amount"), ("amount",), [(*self.key, since, place)]) == 1
