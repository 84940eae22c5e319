"""Taking an actor away, also where it is awake in another program.

Its turns are refused by the fence: they find no row. Its queries ask nobody. So an erasure counts itself in the
store, in its own transaction; each kind reads that count whenever it looks at its outbox, and where it has changed
drops those that are awake there and have no row with their token any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..._kernel._reasons import Shutdown
from .._failures import Fenced
from ..stores import Query, Row, Session
from ..stores._tables import ACTOR, COUNTER
from ._identity import Identity
from ._rows import erase_rows
from ._write import take_places

if TYPE_CHECKING:
    from ._activation import Activation
    from ._kind import Kind

__all__ = ["Erasures", "drop", "erase"]

_KEY = ("system_name", "actor_type", "actor_key")


def erase(session: Session, who: Identity) -> tuple[int, str | None]:
    """Delete every row of an actor, and have its owner hear of it; how many there were, and that owner."""
    found = session.lookup(ACTOR, ("owner",), _KEY, [who])
    owner = found[0][0] if found else None
    rows = erase_rows(session, who)
    if owner is not None:
        take_places(session, who.system, 1, _count_name(who.type))
    return rows, owner


def drop(activation: Activation) -> None:
    """End an actor that was erased. What it still wants committed finds no row."""
    activation.kind.lost(activation, Fenced(str(activation.who)))
    activation.ref.exit(Shutdown("erased"))


def _count_name(type: str) -> str:
    return f"erased/{type}"


class Erasures:
    """Of one kind: what it knows of erasures by others."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        definition = kind.definition
        self._row = (definition.system, _count_name(definition.type))
        # Those up to which all that are awake here have been looked at; None: they are to be.
        self._seen: int | None = None

    def submit(
        self, read: Callable[[Session], list[Row]], done: Callable[[list[Row], Exception | None], None]
    ) -> None:
        """Have something read from the store, and along with it how many erasures there have been."""

        def both(session: Session) -> tuple[list[Row], int]:
            found = session.lookup(COUNTER, ("amount",), ("system_name", "counter_name"), [self._row])
            return read(session), int(found[0][0]) if found else 0

        def told(found: tuple[list[Row], int], error: Exception | None) -> None:
            if error is not None:
                done([], error)
                return
            if self._kind._use is not None and found[1] != self._seen:
                self._check(found[1])
            done(found[0], None)

        self._kind.store.submit(Query(both), told)

    def _check(self, count: int) -> None:
        """There have been some that are new here: drop whom they have met."""
        self._seen = count
        # A pooled one has no row.
        held = [] if self._kind.definition.pooled else list(self._kind.active.values())
        if not held:
            return
        whos = [each.who for each in held]

        def read(session: Session) -> dict[str, bytes]:
            found = session.lookup(ACTOR, ("actor_key", "token"), _KEY, whos)
            return {key: bytes(token or b"") for key, token in found}

        def done(tokens: dict[str, bytes], error: Exception | None) -> None:
            if error is not None:
                self._seen = None
                return
            for each in held:
                if each.is_current and tokens.get(each.who.key) != each.token:
                    drop(each)

        try:
            self._kind.store.submit(Query(read), done)
        except Exception as error:
            done({}, error)
