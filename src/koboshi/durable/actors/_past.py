"""What an actor was at an earlier revision: read from the store, without waking it.

The rows of an actor's past are events, or the states of its revisions where the kind keeps them (`history=True`).
Both have the revision as their number and belong to the actor's identity, so that one rule covers both: they begin
at 1 and have no gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..._kernel._errors import UsageError
from ..._supervision._options import whole
from .._failures import ActorExists, Corrupted, NoSuchRevision, UnknownType
from ..stores import Row, Select, Session, Store
from ..stores._tables import ACTOR, EVENT
from ._codec import CODECS
from ._data_key import data_key_of, store_key
from ._identity import MOST_KEY, Identity, checked_name
from ._numbers import event_number, state_number
from ._recording import STATE
from ._seal import BY_DATA_KEY
from ._state import decoded
from ._write import take_places

if TYPE_CHECKING:
    from ._actor import DurableActor
    from ._definition import Definition
    from ._seal import Sealer

__all__ = [
    "PAST",
    "KeptStates",
    "Past",
    "PastOf",
    "Recorded",
    "Span",
    "check_gapless",
    "initial_state",
    "opened",
]

A_co = TypeVar("A_co", covariant=True)
S = TypeVar("S")

_KEY = ("system_name", "actor_type", "actor_key")
# The largest number that every database takes.
_MOST = 2**63 - 1
#: What is read of an event, in this order.
PAST = ("seq", "event_type", "schema_version", "payload", "codec", "key_id", "recorded_at")
_ROWS = Select(
    f"SELECT {', '.join(PAST)} FROM kb_event WHERE system_name = :system AND actor_type = :type"
    " AND actor_key = :key AND seq > :after AND seq <= :until ORDER BY seq"
)
_FEW = Select(_ROWS.text.replace(" AND seq <= :until", "") + " LIMIT :most")
_FORKED = (
    *(*_KEY, "epoch", "revision", "state", "state_revision", "codec", "key_id"),
    *("schema_version", "updated_at"),
)
_COPIED = (
    *(*_KEY, "seq", "event_type", "schema_version", "payload", "codec", "key_id"),
    *("place", "recorded_at"),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One thing that happened to an actor: its revision by that, when, and the event, or the state that was kept."""

    revision: int
    recorded_at: float
    type: str
    event: Any


class Span:
    """Rows of an actor's past, as they were at one moment: it is to be read steadily.

    Args:
        until: the last revision; None: the latest.
        version: of the states that can be used.
        start: "snapshot": what comes after the stored state; "last": the last revision only; "beginning".
    """

    __slots__ = ("actor", "data_key", "latest", "rows", "since", "until")

    def __init__(self, session: Session, who: Identity, until: int | None, start: str, version: int) -> None:
        found = session.lookup(ACTOR, SNAPSHOT, _KEY, [who])
        self.actor: Row | None = found[0] if found else None
        self.latest = 0 if self.actor is None else int(self.actor[0])
        if until is not None and until > self.latest:
            raise NoSuchRevision(str(who), until, self.latest)
        self.until = self.latest if until is None else until
        self.since = 0
        if start == "last":
            self.since = max(0, self.until - 1)
        elif start == "snapshot" and self.actor is not None and self.actor[1] is not None:
            usable = self.actor[2] <= self.until and self.actor[5] == version
            self.since = int(self.actor[2]) if usable else 0
        self.rows = session.fetch(_ROWS, *who, self.since, self.until)
        key_ids = [] if self.actor is None else [self.actor[4]]
        key_ids += (row[5] for row in self.rows)
        self.data_key = data_key_of(session, who, needed=BY_DATA_KEY in key_ids)


SNAPSHOT = ("revision", "state", "state_revision", "codec", "key_id", "schema_version")


def check_gapless(who: Identity, rows: list[Row], since: int, until: int) -> None:
    """Raise `Corrupted` unless these are exactly the revisions after `since` up to `until`."""
    for expected, row in enumerate(rows, since + 1):
        if row[0] != expected:
            raise Corrupted(str(who), f"the event with revision {expected} is missing")
    if since + len(rows) < until:
        raise Corrupted(str(who), f"the event with revision {since + len(rows) + 1} is missing")
    if since + len(rows) > until:
        raise Corrupted(
            str(who), f"there are events up to revision {rows[-1][0]} and its row is of revision {until}"
        )


def opened(sealer: Sealer, who: Identity, row: Row) -> bytes:
    """What a row of the past holds.

    Raises:
        Corrupted: it is not what was stored there.
    """
    return sealer.open(who, "event", event_number(row[0], row[1], row[2], row[4]), bytes(row[3]))


def resealed(old: Sealer, who: Identity, sealer: Sealer, new: Identity, row: Row) -> Row:
    """The same row for another actor."""
    revision, type, version, _, codec, _, recorded_at = row
    blob = opened(old, who, row)
    sealed, key_id = sealer.seal(new, "event", event_number(revision, type, version, codec), blob)
    return (*new, revision, type, version, sealed, codec, key_id, recorded_at)


class PastOf(Protocol):
    """How the rows of a kind's past are read."""

    #: Where a `Span` for one state begins.
    start: str

    def event(self, definition: Definition, sealer: Sealer, who: Identity, row: Row) -> Any:
        """What a row says has happened; None for one that only takes a revision."""
        ...

    def state(self, definition: Definition, who: Identity, span: Span) -> Any:
        """The state at the end of a span."""
        ...

    def forked(self, definition: Definition, sealer: Sealer, new: Identity, rows: list[Row]) -> Row:
        """state, state_revision, codec, key_id and schema_version of a new actor with these rows."""
        ...


class KeptStates:
    """The states of a plain durable actor."""

    start = "last"

    def event(self, definition: Definition, sealer: Sealer, who: Identity, row: Row) -> Any:
        """See `PastOf`."""
        if row[1] != STATE or row[4] not in CODECS:
            raise UnknownType(
                str(who), f"its revision {row[0]} is kept as {row[1]!r} by the codec {row[4]!r}"
            )
        blob = opened(sealer, who, row)
        what, now = f"state at revision {row[0]}", definition.schema_version
        return decoded(who, what, definition.codec, row[4], blob, row[2], now, definition.upcasters)

    def state(self, definition: Definition, who: Identity, span: Span) -> Any:
        """See `PastOf`."""
        if not span.until:
            return initial_state(definition, who)
        check_gapless(who, span.rows, span.since, span.until)
        return self.event(definition, definition.opener(who, span.data_key), who, span.rows[-1])

    def forked(self, definition: Definition, sealer: Sealer, new: Identity, rows: list[Row]) -> Row:
        """See `PastOf`."""
        revision, _, version, payload, codec = rows[-1][3:8]
        number = event_number(revision, STATE, version, codec)
        blob = sealer.open(new, "event", number, payload)
        number = state_number(revision, codec, version)
        sealed, key_id = sealer.seal(new, "state", number, blob)
        return sealed, revision, codec, key_id, version


def initial_state(definition: Definition, who: Identity) -> Any:
    """What an actor begins with."""
    actor = definition.cls(*definition.args, **definition.kwargs)
    actor._kb_activation = _Asleep(who)
    return actor.initial()


class _Asleep:
    """Stands in for the activation of an actor that is only asked for its initial state."""

    __slots__ = ("revision", "tags", "who")

    def __init__(self, who: Identity) -> None:
        self.who = who
        self.revision = 0
        self.tags: dict[str, str] = {}


class Past(Generic[A_co]):
    """The address of an actor, as far as its past goes. Nothing here wakes it."""

    __slots__ = ()

    _definition: Definition
    key: str

    @property
    def who(self) -> Identity:
        """Its identity."""
        return Identity(self._definition.system, self._definition.type, self.key)

    def _kb_past(self, what: str) -> tuple[Store, PastOf]:
        definition = self._definition
        if definition.past is None:
            raise UsageError(
                f"{definition.type} keeps no past; make it known with kb.durable(..., history=True), or make it a "
                "kb.EventSourced"
            )
        return definition.running(what).store, definition.past

    async def as_of(self: Past[DurableActor[S]], revision: int) -> S:
        """Its state at a revision; 0 is what it began with.

        Raises:
            NoSuchRevision: it has not come so far.
            UsageError: the kind keeps no past.
            Corrupted: a row cannot be used.
        """
        whole("revision", revision, 0)
        store, past = self._kb_past("as_of")
        definition, who = self._definition, self.who
        span = await store.read(
            lambda session: Span(session, who, revision, past.start, definition.schema_version), steady=True
        )
        state: S = past.state(definition, who, span)
        return state

    async def history(self, *, after: int = 0, limit: int = 100) -> list[Recorded]:
        """Up to `limit` events (or kept states) with revisions over `after`, in order.

        Raises:
            UsageError, Corrupted: as `as_of`.
        """
        whole("after", after, 0)
        whole("limit", limit, 1)
        store, past = self._kb_past("history")
        definition, who = self._definition, self.who

        def read(session: Session) -> tuple[list[Row], bytes | None]:
            rows = session.fetch(_FEW, *who, min(after, _MOST), min(limit, _MOST))
            return rows, data_key_of(session, who, needed=any(row[5] == BY_DATA_KEY for row in rows))

        rows, data_key = await store.read(read, steady=True)
        if rows:
            check_gapless(who, rows, after, rows[-1][0])
        sealer = definition.opener(who, data_key)
        found = [(row, past.event(definition, sealer, who, row)) for row in rows]
        return [Recorded(row[0], row[6], row[1], event) for row, event in found if event is not None]

    async def fork(self, new_key: str, *, at: int | None = None) -> int:
        """Make another actor out of this one's past up to a revision (default: all of it); gives that revision.

        What has happened is copied in one transaction, with places of its own in the order of commits, and where
        the kind has keys sealed with a data key of its own: it stays when this one is erased. In a turn it copies at
        once what was committed before, without what the turn has changed, and stays when the turn fails.

        Raises:
            ActorExists: the key is taken; nothing was changed.
            NoSuchRevision: this one has not come so far.
            UsageError, Corrupted: as `as_of`; nothing was copied.
        """
        if at is not None:
            whole("at", at, 1)
        store, past = self._kb_past("fork")
        definition, who = self._definition, self.who
        new = Identity(who.system, who.type, checked_name("key", new_key, MOST_KEY))
        span = await store.read(
            lambda session: Span(session, who, at, "beginning", definition.schema_version), steady=True
        )
        if not span.until:
            raise NoSuchRevision(str(who), 1, span.latest)
        check_gapless(who, span.rows, 0, span.until)
        old = definition.opener(who, span.data_key)
        sealer, keys = definition.newcomer(new)
        rows = [resealed(old, who, sealer, new, row) for row in span.rows]
        state = past.forked(definition, sealer, new, rows)

        def write(session: Session) -> bool:
            made = (*new, 0, span.until, *state, session.now)
            if not session.insert(ACTOR, _FORKED, [made], ignore=True):
                return False
            if keys:
                store_key(session, keys)
            place = take_places(session, who.system, len(rows))
            copied = [(*row[:-1], place + index, row[-1]) for index, row in enumerate(rows)]
            session.insert(EVENT, _COPIED, copied)
            return True

        if not await store.change(write):
            raise ActorExists(str(new))
        for listener in tuple(definition.listeners):
            listener()
        return span.until

    async def place(self) -> int:
        """Where its last commit is in the order of commits, for `wait_for` of a projection; 0 when it has none."""
        store, _ = self._kb_past("place")
        who = self.who

        def read(session: Session) -> int:
            found = session.lookup(ACTOR, ("revision",), _KEY, [who])
            last = session.lookup(EVENT, ("place",), (*_KEY, "seq"), [(*who, found[0][0])]) if found else []
            return int(last[0][0]) if last else 0

        return await store.read(read)
