"""`Hub`: the subscribers of one node. There is one for each node that has any, started when it has the first.

A message crosses to a node once, to its hub, which gives it to each subscriber. Subscribers are linked to the
hub and the hub to the server, so the server's end reaches all of them: they are subscribed no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._bonds import Monitor
from ..._kernel._cell import DEAD, REMOTE, Cell
from ..._kernel._errors import KoboshiError
from ..._kernel._message import message
from ..._kernel._node import Node
from ..._kernel._reasons import SHUTDOWN, Down, Exit, Normal
from ..._kernel._ref import ActorRef
from ..._kernel._start import launch
from .._deliver import deliver

if TYPE_CHECKING:
    from ._pubsub import PubSub

SERVICE = "otp.pubsub"


class Hub(Actor):
    """Knows who of this node is subscribed to what."""

    def __init__(self, server: ActorRef[PubSub]) -> None:
        self.server = server
        # Subscribers of each topic, in the order in which they came.
        self._topics: dict[Any, dict[Cell, None]] = {}
        # The topics of each subscriber, and the watch over it.
        self._subscribers: dict[Cell, tuple[dict[Any, None], Monitor]] = {}
        # Topics that the server has confirmed it will send here.
        self.attached: set[Any] = set()
        self.delivered = 0
        self.dropped = 0

    def on_start(self) -> None:
        self.trap_exits()

    def on_exit(self, exit: Exit, /) -> None:
        # The server has ended, or this node is being stopped: that signal has no sender and shows ourselves.
        if exit.sender in (self.server, self.me):
            self.stop(SHUTDOWN if isinstance(exit.reason, Normal) else exit.reason)

    def on_down(self, down: Down, /) -> None:
        cell = down.target._target()
        held = self._subscribers.get(cell)
        for topic in tuple(held[0]) if held is not None and held[1] is down.monitor else ():
            self.remove(cell, topic)

    def format_status(self) -> object:
        return {"topics": len(self._topics), "subscribers": len(self._subscribers)}

    def add(self, cell: Cell, topic: Any) -> None:
        """Subscribe a process; a second time changes nothing."""
        held = self._subscribers.get(cell)
        if held is None:
            _bonds.link(self._kb_cell, cell)
            watch = _bonds.monitor(self._kb_cell, cell, ActorRef(cell))
            held = self._subscribers[cell] = ({}, watch)
        held[0][topic] = None
        self._topics.setdefault(topic, {})[cell] = None

    def remove(self, cell: Cell, topic: Any) -> None:
        """Take a process from a topic; nothing happens when it is not there."""
        held = self._subscribers.get(cell)
        if held is None or topic not in held[0]:
            return
        del held[0][topic]
        if not held[0]:
            del self._subscribers[cell]
            held[1].cancel()
            if cell.state != DEAD:
                _bonds.unlink(self._kb_cell, cell)
        subscribers = self._topics[topic]
        del subscribers[cell]
        if not subscribers:
            del self._topics[topic]
            self.attached.discard(topic)
            self._detach(topic)

    def _detach(self, topic: Any) -> None:
        from ._pubsub import PubSub

        target, hub = self.server._target(), ActorRef[Hub](self._kb_cell)
        if target.state not in (DEAD, REMOTE):
            # At once, as `attach` is on this loop: a message would come after a new `attach`, and undo it.
            target.actor.detach(hub, topic)
            return
        try:
            self.server.cast(PubSub.detach, hub, topic)
        except KoboshiError:
            # Its mailbox is full. It goes on to send what nobody here wants, and is told with the next
            # message of the topic that comes.
            return

    @message
    def deliver(self, topic: Any, payload: Any, sender: ActorRef[Any] | None) -> None:
        """Give a message to every subscriber of this node but its sender."""
        subscribers = self._topics.get(topic)
        if subscribers is None:
            self._detach(topic)
            return
        spared = None if sender is None else sender._target()
        for cell in tuple(subscribers):
            if cell is not spared and cell.state != DEAD:
                if deliver(cell, payload):
                    self.delivered += 1
                else:
                    self.dropped += 1

    @message
    def figures(self) -> tuple[int, int, int, int]:
        """Topics, subscribers, messages delivered and dropped."""
        return len(self._topics), len(self._subscribers), self.delivered, self.dropped


def hub_of(node: Node, server: ActorRef[PubSub]) -> Hub | None:
    """This node's hub of a server, None when nobody here has subscribed yet."""
    cell: Cell | None = node.services.get(SERVICE, {}).get(server._target())
    if cell is None or cell.state == DEAD:
        return None
    hub: Hub = cell.actor
    return hub


def started_hub(node: Node, server: ActorRef[PubSub]) -> Hub:
    """This node's hub, started if need be. `server` is a pid ref."""
    hub = hub_of(node, server)
    if hub is None:
        hubs: dict[Cell, Cell] = node.services.setdefault(SERVICE, {})
        for gone in [each for each, cell in hubs.items() if cell.state == DEAD]:
            del hubs[gone]
        target = server._target()
        made = launch(node, Hub._kb_info, (server,), {}, None, lambda cell: _bonds.link(cell, target))
        hubs[target] = made
        hub = made.actor
        assert isinstance(hub, Hub)
    return hub
