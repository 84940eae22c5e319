"""One write of one actor: what its turns since the last commit have changed, as one operation of a group.

The update of the actor's row names token and revision and must find it; that is the fence. Everything else of the
turns is in the same transaction: events, replies filed under request ids, messages to be sent, timers, tags, and
whatever statements the author has added. A write that finds no row has done nothing at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .._failures import Fenced, StatementRefused
from ..stores import Operation, Row, Select, Session
from ..stores._tables import ACTOR, COUNTER, EVENT, JOURNAL, OUTBOX, REQUEST, SUBSCRIPTION, TAG, TIMER
from ._data_key import store_key
from ._identity import Identity
from ._publication import ROW, Publication, publish_all

if TYPE_CHECKING:
    from ..._kernel._wait import Request
    from ._forward import Relay

__all__ = ["Effects", "Write", "grown"]

T = TypeVar("T")

_KEY = ("system_name", "actor_type", "actor_key")
_FENCE = (*_KEY, "token", "revision")
_STATE = (
    *("revision", "state", "state_revision", "codec", "key_id"),
    *("schema_version", "tags", "updated_at"),
)
_REQUEST = (*_KEY, "request_id", "revision", "reply", "expires_at")
_EVENT = (
    *(*_KEY, "seq", "event_type", "schema_version", "payload", "codec", "key_id"),
    *("place", "recorded_at"),
)
_TIMER = (
    *(*_KEY, "timer_name", "due_at", "rule_text", "missed", "message", "payload"),
    *("codec", "key_id"),
)
_JOURNAL = (*_KEY, "seq", "payload", "key_id")
_TAG = ("system_name", "actor_type", "tag_name", "tag_value", "actor_key")
_SUBSCRIPTION = ("system_name", "channel", "actor_type", "actor_key", "message")


class Effects:
    """What one turn wants done besides the change of state. Rows are as their tables have them."""

    __slots__ = (
        "added",
        "events",
        "forgotten",
        "forwarded",
        "forwards",
        "journal",
        "journal_ends",
        "message",
        "outbox",
        "published",
        "publishing",
        "statements",
        "subscribed",
        "tags",
        "timers",
        "unsent",
        "unsubscribed",
    )

    def __init__(self) -> None:
        # What the turn handles, for errors.
        self.message = ""
        # Rows but for `place`, which the commit gives.
        self.events: list[Row] = []
        self.outbox: list[Row] = []
        # The message to whom the reply was forwarded, as a row of the outbox; one of the same id may be there.
        self.forwarded: list[Row] = []
        self.forwards = False
        # Rows but for `due_at`, in whose place is what gives it from the time of the transaction.
        self.timers: list[Row] = []
        self.forgotten: list[Row] = []
        # Sources of reminders that are forgotten: what of them is in the outbox goes too.
        self.unsent: list[str] = []
        # What a saga has done; it goes away with the write that ends the saga.
        self.journal: list[Row] = []
        self.journal_ends = False
        self.subscribed: list[Row] = []
        self.unsubscribed: list[Row] = []
        # What goes to those who have subscribed; and what that came to, as rows of the outbox, once it was tried.
        self.publishing: list[Publication] = []
        self.published: list[Row] = []
        self.tags: dict[str, str] | None = None
        self.statements: list[tuple[str, dict[str, Any]]] = []
        # What layers above add: called in the transaction, maybe more than once.
        self.added: list[Callable[[Session], object]] = []


def grown(there: list[T] | tuple[()], new: T) -> list[T]:
    """A list of a write with one more in it: the same list, or the first."""
    if not there:
        return [new]
    there.append(new)
    return there


class Writer(Protocol):
    """Who has made a write."""

    def stored(self, write: Write) -> tuple[Any, ...] | None:
        """It is handed over: state, state_revision, codec, key_id and schema_version as they are to be stored.

        None: only the revision changes.
        """
        ...

    def committed(self, write: Write, error: Exception | None) -> None:
        """It is committed, or has failed."""
        ...


class Write(Operation[None]):
    """See the module. `revision` is before, `after` behind all of its turns.

    There is one for each turn that nobody shares a write with, so lists that most have no use for are made when
    something comes into them: the garbage collector goes through all that wait for their commit.
    """

    rank = 0
    __slots__ = (
        "after",
        "consumed",
        "data_key",
        "effects",
        "events",
        "is_sealed",
        "replies",
        "requests",
        "revision",
        "stored",
        "tags",
        "token",
        "who",
        "writer",
    )

    def __init__(
        self, who: Identity, token: bytes, revision: int, writer: Writer, tags: dict[str, str]
    ) -> None:
        self.who = who
        self.token = token
        self.revision = revision
        self.after = revision
        self.writer = writer
        self.tags = tags
        self.is_sealed = False
        self.stored: tuple[Any, ...] | None = None
        # Of the first write of an actor with keys: id of the ring's key and its own, sealed with that.
        self.data_key: tuple[str, bytes] | None = None
        # Those that have any; most turns have none.
        self.effects: list[Effects] | tuple[()] = ()
        # Of turns that record nothing but events: rows as those of `Effects.events`.
        self.events: list[Row] | tuple[()] = ()
        # (request id, revision, sealed reply, seconds to keep it)
        self.requests: list[tuple[str, int, bytes, float]] | tuple[()] = ()
        # Messages of the outbox that these turns have handled: (source, seq).
        self.consumed: list[tuple[str, int]] | tuple[()] = ()
        # Who waits for the commit, and what it is to be told then: a value, or an error.
        self.replies: list[tuple[Request | Relay, Any, bool]] = []

    def seal(self) -> None:
        """See `Operation.seal`."""
        if not self.is_sealed:
            self.is_sealed = True
            self.stored = self.writer.stored(self)

    def told(self, _: None, error: Exception | None) -> None:
        """What it has come to."""
        self.writer.committed(self, error)

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Write]) -> list[None]:
        """See `Operation.perform_all`."""
        _fence(session, operations)
        _consume(session, operations)
        # Behind the fence: of two that have made one only whose write is committed has it stored.
        keys = [(*each.who, *each.data_key) for each in operations if each.data_key is not None]
        if keys:
            store_key(session, keys)
        now = session.now
        requests = [
            (*each.who, id, revision, reply, now + kept)
            for each in operations
            for id, revision, reply, kept in each.requests
        ]
        if requests:
            session.insert(REQUEST, _REQUEST, requests)
        if any(each.effects or each.events for each in operations):
            _effects(session, operations)
        return [None] * len(operations)


def _fence(session: Session, writes: Sequence[Write]) -> None:
    now = session.now
    # One without a token has no row, and so nothing to be fenced.
    fenced = [each for each in writes if each.token]
    with_state = [
        (
            *(*each.who, each.token, each.revision, each.after),
            *(*each.stored, json.dumps(each.tags) if each.tags else None, now),
        )
        for each in fenced
        if each.stored is not None
    ]
    without = [
        (*each.who, each.token, each.revision, each.after, now) for each in fenced if each.stored is None
    ]
    found = session.update(ACTOR, _FENCE, _STATE, with_state)
    found += session.update(ACTOR, _FENCE, ("revision", "updated_at"), without)
    if found != len(fenced):
        raise Fenced(", ".join(str(each.who) for each in fenced[:3]))


def _consume(session: Session, writes: Sequence[Write]) -> None:
    """Take the messages that were handled out of the outbox: one that is not there was handled before."""
    consumed = [(each.who.system, *message) for each in writes for message in each.consumed]
    if consumed and session.delete(OUTBOX, ("system_name", "source", "seq"), consumed) != len(consumed):
        raise Fenced(", ".join(str(each.who) for each in writes[:3]))


_NEXT = Select(
    "UPDATE kb_counter SET amount = amount + :n WHERE system_name = :system AND counter_name = :name"
)
_REACHED = Select("SELECT amount FROM kb_counter WHERE system_name = :system AND counter_name = :name")
EVENTS = "events"


def take_places(session: Session, system: str, count: int, name: str = EVENTS) -> int:
    """The first of `count` places in the order of commits. The row stays locked until the commit."""
    if not session.run(_NEXT, count, system, name):
        columns = ("system_name", "counter_name", "amount")
        session.insert(COUNTER, columns, [(system, name, 0)], ignore=True)
        session.run(_NEXT, count, system, name)
    return int(session.fetch(_REACHED, system, name)[0][0]) - count + 1


def _effects(session: Session, writes: Sequence[Write]) -> None:
    for each in writes:
        tags = next((some.tags for some in reversed(each.effects) if some.tags is not None), None)
        if tags is not None:
            session.delete(TAG, _KEY, [each.who])
            system, type, key = each.who
            session.insert(TAG, _TAG, [(system, type, name, value, key) for name, value in tags.items()])
    every = [(each.who, some) for each in writes for some in each.effects]
    _rows(session, every)
    events = [row for each in writes for row in each.events]
    events += [row for _, some in every for row in some.events]
    if events:
        place = take_places(session, events[0][0], len(events))
        now = session.now
        session.insert(EVENT, _EVENT, [(*row, place + index, now) for index, row in enumerate(events)])
    for who, some in every:
        try:
            for text, values in some.statements:
                session.execute(text, values)
            for add in some.added:
                add(session)
        except StatementRefused as error:
            of = f"{who}, {some.message}"
            raise StatementRefused(error.statement, error.detail, of) from error.__cause__


def _rows(session: Session, every: list[tuple[Identity, Effects]]) -> None:
    # What one turn forgets another of the same write may set again, so each in its order.
    for who, some in every:
        if some.forgotten:
            session.delete(TIMER, (*_KEY, "timer_name"), some.forgotten)
        if some.unsent:
            ready = [(who.system, source, "ready") for source in some.unsent]
            session.delete(OUTBOX, ("system_name", "source", "state"), ready)
        if some.timers:
            rows = [(*row[:4], row[4](session.now), *row[5:]) for row in some.timers]
            session.upsert(TIMER, _TIMER, rows)
        if some.unsubscribed:
            session.delete(SUBSCRIPTION, _SUBSCRIPTION[:4], some.unsubscribed)
        if some.subscribed:
            session.upsert(SUBSCRIPTION, _SUBSCRIPTION, some.subscribed)
    journal = [row for _, some in every for row in some.journal]
    if journal:
        session.insert(JOURNAL, _JOURNAL, journal)
    ended = [who for who, some in every if some.journal_ends]
    if ended:
        session.delete(JOURNAL, _KEY, ended)
    now = session.now
    outbox = [(*row, now, 0) for _, some in every for row in some.outbox]
    if outbox:
        session.insert(OUTBOX, ROW, outbox)
    forwarded = [(*row, now, 0) for _, some in every for row in some.forwarded]
    if forwarded:
        session.insert(OUTBOX, ROW, forwarded, ignore=True)
    publishing = [some for _, some in every if some.publishing]
    if publishing:
        found = iter(publish_all(session, [each for some in publishing for each in some.publishing]))
        for some in publishing:
            some.published = [row for _ in some.publishing for row in next(found)]
