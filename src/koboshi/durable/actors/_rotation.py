"""Changing the ring's key of a kind while it runs, and which of the ring's keys its rows are sealed with.

The data keys of its actors are sealed anew, and what those have sealed stays as it is: that makes it cheap. What an
actor has stored before it had a data key is sealed with that, and messages on their way with the ring's new key.

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
from ..stores._tables import ACTOR, DATA_KEY, EVENT, JOURNAL, OUTBOX, REQUEST, TIMER, Table
from ._actor_sealer import ActorSealer
from ._data_key import made_keys
from ._identity import Identity
from ._key_ring import DATA_KEY_PLACE, KeyRing
from ._letter import letter_number
from ._numbers import event_number, report_number, state_number
from ._seal import BY_DATA_KEY, FORWARD, Sealer, key_in, open_text, seal_text, sealed_bytes
from ._timers import timer_source

__all__ = ["KeyRotation", "keys_in_use", "rotate"]

_MOST_PROBLEMS = 100

_log = logging.getLogger("koboshi.durable")


class KeyRotation(NamedTuple):
    """What a rotation has done.

    Attributes:
        sealed: how many values are sealed anew, data keys of actors among them.
        skipped: how many could not be opened, and are as they were.
        problems: which, and why: the first hundred of them.
    """

    sealed: int
    skipped: int
    problems: tuple[str, ...]

    def with_portion(self, sealed: int, problems: list[str]) -> KeyRotation:
        """This and one more portion, whose problems are logged."""
        for problem in problems:
            _log.warning("not sealed anew: %s", problem)
        kept = (*self.problems, *problems)[:_MOST_PROBLEMS]
        return KeyRotation(self.sealed + sealed, self.skipped + len(problems), kept)


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
    #: Whether it is what an actor stores of its own, and so sealed with the actor's data key.
    is_own: bool = False

    def query(self) -> Select:
        """Values after a position, in order, that may be sealed with another key."""
        columns = (*self.position, self.actor[1], self.name, self.guard, *self.more)
        first, second = self.position
        # Those of no key, and of others than the new one: BY_DATA_KEY for what is an actor's own.
        unlike = "key_id <> :current" if self.is_own else f"key_id <> :current AND key_id <> '{BY_DATA_KEY}'"
        other = f"(key_id IS NULL OR ({unlike})) AND {self.name}" if self.has_key else self.name
        return Select(
            f"SELECT {', '.join(columns)} FROM {self.table.name} WHERE system_name = :system"
            f" AND {self.actor[0]} = :type AND ({first} > :after OR ({first} = :after AND {second} > :number))"
            f" AND {other} IS NOT NULL ORDER BY {first}, {second} LIMIT :most"
        )


_OF = ("actor_type", "actor_key")
_ACTOR_KEY = ("system_name", *_OF)
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


def _key_row(_who: Identity, _at: Row, _more: Row) -> tuple[str, Any]:
    return DATA_KEY_PLACE


_BY_NUMBER, _BY_NAME = ("", -1), ("", "")
# Data keys first, for what they seal; reminders before messages, since what is due goes from there to here meanwhile.
_COLUMNS = (
    _Column(DATA_KEY, "wrapped", ("actor_key", "key_id"), _BY_NAME, "wrapped", _OF, (), _key_row),
    _Column(
        ACTOR, "state", ("actor_key", "revision"), _BY_NUMBER, "state", _OF, _STATE_MORE, _state, is_own=True
    ),
    _Column(
        EVENT, "payload", ("actor_key", "seq"), _BY_NUMBER, "payload", _OF, _EVENT_MORE, _event, is_own=True
    ),
    _Column(JOURNAL, "payload", ("actor_key", "seq"), _BY_NUMBER, "payload", _OF, (), _journal, is_own=True),
    _Column(REQUEST, "reply", ("actor_key", "request_id"), _BY_NAME, "reply", _OF, (), _reply, False, True),
    _Column(
        TIMER, "payload", ("actor_key", "timer_name"), _BY_NAME, "payload", _OF, (), _reminder, is_own=True
    ),
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

    def anew(self, sealer: Sealer) -> tuple[Any, str | None]:
        """The same, sealed as that seals now, and the id of the key."""
        who, what, number, stored = self
        if what == "report":
            text = open_text(sealer, who, what, number, stored)
            return seal_text(sealer, who, what, number, text), None
        if not isinstance(stored, bytes):
            # SQLite takes anything into any column.
            raise Corrupted(str(who), f"its {what} {number} is of the type {type(stored).__name__}")
        mark = b""
        if stored[:1] == FORWARD:
            mark, what = FORWARD, "forward"
        sealed, key_id = sealer.seal(who, what, number, sealer.open(who, what, number, self.bytes))
        return mark + sealed, key_id


async def rotate(store: Store, ring: KeyRing, system: str, type: str, most: int) -> KeyRotation:
    """Seal all values of a kind anew that another key, or none, has sealed; `most` in one transaction."""
    place, rotation = (system, type), KeyRotation(0, 0, ())
    for column, query in _QUERIES:
        after: tuple[Any, Any] | None = column.start
        while after is not None:
            portion = functools.partial(
                _reseal, ring=ring, column=column, query=query, place=place, after=after, most=most
            )
            sealed, problems, after = await store.change(portion)
            rotation = rotation.with_portion(sealed, problems)
    return rotation


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
    wanted = BY_DATA_KEY if column.is_own else ring.current
    rows, values = _values(session, column, query, place, after, wanted, most)
    sealers = _sealers(session, ring, {value.who for value in values}) if column.is_own else {}
    changes: list[Row] = []
    problems: list[str] = []
    for row, value in zip(rows, values, strict=True):
        try:
            if not column.has_key and key_in(value.bytes) == wanted:
                continue
            blob, key_id = value.anew(sealers.get(value.who, ring))
        except Corrupted as error:
            problems.append(str(error))
            continue
        new = (blob, key_id) if column.has_key else (blob,)
        changes.append((*_key(column, place, row), row[4], *new))
    guarded = (*column.table.key, column.guard)
    change = (column.name, "key_id") if column.has_key else (column.name,)
    done = session.update(column.table, guarded, change, changes) if changes else 0
    return done, problems, (rows[-1][0], rows[-1][1]) if len(rows) == most else None


def _sealers(session: Session, ring: KeyRing, whos: set[Identity]) -> dict[Identity, Sealer]:
    """What seals for each of these actors; one that has no data key yet gets it."""
    rows = session.lookup(ACTOR, ("actor_key", "revision", "key_id"), _ACTOR_KEY, sorted(whos))
    by_key = {who.key: who for who in whos}
    actors: dict[Identity, tuple[int, str | None]] = {
        by_key[key]: (int(revision), id) for key, revision, id in rows
    }
    keys = made_keys(session, ring, actors)
    return {who: ActorSealer(ring, who, keys.get(who)) for who in whos}


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
    if column.table in (ACTOR, DATA_KEY):
        return (*place, row[0])
    return (place[0], row[0], row[1]) if column.table is OUTBOX else (*place, row[0], row[1])


async def keys_in_use(store: Store, system: str, type: str, most: int = 1_000) -> dict[str | None, int]:
    """How many values of a kind, data keys among them, each key of the ring seals; None: not encrypted."""
    place = system, type
    found: dict[str | None, int] = {}

    def counted(session: Session) -> list[Row]:
        return [row for query in _IN_USE for row in session.fetch(query, *place)]

    for key_id, count in await store.read(counted):
        if key_id == BY_DATA_KEY:
            continue  # its data key is counted
        found[key_id] = found.get(key_id, 0) + int(count)
    for column, query in _QUERIES:
        after: tuple[Any, Any] | None = None if column.has_key else column.start
        while after is not None:
            read = functools.partial(
                _values, column=column, query=query, place=place, after=after, current="", most=most
            )
            rows, values = await store.read(read)
            for key_id in (key_in(value.bytes) for value in values):
                if key_id != BY_DATA_KEY:
                    found[key_id] = found.get(key_id, 0) + 1
            after = (rows[-1][0], rows[-1][1]) if len(rows) == most else None
    return found
