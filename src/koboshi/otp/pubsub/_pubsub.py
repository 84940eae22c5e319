"""`PubSub`: the actor that knows which node's hub wants which topic."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ..._kernel import _bonds
from ..._kernel._bonds import Monitor
from ..._kernel._cell import DEAD, REMOTE, Cell
from ..._kernel._errors import KoboshiError
from ..._kernel._events import Dropped
from ..._kernel._message import message
from ..._kernel._reasons import Down, Exit
from ..._kernel._ref import ActorRef
from ..._supervision._options import hashed
from .._answering import Answering
from ._hub import Hub


@dataclass(frozen=True, slots=True)
class PubSubStatistics:
    """A pub-sub at one moment.

    Attributes:
        nodes: nodes that have subscribers.
        topics: topics with subscribers.
        subscribers: processes that are subscribed to anything, on all nodes.
        broadcasts: messages that were broadcast, without local ones.
        delivered: copies that were put into mailboxes.
        dropped: copies that a full mailbox refused, and messages that a node refused.
    """

    nodes: int
    topics: int
    subscribers: int
    broadcasts: int
    delivered: int
    dropped: int


class PubSub(Answering):
    """Brings messages to all who are subscribed to a topic: `kb.child(otp.PubSub).options(name="events")`.

    Processes use it through the handle that `otp.pubsub` gives. Subscribers are linked to it through their
    node's hub: its end is theirs, unless they trap exits.
    """

    def __init__(self) -> None:
        self._topics: dict[Any, dict[Cell, None]] = {}
        self._hubs: dict[Cell, Monitor] = {}
        self._broadcasts = 0
        self._dropped = 0

    def on_start(self) -> None:
        self.trap_exits()  # a node that is lost takes its hub with it, and not us

    def on_exit(self, exit: Exit, /) -> None:
        """Hubs are linked so that they hear of our end; theirs comes as a `Down`."""

    def on_down(self, down: Down, /) -> None:
        cell = down.target._target()
        if self._hubs.pop(cell, None) is not None:
            for topic in [topic for topic, hubs in self._topics.items() if cell in hubs]:
                self._forget(cell, topic)

    def format_status(self) -> object:
        return {"topics": len(self._topics), "nodes": len(self._hubs)}

    def __repr__(self) -> str:
        cell = getattr(self, "_kb_cell", None)
        where = "not started" if cell is None else cell.label()
        return f"<{type(self).__qualname__} {where}, {len(self._topics)} topics on {len(self._hubs)} nodes>"

    def _forget(self, cell: Cell, topic: Any) -> None:
        hubs = self._topics.get(topic)
        if hubs is not None and cell in hubs:
            del hubs[cell]
            if not hubs:
                del self._topics[topic]

    @message
    def attach(self, hub: ActorRef[Hub], topic: Any) -> None:
        """A node's hub wants a topic."""
        hashed("a topic", topic)
        cell = hub._target()
        if cell.state == DEAD:
            return
        if cell not in self._hubs:
            self._hubs[cell] = _bonds.monitor(self._kb_cell, cell, hub)
        self._topics.setdefault(topic, {})[cell] = None

    @message
    def detach(self, hub: ActorRef[Hub], topic: Any) -> None:
        """A node's hub wants a topic no more."""
        self._forget(hub._target(), topic)

    @message
    def broadcast(self, topic: Any, payload: Any, sender: ActorRef[Any] | None = None) -> None:
        """Send a message to all subscribers of a topic but `sender`, by one frame to each node."""
        hashed("a topic", topic)
        self._broadcasts += 1
        for cell in tuple(self._topics.get(topic, ())):
            if cell.state == DEAD:
                continue
            if cell.state != REMOTE:
                cell.actor.deliver(topic, payload, sender)
                continue
            try:
                ActorRef[Hub](cell).cast(Hub.deliver, topic, payload, sender)
            except KoboshiError:  # the way to that node is full, or the message cannot be pickled
                self._dropped += 1
                cell.node.instruments.emit(Dropped(cell.label(), repr(payload), cell.limit))

    @message
    async def statistics(self) -> PubSubStatistics:
        """Figures of this moment, asked of all nodes; one that is lost meanwhile is left out."""
        hubs = [ActorRef[Hub](cell) for cell in self._hubs if cell.state != DEAD]
        asked = (hub.call(Hub.figures) for hub in hubs)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        figures = [each for each in answers if not isinstance(each, BaseException)]
        return PubSubStatistics(
            nodes=len(figures),
            topics=len(self._topics),
            subscribers=sum(each[1] for each in figures),
            broadcasts=self._broadcasts,
            delivered=sum(each[2] for each in figures),
            dropped=self._dropped + sum(each[3] for each in figures),
        )
