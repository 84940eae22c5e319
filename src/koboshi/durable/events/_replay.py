"""From rows to events to a state, and refused where a row cannot be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._failures import NoSuchRevision, UnknownType
from ..actors._identity import Identity
from ..actors._past import PAST, Span, check_gapless, initial_state, opened
from ..actors._state import decoded
from ..stores import Row, Select, Session
from ..stores._tables import EVENT
from ._folds import TURN, EventType, Folds

if TYPE_CHECKING:
    from ..actors._definition import Definition
    from ..actors._seal import Sealer

__all__ = ["EventPast", "read_events", "replay"]

_KEY = ("system_name", "actor_type", "actor_key")
# Up to so many events are looked up by their full keys, together with those of all other actors that wake.
_EXACT = 1_000
_SINCE = Select(
    f"SELECT {', '.join(PAST)} FROM kb_event WHERE system_name = :system AND actor_type = :type"
    " AND actor_key = :key AND seq > :after ORDER BY seq"
)


def read_events(session: Session, wanted: list[tuple[Identity, int, int]]) -> dict[Identity, list[Row]]:
    """The events of actors that wake, from after each one's snapshot; see `ReadMore`."""
    found: dict[Identity, list[Row]] = {}
    exact: list[Row] = []
    for who, since, revision in wanted:
        if revision - since > _EXACT:
            found[who] = session.fetch(_SINCE, *who, since)
        else:
            found[who] = []
            # One more than there should be: it is there if the actor's row is older than its events.
            exact += [(*who, seq) for seq in range(since + 1, revision + 2)]
    for row in session.lookup(EVENT, (*_KEY, *PAST), (*_KEY, "seq"), exact):
        found[Identity(*row[:3])].append(row[3:])
    for rows in found.values():
        rows.sort()
    return found


def event_of(
    definition: Definition, sealer: Sealer, folds: Folds, who: Identity, row: Row
) -> tuple[EventType, Any] | None:
    """What a row says has happened; None for a turn that has emitted nothing.

    Raises:
        UnknownType: this program does not know such events.
        SchemaTooNew, NoUpcaster, Corrupted: as `decoded`.
    """
    revision, name, version, _, codec = row[:5]
    blob = opened(sealer, who, row)
    if name == TURN:
        return None
    kind = folds.by_name.get(name)
    if kind is None or codec != kind.codec.name:
        raise UnknownType(
            str(who),
            f"its event {revision} is of the type {name!r} (codec {codec!r}), and {definition.cls.__qualname__} "
            f"knows {folds.known}; add a fold for it with @kb.event(type={name!r})",
        )
    what = f"event {name} with revision {revision}"
    return kind, decoded(who, what, kind.codec, codec, blob, version, kind.version, kind.upcasters)


def replay(
    definition: Definition, sealer: Sealer, who: Identity, state: Any, rows: list[Row], since: int, until: int
) -> Any:
    """The state after these events, which are those after `since`."""
    check_gapless(who, rows, since, until)
    folds: Folds = definition.cls._kb_folds
    for row in rows:
        found = event_of(definition, sealer, folds, who, row)
        if found is not None:
            state = found[0].fold(state, found[1])
    return state


class EventPast:
    """The past of an event-sourced actor; see `PastOf`."""

    start = "snapshot"

    def event(self, definition: Definition, sealer: Sealer, who: Identity, row: Row) -> Any:
        """See `PastOf`."""
        found = event_of(definition, sealer, definition.cls._kb_folds, who, row)
        return None if found is None else found[1]

    def state(self, definition: Definition, who: Identity, span: Span) -> Any:
        """See `PastOf`."""
        sealer = definition.opener(who, span.data_key)
        if span.since and span.actor is not None:
            _, blob, revision, codec, _, version = span.actor
            state = definition.state_in(sealer, who, blob, revision, codec, version)
        else:
            state = initial_state(definition, who)
        return replay(definition, sealer, who, state, span.rows, span.since, span.until)

    def forked(self, definition: Definition, sealer: Sealer, new: Identity, rows: list[Row]) -> Row:
        """See `PastOf`: nothing but its events."""
        if not rows:
            raise NoSuchRevision(str(new), 1, 0)
        return None, 0, definition.codec.name, None, definition.schema_version
