"""What is published becomes rows of the outbox: one for each durable actor that has subscribed to the channel.

Who has is looked up in the transaction of the publishing turn. From there on the messages are delivered as any is:
once, and in order for each publisher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..._kernel._errors import UsageError
from ..stores import Row, Session
from ..stores._tables import OUTBOX, SUBSCRIPTION
from ._identity import Identity

if TYPE_CHECKING:
    from ._seal import Sealer

__all__ = ["MOST", "ROW", "Publication", "publish_all", "subscribers_of"]

#: How many messages to subscribers one turn may have. Their numbers are above those of the messages that it sends.
MOST = 1 << 19
#: The columns of a row of the outbox.
ROW = (
    *("system_name", "source", "seq", "target_type", "target_key", "message", "payload"),
    *("codec", "key_id", "state", "not_before", "attempts"),
)
_SUBSCRIBER = ("channel", "actor_type", "actor_key", "message")
_CHANNEL = ("system_name", "channel")

Subscribers = dict[tuple[str, str], list[tuple[Identity, str]]]


class Publication:
    """One value on its way to those who have subscribed.

    Args:
        place: system and name of the channel.
        source: whom the messages come from.
        first: the number of the first one; later publications of the source have higher ones.
        sealer_of: who seals a message to a subscriber.
    """

    __slots__ = ("_first", "_payload", "_sealer_of", "place", "source")

    def __init__(
        self,
        place: tuple[str, str],
        source: str,
        first: int,
        payload: bytes,
        sealer_of: Callable[[Identity], Sealer],
    ) -> None:
        self.place = place
        self._payload = payload
        self.source = source
        self._first = first
        self._sealer_of = sealer_of

    def rows(self, subscribers: Iterable[tuple[Identity, str]], after: int) -> list[Row]:
        """The messages, as rows of the outbox but for the last two columns; their numbers are above `after`."""
        number = max(self._first, after + 1)
        rows: list[Row] = []
        for who, message in subscribers:
            if number >= self._first + MOST:
                raise UsageError(f"one turn of {self.source} has more than {MOST:,} messages to subscribers")
            place = f"{self.source}#{number}"
            sealed, key_id = self._sealer_of(who).seal(who, "message", place, self._payload)
            rows.append(
                (
                    who.system,
                    self.source,
                    number,
                    who.type,
                    who.key,
                    message,
                    sealed,
                    "msgpack",
                    key_id,
                    "ready",
                )
            )
            number += 1
        return rows


def subscribers_of(session: Session, places: Sequence[tuple[str, str]]) -> Subscribers:
    """Who has subscribed to channels, by system and name, each with the message that it wants; in order."""
    found: Subscribers = {place: [] for place in places}
    by_system: dict[str, list[tuple[str, str]]] = {}
    for place in found:
        by_system.setdefault(place[0], []).append(place)
    for system, some in by_system.items():
        for channel, type, key, message in sorted(session.lookup(SUBSCRIPTION, _SUBSCRIBER, _CHANNEL, some)):
            found[system, channel].append((Identity(system, type, key), message))
    return found


def publish_all(session: Session, publications: Sequence[Publication]) -> list[list[Row]]:
    """Add the messages of several publications, in order; for each its rows but for the last two columns."""
    subscribers = subscribers_of(session, [each.place for each in publications])
    found: list[list[Row]] = []
    last: dict[str, int] = {}
    for each in publications:
        rows = each.rows(subscribers[each.place], last.get(each.source, -1))
        if rows:
            last[each.source] = int(rows[-1][2])
        found.append(rows)
    session.insert(OUTBOX, ROW, [(*row, session.now, 0) for rows in found for row in rows])
    return found
