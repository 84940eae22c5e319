"""Which keys a kind has: read from the store, here or by a node that has the kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stores import Select, Session
from ..stores._tables import TAG
from ._routing import Routing, elsewhere

if TYPE_CHECKING:
    from ._definition import Definition

__all__ = ["keys_after", "keys_where", "look_up"]

_BY_TAG = ("system_name", "actor_type", "tag_name", "tag_value")
_KEYS = Select(
    "SELECT actor_key FROM kb_actor WHERE system_name = :system AND actor_type = :type AND actor_key > :after"
    " AND revision > 0 ORDER BY actor_key LIMIT :most"
)


def keys_where(session: Session, definition: Definition, tags: dict[str, str]) -> list[str]:
    """The keys of those that have all of these tags, in order."""
    found: set[str] | None = None
    for name, value in tags.items():
        row = (definition.system, definition.type, name, value)
        keys = {str(each[0]) for each in session.lookup(TAG, ("actor_key",), _BY_TAG, [row])}
        found = keys if found is None else found & keys
    return sorted(found or ())


def keys_after(session: Session, definition: Definition, after: str, limit: int) -> list[str]:
    """Up to so many keys that have a state, in order, from the first one after `after`."""
    rows = session.fetch(_KEYS, definition.system, definition.type, after, limit)
    return [str(row[0]) for row in rows]


async def look_up(
    definition: Definition, what: str, tags: dict[str, str], after: str = "", limit: int = 0
) -> list[str]:
    """By tags, or with none all that are after a key; where the kind does not run, by a node that runs it.

    Raises:
        NotRunning: nobody in this program runs it.
    """
    other = elsewhere(definition, None) if definition.live is None else None
    if other is not None:
        keys: list[str] = await other.call(Routing.look_up_keys, tags, after, limit)
        return keys
    return await definition.running(what).store.read(
        lambda session: (
            keys_where(session, definition, tags) if tags else keys_after(session, definition, after, limit)
        )
    )
