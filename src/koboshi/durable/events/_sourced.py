"""`EventSourced`: a durable actor whose state is what its events make of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from ..._kernel._errors import UsageError
from .._failures import SchemaTooNew
from ..actors._activation import Activation
from ..actors._actor import DurableActor
from ..actors._codec import UNSTORABLE, unstorable, within_limit
from ..actors._numbers import event_number
from ..actors._write import Write
from ._folds import TURN, EventType, Folds, folds_of
from ._frozen import is_frozen
from ._replay import EventPast, read_events, replay

if TYPE_CHECKING:
    from ..actors._claim import Claimed
    from ..actors._definition import Definition
    from ..actors._kind import Kind
    from ..stores import Row

__all__ = ["EventActivation", "EventSourced"]

S = TypeVar("S")


class EventActivation(Activation):
    """The activation of an event-sourced actor: a write carries its turns' events, and now and then a snapshot."""

    __slots__ = ("_emitted", "_every", "_rows", "_snapshot", "_snapshot_at", "_sync", "before")

    def __init__(self, kind: Kind, *args: Any) -> None:
        super().__init__(kind, *args)
        # The state after the last turn, which a refused one goes back to.
        self.before: Any = None
        # What the turn in hand has emitted, as rows; and with the revisions, for projections in its transaction.
        self._rows: list[Row] = []
        self._emitted: list[tuple[int, Any]] = []
        self._every = kind.definition.snapshot_every_events
        self._sync = kind.definition.sync
        # The revision of the last snapshot, and one that the next write takes along: its revision and its bytes.
        self._snapshot_at = 0
        self._snapshot: tuple[int, bytes] | None = None

    def woken(self, claimed: Claimed, since: int) -> None:
        """It has its state, of which the stored part is of revision `since`."""
        self.before = self.actor.state
        self.blob = cast("Any", self.actor)._kb_comparable()
        self._snapshot_at = since
        self.tags = json.loads(claimed.tags) if claimed.tags else {}

    def record(self, kind: EventType, event: Any) -> None:
        """Add an event to the turn in hand."""
        revision = self.revision + len(self._rows) + 1
        try:
            blob = kind.codec.storable(kind.label, self.who, kind.encode(event))
        except UNSTORABLE as error:
            raise unstorable(f"{kind.label} of {self.who}", error) from None
        self._rows.append(self._row(revision, kind.name, kind.version, blob))
        if self._sync:
            self._emitted.append((revision, event))

    @property
    def has_emitted(self) -> bool:
        """Whether the turn in hand has emitted anything."""
        return bool(self._rows)

    def _row(self, revision: int, type: str, version: int, blob: bytes) -> Row:
        number = event_number(revision, type, version, "msgpack")
        sealed, key_id = self.sealer.seal(self.who, "event", number, blob)
        return (*self.who, revision, type, version, sealed, "msgpack", key_id)

    def finish(self, run: Any, value: Any, request_id: str | None) -> Any:
        """See `Activation.finish`: only what was emitted can have changed the state."""
        actor: Any = self.actor
        blob = actor._kb_comparable()
        rows, self._rows = self._rows, []
        if not rows and blob != self.blob:
            raise UsageError(f"{run.__qualname__} has changed the state of {self.who}; emit an event instead")
        if not rows and self.effects is None and request_id is None and self.consuming is None:
            return value if self.is_clean else self.hold(value)
        if rows:
            revision = self.revision + len(rows)
            if self._sync:
                for sync in self._sync:
                    self.effect().added.append(sync(self.who, self._emitted))
                self._emitted = []
        else:
            # What a turn records has the revision as its number, so it needs one of its own.
            revision = self.revision + 1
            rows = [self._row(revision, TURN, 1, b"")]
        effects = self.effects
        if revision - self._snapshot_at >= self._every or (effects is not None and effects.tags is not None):
            state = within_limit(
                f"the state of {self.who}", self.kind.definition.codec.encode(actor._kb_value)
            )
            self._snapshot, self._snapshot_at = (revision, state), revision
        self.before = actor._kb_value
        return self._join(run, value, request_id, blob, revision, rows)

    def dropped(self) -> tuple[str, int] | None:
        """See `Activation.dropped`."""
        self._rows, self._emitted = [], []
        return super().dropped()

    def stored(self, write: Write) -> tuple[Any, ...] | None:
        """See `Writer.stored`: the state only where a snapshot is due."""
        self.handed_over(write)
        snapshot, self._snapshot = self._snapshot, None
        return None if snapshot is None else self.kind.definition.stored(self.sealer, self.who, *snapshot)

    def committed(self, write: Write, error: Exception | None) -> None:
        """See `Activation.committed`."""
        super().committed(write, error)
        if error is None and write.events:
            for listener in self.kind.definition.listeners:
                listener()


class EventSourced(DurableActor[S]):
    """A durable actor that records what happened; its state follows from that by pure folds.

    Messages decide and `emit`; functions marked `@kb.event` say what each event makes of the state. Its revision is
    the number of its events (a turn that emits nothing and yet records something, such as a reply under a request
    id, takes a revision too). A snapshot is stored every `snapshot_every_events`; it saves reading and means nothing:
    the events are the truth, and the state is made from them where it is missing or of another version.

    Without a runtime it is an ordinary object: `Cart().add("tea", 300)`.
    """

    _kb_folds: ClassVar[Folds]
    _kb_frozen: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "_kb_codec"):
            cls._kb_folds = folds_of(cls, cls._kb_codec.type)
            cls._kb_frozen = is_frozen(cls._kb_codec.type)

    @classmethod
    def _kb_define(cls, definition: Definition) -> None:
        if definition.durability != "commit":
            raise UsageError(
                f'{cls.__qualname__} is event-sourced, which needs durability "commit", got {definition.durability!r}'
            )
        if definition.history:
            raise UsageError(
                f"{cls.__qualname__} is event-sourced and has its past anyway; leave history away"
            )
        if not cls._kb_folds.by_class:
            raise UsageError(
                f"{cls.__qualname__} has no events; mark a fold for each with @kb.event: "
                "def opened(state: State, event: Opened) -> State"
            )
        definition.activates, definition.past = EventActivation, EventPast()
        definition.read_more = read_events

    @property  # type: ignore[misc]  # read-only for users of the class, which is the point
    def state(self) -> S:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What its events have made of it. Only `emit` changes it."""
        try:
            return self._kb_value
        except AttributeError:
            self._kb_value = self.initial()
            return self._kb_value

    if not TYPE_CHECKING:

        @state.setter
        def state(self, value):
            raise UsageError(
                f"the state of {type(self).__qualname__} follows from its events; "
                "write self.emit(...) and change the state in the event's fold"
            )

    def emit(self, event: object) -> None:
        """Record that something has happened, and have the state follow at once.

        It is committed with the turn; a turn that raises has emitted nothing.

        Raises:
            UsageError: the class has no fold for such an event.
            PayloadTooLarge: the event is too large.
        """
        kind = self._kb_folds.by_class.get(type(event))
        if kind is None and isinstance(event, type):
            raise UsageError(f"emit an event, {event.__qualname__}(...), not the class")
        if kind is None:
            raise UsageError(
                f"{type(self).__qualname__} has no fold for {event!r}; it knows {self._kb_folds.known}; mark one "
                f"with @kb.event: def name(state: State, event: {type(event).__name__}) -> State"
            )
        after = kind.fold(self.state, event)
        if self._kb_activation is not None:
            cast("EventActivation", self._kb_activation).record(kind, event)
        self._kb_value = after

    @classmethod
    def _kb_load(cls, actor: Any, activation: Any, claimed: Claimed) -> None:
        definition: Definition = activation.kind.definition
        now = definition.schema_version
        since, state = 0, actor.state
        if claimed.state is not None and claimed.schema_version > now:
            detail = f"its snapshot is of version {claimed.schema_version}, and this program knows {now}"
            raise SchemaTooNew(str(activation.who), f"{detail}; start the newer program")
        if claimed.state is not None and claimed.schema_version == now:
            since, state = claimed.state_revision, definition.state_of(activation, claimed)
        actor._kb_value = replay(
            definition, activation.sealer, activation.who, state, claimed.more, since, claimed.revision
        )
        activation.woken(claimed, since)

    def _kb_comparable(self) -> bytes:
        # What cannot be changed in place need not be compared.
        return b"" if self._kb_frozen else type(self)._kb_codec.encode(self.state)

    def _kb_encoded(self) -> bytes:
        """See `DurableActor`: asked after a query, which must not have emitted anything."""
        activation = cast("EventActivation | None", self._kb_activation)
        has_emitted = activation is not None and activation.has_emitted
        return self._kb_comparable() + (b"emitted" if has_emitted else b"")

    def _kb_restore(self, blob: bytes) -> None:
        if not self._kb_frozen:
            self._kb_value = type(self)._kb_codec.decode(blob)
        elif self._kb_activation is not None:
            self._kb_value = cast("EventActivation", self._kb_activation).before
