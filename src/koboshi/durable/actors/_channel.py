"""`Channel`: what is published there becomes a message to each durable actor that has subscribed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from ..._kernel._errors import NotRunning, UsageError
from ..._kernel._node import this_node
from .._failures import WrongKey
from ..stores import Row, Session, StoreURL, check_url
from ..stores._tables import OUTBOX, REQUEST
from ._codec import codec_of, type_name, within_limit
from ._data_key import data_keys
from ._identity import Identity, checked_name
from ._letter import put_source
from ._publication import ROW, Publication, publish_all, subscribers_of
from ._put import There, kept, question
from ._seal import is_sealed

if TYPE_CHECKING:
    from ._definition import Definition
    from ._kind import Kind
    from ._seal import Sealer

__all__ = ["Channel"]

T = TypeVar("T")


class Channel(Generic[T]):
    """A name under which values of one type are published: `news = kb.Channel("news", Story, store=...)`.

    Args:
        name: up to 128 characters.
        of: the type of what is published.
        store: the same URL as that of the kinds that publish and subscribe.
        system: theirs (default "default").

    Raises:
        UsageError: a name that cannot be stored, or a type that cannot.
    """

    def __init__(self, name: str, of: type[T], *, store: StoreURL, system: str = "default") -> None:
        check_url(store)
        self.name = checked_name("channel's name", name, 128)
        self.store = store
        self.system = checked_name("system", system, 64)
        self._codec = codec_of(cast("Any", of), "msgpack")

    async def publish(self, value: T, *, request: str | None = None) -> int:
        """Record a value for each subscriber of this moment; each handles it exactly once. How many there are.

        What one program publishes so arrives in the order in which it was published.

        Args:
            request: an id under which each subscriber handles it once, however often it is published; what has one
                keeps no order.

        Raises:
            RequestMismatch: another value was published under the id; this one is recorded for nobody.
            NotRunning: no kind of this store runs on this event loop.
            StoreUnavailable, OutcomeUnknown, UsageError: as `DurableRef.call`.
        """
        payload, kinds = self.encoded(value), self._kinds()
        kind = next(iter(kinds.values()))

        def sealer_of(to: Identity) -> Sealer:
            return kinds.get((to.system, to.type), kind).definition.sealer

        place = (self.system, self.name)
        if request is None:
            source = f"channel/{kind.store.incarnation}"
            publication = Publication(place, source, next(_counter()) << 20, payload, sealer_of)
            [rows] = await kind.store.change(lambda session: publish_all(session, [publication]))
            kind.share(rows)
            return len(rows)
        id = checked_name("request id", request, 128)
        added, count = await kind.store.change(
            lambda session: _repeat(session, place, id, payload, kinds, sealer_of)
        )
        kind.share(added)
        return count

    async def subscribers(self) -> list[tuple[str, str]]:
        """The types and keys of those that have subscribed, in order.

        Raises:
            NotRunning, StoreUnavailable: as `publish`.
        """
        kind = next(iter(self._kinds().values()))
        place = (self.system, self.name)
        found = await kind.store.read(lambda session: subscribers_of(session, [place])[place])
        return [(who.type, who.key) for who, _ in found]

    def encoded(self, value: T) -> bytes:
        """A value as the arguments of a message.

        Raises:
            UsageError: it is not of the channel's type.
        """
        try:
            blob = self._codec.encode(value)
            self._codec.decode(blob)
        except (TypeError, msgspec.ValidationError) as error:
            raise UsageError(
                f"the channel {self.name!r} takes {type_name(self._codec.type)}, got a {type(value).__name__}: "
                f"{error}"
            ) from None
        return within_limit(f"what is published on {self.name!r}", msgspec.msgpack.encode(((value,), {})))

    def check(self, definition: Definition, who: Identity) -> None:
        """Raise `UsageError` unless an actor of this kind may use the channel."""
        if (definition.system, definition.store) != (self.system, self.store):
            raise UsageError(
                f"{who} is of the system {definition.system!r} in {definition.store}, and the channel {self.name!r} "
                f"of {self.system!r} in {self.store}; a channel is where its publishers and subscribers are"
            )

    def subscription(self, definition: Definition, who: Identity) -> tuple[str, str, str, str]:
        """The key of an actor's subscription."""
        self.check(definition, who)
        return (self.system, self.name, who.type, who.key)

    def _kinds(self) -> dict[tuple[str, str], Kind]:
        kinds: dict[tuple[str, str], Kind] = this_node().services.get("koboshi.kinds", {}).get(self.store, {})
        if not kinds:
            raise NotRunning(
                f"the channel {self.name!r}",
                "what was published",
                f"no kind of durable actor of {self.store} runs here",
                "put the child() of one under a running supervisor",
            )
        return kinds

    def __repr__(self) -> str:
        return f"<Channel {self.name!r}>"


def _counter() -> Iterator[int]:
    """Numbers for what this program publishes outside of actors."""
    counter: Iterator[int] = this_node().services.setdefault("koboshi.publications", itertools.count(1))
    return counter


def _repeat(
    session: Session,
    place: tuple[str, str],
    id: str,
    payload: bytes,
    kinds: dict[tuple[str, str], Kind],
    sealer_of: Callable[[Identity], Sealer],
) -> tuple[list[Row], int]:
    """Add the messages that are not there yet and were not handled; them, and how many subscribers there are."""
    subscribers = subscribers_of(session, [place])[place]
    there = _recorded(session, place[0], id, [who for who, _ in subscribers])
    rows: list[Row] = []
    for who, message in subscribers:
        if who not in there:
            rows += Publication(place, put_source(who, id), 0, payload, sealer_of).rows([(who, message)], -1)
        elif (kind := kinds.get((who.system, who.type))) is not None:
            _check(kind.definition, who, id, message, payload, there[who])
    session.insert(OUTBOX, ROW, [(*row, session.now, 0) for row in rows], ignore=True)
    return rows, len(subscribers)


def _recorded(session: Session, system: str, id: str, whos: list[Identity]) -> dict[Identity, There]:
    """What those of these actors have under a request's id that have something."""
    columns = ("system_name", "actor_type", "actor_key", "request_id")
    filed = session.lookup(REQUEST, (*columns[:3], "reply"), columns, [(*who, id) for who in whos])
    replies = {Identity(*row[:3]): bytes(row[3]) for row in filed}
    keys = data_keys(session, [who for who, reply in replies.items() if is_sealed(reply)])
    sources = {put_source(who, id): who for who in whos}
    places = [(system, source, 0) for source in sources]
    rows = session.lookup(OUTBOX, ("source", "message", "payload"), ("system_name", "source", "seq"), places)
    found = {sources[row[0]]: There(None, str(row[1]), bytes(row[2])) for row in rows}
    return found | {who: There(reply, data_key=keys.get(who)) for who, reply in replies.items()}


def _check(
    definition: Definition, who: Identity, id: str, message: str, payload: bytes, there: There
) -> None:
    """Raise `RequestMismatch` where a subscriber has another value under the id.

    One that has subscribed with another message since, or whose keys this program has not, cannot be asked.
    """
    with contextlib.suppress(WrongKey):
        found = kept(definition, who, id, there)
        if found is not None and found.message == message:
            found.check(who, id, question(definition, message, payload))
