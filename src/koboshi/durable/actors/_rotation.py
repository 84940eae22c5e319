"""Sealing the rows of a kind anew with another key while it runs, and which keys its rows are sealed with.

A portion is one transaction, and a row is changed only where it is as it was read, so whatever a running actor has
written meanwhile stays. A row that does not open is left as it is and named; the others go on.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from .._failures import Corrupted
from ..stores import Row, Select, Session, Store
from ..stores._tables import ACTOR, EVENT, JOURNAL, OUTBOX, REQUEST, TIMER, Table
from ._identity import Identity
from ._key_ring import KeyRing
from ._letter import letter_number
from ._numbers import event_number, report_number, state_number
from ._seal import FORWARD, key_in, open_text, seal_text, sealed_bytes
from ._timers import timer_source

__all__ = ["KeyRotation", "keys_in_use", "rotate"]

_MOST_PROBLEMS = 100

_log = logging.getLogger("koboshi.durable")


class KeyRotation(NamedTuple):
    """What a rotation has done.

    Attributes:
        sealed: how many values are sealed anew.
        skipped: how many could not be opened, and are as they were.
        problems: which, and why: the first hundred of them.
    """

    sealed: int
    skipped: int
    problems: tuple[str, ...]


class _Column(NamedTuple):
    """A column with sealed values, and how they are found.

    `position` orders the rows; a row is read as position, key of the actor, value, guard and what `place` takes. The
    guard is a column that is another whenever somebody has written the value.
    """

    table: Table
    name: str
    position: tuple[str, str]
    start: tuple[Any, Any]
    guard: str
    actor: tuple[str, str]
    more: tuple[str, ...]
    #: What the value is and its number, from its actor, position and `more`.
    place: Callable[[Identity, Row, Row], tuple[str, Any]]
    #: Whether `key_id` says how this value is sealed; else only the value does.
    has_key: bool = True

    def query(self) -> Select:
        """Values after a position, in order, that may be sealed with another key."""
        columns = (*self.position, self.actor[1], self.name, self.guard, *self.more)
        first, second = self.position
        other = f"(key_id IS NULL OR key_id <> :current) AND {self.name}" if self.has_key else self.name
        return Select(
            f"SELECT {', '.join(columns)} FROM {self.table.name} WHERE system_name = :system"
            f" AND {self.actor[0]} = :type AND ({first} > :after OR ({first} = :after AND {second} > :number))"
            f" AND {other} IS NOT NULL ORDER BY {first}, {second} LIMIT :most"
        )


_OF = ("actor_type", "actor_key")
_TO = ("target_type", "target_key")
_STATE_MORE = ("state_revision", "codec", "schema_version")
_EVENT_MORE = ("event_type", "schema_version", "codec")


def _state(_who: Identity, _at: Row, more: Row) -> tuple[str, Any]:
    return "state", state_number(*more)


def _event(_who: Identity, at: Row, more: Row) -> tuple[str, Any]:
    return "event", event_number(at[1], *more)


def _journal(_who: Identity, at: Row, _more: Row) -> tuple[str, Any]:
    return "journal", at[1]


def _reply(_who: Identity, at: Row, _more: Row) -> tuple[str, Any]:
    return "reply", at[1]


def _reminder(who: Identity, at: Row, _more: Row) -> tuple[str, Any]:
    return "message", timer_source(who.type, who.key, at[1])


def _message(_who: Identity, at: Row, _more: Row) -> tuple[str, Any]:
    return "message", letter_number(*at)


def _report(_who: Identity, at: Row, _more: Row) -> tuple[str, Any]:
    return "report", report_number(*at)


_BY_NUMBER, _BY_NAME = ("", -1), ("", "")
# Reminders before messages: what is due meanwhile goes from the one table to the other.
_COLUMNS = (
    _Column(ACTOR, "state", ("actor_key", "revision"), _BY_NUMBER, "state", _OF, _STATE_MORE, _state),
    _Column(EVENT, "payload", ("actor_key", "seq"), _BY_NUMBER, "payload", _OF, _EVENT_MORE, _event),
    _Column(JOURNAL, "payload", ("actor_key", "seq"), _BY_NUMBER, "payload", _OF, (), _journal),
    _Column(REQUEST, "reply", ("actor_key", "request_id"), _BY_NAME, "reply", _OF, (), _reply, False),
    _Column(TIMER, "payload", ("actor_key", "timer_name"), _BY_NAME, "payload", _OF, (), _reminder),
    _Column(OUTBOX, "payload", ("source", "seq"), _BY_NUMBER, "payload", _TO, (), _message),
    _Column(OUTBOX, "report", ("source", "seq"), _BY_NUMBER, "attempts", _TO, (), _report, False),
)
_QUERIES = [(column, column.query()) for column in _COLUMNS]
_IN_USE = [
    Select(
        f"SELECT key_id, COUNT(*) FROM {column.table.name} WHERE system_name = :system"
        f" AND {column.actor[0]} = :type AND {column.name} IS NOT NULL GROUP BY key_id"
    )
    for column in _COLUMNS
    if column.has_key
]


class _Value(NamedTuple):
    """One sealed value of a row."""

    who: Identity
    what: str
    number: Any
    stored: Any

    @property
    def bytes(self) -> bytes:
        """What is sealed, without what stands in front of it; empty for text from before encryption."""
        stored = self.stored
        if isinstance(stored, str):
            return (self.what == "report" and sealed_bytes(self.who, self.what, stored)) or b""
        return stored[1:] if stored[:1] == FORWARD else bytes(stored)

    def anew(self, ring: KeyRing) -> tuple[Any, str]:
        """The same, sealed with the current key, and that key's id."""
        who, what, number, stored = self
        if what == "report":
            text = open_text(ring, who, what, number, stored)
            return seal_text(ring, who, what, number, text), ring.current
        if not isinstance(stored, bytes):
            # SQLite takes anything into any column.
            raise Corrupted(str(who), f"its {what} {number} is of the type {type(stored).__name__}")
        mark = b""
        if stored[:1] == FORWARD:
            mark, what = FORWARD, "forward"
        sealed, _ = ring.seal(who, what, number, ring.open(who, what, number, self.bytes))
        return mark + sealed, ring.current


async def rotate(store: Store, ring: KeyRing, system: str, type: str, most: int) -> KeyRotation:
    """Seal all values of a kind anew that another key, or none, has sealed; `most` in one transaction."""
    place, sealed, skipped = (system, type), 0, 0
    problems: list[str] = []
    for column, query in _QUERIES:
        after: tuple[Any, Any] | None = column.start
        while after is not None:
            portion = functools.partial(
                _reseal, ring=ring, column=column, query=query, place=place, after=after, most=most
            )
            done, bad, after = await store.change(portion)
            sealed += done
            skipped += len(bad)
            problems += bad[: _MOST_PROBLEMS - len(problems)]
            for problem in bad:
                _log.warning("not sealed anew: %s", problem)
    return KeyRotation(sealed, skipped, tuple(problems))


def _reseal(
    session: Session,
    ring: KeyRing,
    column: _Column,
    query: Select,
    place: tuple[str, str],
    after: tuple[Any, Any],
    most: int,
) -> tuple[int, list[str], tuple[Any, Any] | None]:
    """How many values of one portion are sealed anew, which could not be, and where the next portion begins."""
    rows, values = _values(session, column, query, place, after, ring.current, most)
    changes: list[Row] = []
    problems: list[str] = []
    for row, value in zip(rows, values, strict=True):
        try:
            if not column.has_key and key_in(value.bytes) == ring.current:
                continue
            blob, key_id = value.anew(ring)
        except Corrupted as error:
            problems.append(str(error))
            continue
        new = (blob, key_id) if column.has_key else (blob,)
        changes.append((*_key(column, place, row), row[4], *new))
    guarded = (*column.table.key, column.guard)
    change = (column.name, "key_id") if column.has_key else (column.name,)
    done = session.update(column.table, guarded, change, changes) if changes else 0
    return done, problems, (rows[-1][0], rows[-1][1]) if len(rows) == most else None


def _values(
    session: Session,
    column: _Column,
    query: Select,
    place: tuple[str, str],
    after: tuple[Any, Any],
    current: str,
    most: int,
) -> tuple[list[Row], list[_Value]]:
    key = (current,) if column.has_key else ()
    rows = session.fetch(query, *place, *after, *key, most)
    values: list[_Value] = []
    for row in rows:
        who = Identity(*place, row[2])
        what, number = column.place(who, row[:2], row[5:])
        values.append(_Value(who, what, number, row[3]))
    return rows, values


def _key(column: _Column, place: tuple[str, str], row: Row) -> Row:
    """The primary key of a row."""
    if column.table is ACTOR:
        return (*place, row[0])
    return (place[0], row[0], row[1]) if column.table is OUTBOX else (*place, row[0], row[1])


async def keys_in_use(store: Store, system: str, type: str, most: int = 1_000) -> dict[str | None, int]:
    """How many values of a kind are sealed with each key; None stands for those that are not encrypted."""
    place = system, type
    found: dict[str | None, int] = {}

    def counted(session: Session) -> list[Row]:
        return [row for query in _IN_USE for row in session.fetch(query, *place)]

    for key_id, count in await store.read(counted):
        found[key_id] = found.get(key_id, 0) + int(count)
    for column, query in _QUERIES:
        after: tuple[Any, Any] | None = None if column.has_key else column.start
        while after is not None:
            read = functools.partial(
                _values, column=column, query=query, place=place, after=after, current="", most=most
            )
            rows, values = await store.read(read)
            for value in values:
                key_id = key_in(value.bytes)
                found[key_id] = found.get(key_id, 0) + 1
            after = (rows[-1][0], rows[-1][1]) if len(rows) == most else None
    return found
