"""The rows with the data keys of actors: looked up together, and made for those that have none yet.

An actor has one data key for as long as it lives. That of a new actor comes with its first write, behind the fence.
One that was stored before there were data keys gets its own when it is claimed or when the keys of its kind are
rotated, whichever is first: whoever comes second finds the row there and takes what it holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..stores import Session
from ..stores._tables import DATA_KEY, EVENT
from ._identity import Identity
from ._key_ring import KEY
from ._seal import BY_DATA_KEY

if TYPE_CHECKING:
    from ._key_ring import KeyRing

__all__ = ["ROW", "data_key_of", "data_keys", "made_keys", "store_key"]

_KEY = ("system_name", "actor_type", "actor_key")
#: The columns of a data key's row.
ROW = (*_KEY, "key_id", "wrapped")


def data_keys(session: Session, whos: Iterable[Identity]) -> dict[Identity, bytes]:
    """The data keys of those actors that have one, as they are stored."""
    rows = session.lookup(DATA_KEY, (*_KEY, "wrapped"), _KEY, list(whos))
    return {Identity(*row[:3]): bytes(row[3]) for row in rows}


def data_key_of(session: Session, who: Identity, *, needed: bool) -> bytes | None:
    """The data key of one actor as it is stored, if there is one; looked up only where it is needed."""
    return data_keys(session, [who]).get(who) if needed else None


def made_keys(
    session: Session, ring: KeyRing, actors: Mapping[Identity, tuple[int, str | None]]
) -> dict[Identity, bytes]:
    """The same for actors by revision and `key_id` of the state; made for those that have something and no key.

    None is made where a row says that there was one: what it has sealed would not open, and the new one would be in
    the way of the old one's backup.
    """
    found = data_keys(session, actors)
    without = [who for who, (revision, _) in actors.items() if revision and who not in found]
    if without:
        lost = {who for who in without if actors[who][1] == BY_DATA_KEY}
        # Events are sealed in order by a rotation, and what is new is at the end.
        ends = [(*who, seq) for who in without for seq in sorted({1, actors[who][0]})]
        rows = session.lookup(EVENT, (*_KEY, "key_id"), (*_KEY, "seq"), ends)
        lost |= {Identity(*row[:3]) for row in rows if row[3] == BY_DATA_KEY}
        new = sorted(set(without) - lost)
        if new:
            made = [(*who, *ring.wrapped(who, os.urandom(KEY))) for who in new]
            session.insert(DATA_KEY, ROW, made, ignore=True)
            found |= data_keys(session, new)
    return found


def store_key(session: Session, rows: list[tuple[Any, ...]]) -> None:
    """Store data keys of actors of which nothing else is stored yet.

    What is there already has sealed nothing: a rotation may have made it for one that was erased meanwhile.
    """
    session.upsert(DATA_KEY, ROW, rows)
