"""Everything sealed that a database holds, and a database as it was before actors had data keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.durable.another import another_program

import koboshi as kb
from koboshi.durable.actors._actor_sealer import ActorSealer
from koboshi.durable.actors._identity import Identity
from koboshi.durable.actors._letter import letter_number
from koboshi.durable.actors._numbers import event_number, report_number, state_number
from koboshi.durable.actors._seal import FORWARD, sealed_bytes
from koboshi.durable.actors._timers import timer_source
from koboshi.durable.stores import Select, Session
from koboshi.durable.stores._tables import TABLES


class Value(NamedTuple):
    """One sealed value, and the primary key of its row."""

    table: str
    column: str
    row: tuple[Any, ...]
    who: Identity
    what: str
    number: Any
    mark: bytes
    blob: bytes

    @property
    def is_own(self) -> bool:
        """Whether its actor has stored it, and not a sender."""
        return self.table != "kb_outbox"

    @property
    def is_by_data_key(self) -> bool:
        """Whether its first byte says so."""
        return self.blob[:1] == b"\5"

    def open(self, ring: kb.KeyRing, keys: dict[Identity, bytes]) -> bytes:
        """What it holds."""
        return ActorSealer(ring, self.who, keys.get(self.who)).open(
            self.who, self.what, self.number, self.blob
        )


class Place(NamedTuple):
    table: str
    column: str
    more: tuple[str, ...]
    # What a value is and its number, from the row's primary key and `more`.
    of: Callable[[Any, Any], tuple[str, Any]]


OF, TARGET = ("actor_type", "actor_key"), ("target_type", "target_key")
PLACES = (
    Place(
        "kb_actor",
        "state",
        ("state_revision", "codec", "schema_version"),
        lambda _, more: ("state", state_number(*more)),
    ),
    Place(
        "kb_event",
        "payload",
        ("event_type", "schema_version", "codec"),
        lambda key, more: ("event", event_number(key[3], *more)),
    ),
    Place("kb_journal", "payload", (), lambda key, _: ("journal", key[3])),
    Place("kb_request", "reply", (), lambda key, _: ("reply", key[3])),
    Place("kb_timer", "payload", (), lambda key, _: ("message", timer_source(*key[1:4]))),
    Place("kb_outbox", "payload", TARGET, lambda key, _: ("message", letter_number(*key[1:3]))),
    Place("kb_outbox", "report", TARGET, lambda key, _: ("report", report_number(*key[1:3]))),
)


def walk(session: Session) -> list[Value]:
    """All of them."""
    found: list[Value] = []
    for table, column, more, of in PLACES:
        key = TABLES[table].key
        names = ", ".join((*key, column, *more))
        for row in session.fetch(Select(f"SELECT {names} FROM {table} WHERE {column} IS NOT NULL")):
            at, stored, rest = row[: len(key)], row[len(key)], row[len(key) + 1 :]
            who = Identity(at[0], *(rest[:2] if table == "kb_outbox" else at[1:3]))
            what, number = of(at, rest)
            blob = bytes(stored) if not isinstance(stored, str) else sealed_bytes(who, what, stored)
            assert blob is not None
            mark = FORWARD if blob[:1] == FORWARD else b""
            what = "forward" if mark else what
            found.append(Value(table, column, at, who, what, number, mark, blob[len(mark) :]))
    return found


def keys(session: Session) -> dict[Identity, bytes]:
    """All data keys, as they are stored."""
    rows = session.fetch(Select("SELECT system_name, actor_type, actor_key, wrapped FROM kb_data_key"))
    return {Identity(*row[:3]): bytes(row[3]) for row in rows}


def seal_as_before(session: Session, ring: kb.KeyRing) -> None:
    """Make of a database what it was before actors had data keys: all is sealed with a key of the ring."""
    known = keys(session)
    for value in walk(session):
        if value.is_by_data_key:
            plain = value.open(ring, known)
            sealed, key_id = ring.seal(value.who, value.what, value.number, plain)
            change = (value.column,) if value.table == "kb_request" else (value.column, "key_id")
            row = (*value.row, value.mark + sealed, key_id)[: len(value.row) + len(change)]
            assert 1 == session.update(TABLES[value.table], TABLES[value.table].key, change, [row])
    session.execute("DELETE FROM kb_data_key", {})


async def make_earlier(url: str, ring: kb.KeyRing) -> None:
    """The same, while no program uses it."""
    async with another_program(url) as store:
        await store.change(lambda session: seal_as_before(session, ring))
