"""Taking an actor, and giving it back. With `_turns` this is the fence.

A claim sets the owner and a fresh random token. It is allowed when there is no owner, the owner is this host, or
the owner's host has no live lease. The update names the epoch that was read, so of two hosts that read the same row
one finds it changed; and the revision, since the owner before may just be committing: what was read would be older
than what it has acknowledged. Whoever had the actor before holds another token, and its next commit finds no row.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..stores import Operation, Select, Session
from ..stores._tables import ACTOR, HOST, REQUEST
from ._data_key import made_keys
from ._identity import Identity
from ._key_ring import KeyRing

__all__ = [
    "Claim",
    "Claimed",
    "ReadMore",
    "Release",
    "all_answered",
    "answered_before",
    "release_all",
]

_KEY = ("system_name", "actor_type", "actor_key")
_NEW = (*_KEY, "epoch", "revision", "state_revision", "codec", "schema_version", "updated_at")
_READ = (
    *_KEY,
    *("owner", "epoch", "revision", "state", "state_revision"),
    *("codec", "key_id", "schema_version", "tags"),
)
# What else a kind reads of actors that it has claimed: from the revision of each one's stored state, 0 where that
# cannot be used, up to its `revision`.
ReadMore = Callable[[Session, list[tuple[Identity, int, int]]], dict[Identity, Any]]


class Claimed(NamedTuple):
    """What a claim gave. Without a token somebody else holds the actor: `owner`, with its `incarnation`."""

    token: bytes | None
    owner: str | None
    incarnation: str
    revision: int
    state: bytes | None
    state_revision: int
    codec: str
    key_id: str | None
    schema_version: int
    tags: str | None
    #: What the kind asked to read along with it.
    more: Any
    #: As it is stored, where the kind has keys and the actor has one.
    data_key: bytes | None = None


class Claim(Operation[Claimed]):
    """Take an actor and read its row, making one that has nothing in it yet if there is none.

    Args:
        read_more: called in the same transaction for all that were claimed together.
        ring: the keys of the kind, if it has any.
    """

    def __init__(
        self,
        who: Identity,
        host: str,
        codec: str,
        schema_version: int,
        read_more: ReadMore | None = None,
        ring: KeyRing | None = None,
    ) -> None:
        self.who = who
        self.host = host
        self.codec = codec
        self.schema_version = schema_version
        self.read_more = read_more
        self.ring = ring

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Claim]) -> list[Claimed]:
        """See `Operation.perform_all`."""
        by_who = {each.who: each for each in operations}
        rows = _rows(session, list(by_who))
        new = [each for who, each in by_who.items() if who not in rows]
        if new:
            values = [(*each.who, 0, 0, 0, each.codec, each.schema_version, session.now) for each in new]
            session.insert(ACTOR, _NEW, values, ignore=True)
            rows |= _rows(session, [each.who for each in new])
        owners = {row[3] for row in rows.values() if row[3] is not None}
        alive = _alive(session, owners)
        free = {
            who: secrets.token_bytes(16)
            for who, row in rows.items()
            if row[3] is None or row[3] == by_who[who].host or row[3] not in alive
        }
        changed = session.update(
            ACTOR,
            (*_KEY, "epoch", "revision"),
            ("owner", "token", "epoch"),
            [
                (*who, *rows[who][4:6], by_who[who].host, token, rows[who][4] + 1)
                for who, token in free.items()
            ],
        )
        if changed != len(free):
            if len(operations) > 1:
                raise _Raced
            free = {}
        claimed = {who: rows[who] for who in free}
        more, keys = _read_more(session, operations, claimed), _data_keys(session, operations, claimed)
        return [
            _claimed(
                rows[who], free.get(who), alive.get(rows[who][3] or "", ""), more.get(who), keys.get(who)
            )
            for who in (each.who for each in operations)
        ]


class _Raced(Exception):
    """Another host has changed one of the rows since they were read: do them one by one."""


def _rows(session: Session, whos: list[Identity]) -> dict[Identity, Any]:
    return {Identity(*row[:3]): row for row in session.lookup(ACTOR, _READ, _KEY, whos)}


def _alive(session: Session, owners: set[str]) -> dict[str, str]:
    """The incarnations of those hosts whose leases run."""
    found = session.lookup(
        HOST, ("host_id", "incarnation", "lease_until"), ("host_id",), [(owner,) for owner in owners]
    )
    now = session.lease_now
    return {host: incarnation for host, incarnation, until in found if until > now}


def _read_more(
    session: Session, operations: Sequence[Claim], claimed: dict[Identity, Any]
) -> dict[Identity, Any]:
    wanted: dict[ReadMore, list[tuple[Identity, int, int]]] = {}
    for each in operations:
        row = claimed.get(each.who)
        if row is not None and each.read_more is not None:
            # A state that is not there, or is of another version of its type, is made again from the start.
            since = row[7] if row[6] is not None and row[10] == each.schema_version else 0
            wanted.setdefault(each.read_more, []).append((each.who, since, row[5]))
    found: dict[Identity, Any] = {}
    for read, whos in wanted.items():
        found |= read(session, whos)
    return found


def _data_keys(
    session: Session, operations: Sequence[Claim], claimed: dict[Identity, Any]
) -> dict[Identity, bytes]:
    wanted: dict[KeyRing, dict[Identity, tuple[int, str | None]]] = {}
    for each in operations:
        row = claimed.get(each.who)
        if row is not None and each.ring is not None:
            wanted.setdefault(each.ring, {})[each.who] = (int(row[5]), row[9])
    found: dict[Identity, bytes] = {}
    for ring, actors in wanted.items():
        found |= made_keys(session, ring, actors)
    return found


def _claimed(row: Any, token: bytes | None, incarnation: str, more: Any, data_key: bytes | None) -> Claimed:
    _, _, _, owner, _, revision, state, state_revision, codec, key_id, version, tags = row
    return Claimed(
        *(token, owner, incarnation, revision, state, state_revision, codec, key_id, version, tags),
        *(more, data_key),
    )


class Release(Operation[None]):
    """Give an actor back, so that any host may take it at once; one that holds nothing is taken away."""

    rank = 1

    def __init__(self, who: Identity, token: bytes, revision: int) -> None:
        self._row = (*who, token)
        self._revision = revision

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Release]) -> list[None]:
        """See `Operation.perform_all`."""
        empty = [(*each._row, 0) for each in operations if not each._revision]
        session.delete(ACTOR, (*_KEY, "token", "revision"), empty)
        used = [(*each._row, None, None) for each in operations if each._revision]
        session.update(ACTOR, (*_KEY, "token"), ("owner", "token"), used)
        return [None] * len(operations)


_RELEASE_ALL = Select(
    "UPDATE kb_actor SET owner = NULL, token = NULL"
    " WHERE owner = :host AND system_name = :system AND actor_type = :type"
)


def release_all(session: Session, host: str, system: str, type: str) -> int:
    """Give back all actors of a type that a host holds; how many there were."""
    return session.run(_RELEASE_ALL, host, system, type)


MOST_ANSWERED = 256
_ANSWERED = Select(
    "SELECT request_id, revision, reply FROM kb_request WHERE system_name = :system AND actor_type = :type"
    " AND actor_key = :key ORDER BY request_id LIMIT :most"
)


def all_answered(session: Session, who: Identity) -> dict[str, tuple[int, bytes]] | None:
    """All replies of an actor by request id, as revision and sealed bytes; None where there are too many."""
    found = session.fetch(_ANSWERED, *who, MOST_ANSWERED + 1)
    if len(found) > MOST_ANSWERED:
        return None
    return {str(id): (int(revision), bytes(reply)) for id, revision, reply in found}


def answered_before(session: Session, who: Identity, request_id: str) -> tuple[int, bytes] | None:
    """The reply that was filed under a request's id, if there is one."""
    found = session.lookup(REQUEST, ("revision", "reply"), (*_KEY, "request_id"), [(*who, request_id)])
    return None if not found else (int(found[0][0]), bytes(found[0][1]))
