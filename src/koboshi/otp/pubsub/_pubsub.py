"""`PubSub`: messages to whoever has subscribed to a topic, after Phoenix's module of that name.

Each subscriber of a topic has each message once, however often it has subscribed: a component that subscribes
again after a reconnection must not count everything twice. Phoenix's delivers once for each subscription.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._cell import REMOTE
from ..._kernel._errors import MailboxFull
from ..._kernel._events import Dropped
from ..._kernel._message import message
from ..._kernel._reasons import Down
from ..._kernel._ref import ActorRef
from .._here import actor_here, as_ref, caller, hashable

__all__ = ["PubSub", "PubSubStatistics", "Topics", "pubsub"]


@dataclass(frozen=True, slots=True)
class PubSubStatistics:
    """A `PubSub` at one moment: topics that somebody subscribes to, subscribers, and since its start messages
    delivered, and dropped because a subscriber's mailbox was full."""

    topics: int
    subscribers: int
    delivered: int
    dropped: int


class PubSub(Actor):
    """Knows who subscribes to which topic. `pubsub(ref)` subscribes and broadcasts, from any node."""

    def __init__(self) -> None:
        self._topics: dict[Hashable, dict[ActorRef[Any], None]] = {}
        self._subscribers: dict[ActorRef[Any], tuple[_bonds.Monitor, set[Hashable]]] = {}
        self._delivered = 0
        self._dropped = 0

    @message
    def subscribe(self, topic: Any, ref: ActorRef[Any]) -> None:
        """Have a process be sent what is broadcast to a topic."""
        known = self._subscribers.get(ref)
        if known is None:
            watch = _bonds.monitor(self._kb_cell, ref._target(), ref)
            known = self._subscribers[ref] = watch, set()
        known[1].add(topic)
        self._topics.setdefault(topic, {})[ref] = None

    @message
    def unsubscribe(self, topic: Any, ref: ActorRef[Any]) -> None:
        """Send it nothing more of a topic."""
        known = self._subscribers.get(ref)
        if known is None or topic not in known[1]:
            return
        self._drop(topic, ref)
        known[1].discard(topic)
        if not known[1]:
            known[0].cancel()
            del self._subscribers[ref]

    @message
    def broadcast(
        self, topic: Any, what: Any, but: ActorRef[Any] | None = None, near: ActorRef[Any] | None = None
    ) -> int:
        """Send to all subscribers of a topic; gives to how many.

        Args:
            but: one that is left out.
            near: only those on the node of this process.
        """
        reached = 0
        for ref in tuple(self._topics.get(topic, ())):
            if ref == but or (near is not None and _node_of(ref) != _node_of(near)):
                continue
            try:
                ref.tell(what)
            except MailboxFull as full:  # one that is too slow must not hold up the others
                self._dropped += 1
                self._kb_cell.node.instruments.emit(Dropped(full.target, full.message, full.limit))
            else:
                reached += 1
        self._delivered += reached
        return reached

    @message
    def subscribers(self, topic: Any) -> list[ActorRef[Any]]:
        """The living subscribers of a topic, in the order of their subscription."""
        return [ref for ref in self._topics.get(topic, ()) if ref.alive]

    @message
    def topics(self) -> list[Any]:
        """The topics that somebody subscribes to."""
        return list(self._topics)

    @message
    def statistics(self) -> PubSubStatistics:
        """Figures since the start."""
        return PubSubStatistics(len(self._topics), len(self._subscribers), self._delivered, self._dropped)

    def on_down(self, down: Down) -> None:
        known = self._subscribers.pop(down.target, None)
        for topic in known[1] if known is not None else ():
            self._drop(topic, down.target)

    def format_status(self) -> object:
        return self.statistics()

    def _drop(self, topic: Hashable, ref: ActorRef[Any]) -> None:
        del self._topics[topic][ref]
        if not self._topics[topic]:
            del self._topics[topic]


def _node_of(ref: ActorRef[Any]) -> int | None:
    """The number of a process's node; None is this one."""
    cell = ref._target()
    return cell.id[0] if cell.state == REMOTE else None


class Topics:
    """Subscribes and broadcasts; made by `pubsub`. It keeps an address, nothing else."""

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[PubSub]) -> None:
        self._ref = ref

    async def subscribe(self, *topics: Any) -> None:
        """Send the current process what is broadcast to these topics, once each, until it ends.

        An actor gets it in `on_info`, a bare process receives it.

        Raises:
            NotInProcess: no process runs here.
            CallError: the `PubSub` cannot be asked.
        """
        me, here = caller("subscribe"), actor_here(self._ref, PubSub)
        for topic in topics:
            hashable("a topic", topic)
            if here is not None:
                here.subscribe(topic, me)
            else:
                await self._ref.call(PubSub.subscribe, topic, me)

    async def unsubscribe(self, *topics: Any) -> None:
        """Send the current process nothing more of these topics, whether it subscribes to them or not."""
        me, here = caller("unsubscribe"), actor_here(self._ref, PubSub)
        for topic in topics:
            hashable("a topic", topic)
            if here is not None:
                here.unsubscribe(topic, me)
            else:
                await self._ref.call(PubSub.unsubscribe, topic, me)

    async def broadcast(self, topic: Any, message: Any) -> int:
        """Send `message` to every subscriber of a topic, without waiting for any; gives to how many.

        One whose mailbox is full misses it, which is counted, and reported as `events.Dropped`.

        Raises:
            CallError: the `PubSub` cannot be asked.
            NotPicklable: it cannot be sent to another node.
        """
        return await self._send(topic, message, None, None)

    async def broadcast_from(self, topic: Any, message: Any) -> int:
        """As `broadcast`, to all but the current process."""
        return await self._send(topic, message, caller("broadcast_from"), None)

    async def local_broadcast(self, topic: Any, message: Any) -> int:
        """As `broadcast`, to those alone that live on the current process's node."""
        return await self._send(topic, message, None, caller("local_broadcast"))

    async def subscribers(self, topic: Any) -> list[ActorRef[Any]]:
        """Who subscribes to a topic."""
        here = actor_here(self._ref, PubSub)
        return (
            here.subscribers(topic) if here is not None else await self._ref.call(PubSub.subscribers, topic)
        )

    async def topics(self) -> list[Any]:
        """The topics that somebody subscribes to."""
        return await self._ref.call(PubSub.topics)

    async def statistics(self) -> PubSubStatistics:
        """Figures since the start."""
        return await self._ref.call(PubSub.statistics)

    async def _send(
        self, topic: Any, what: Any, but: ActorRef[Any] | None, near: ActorRef[Any] | None
    ) -> int:
        hashable("a topic", topic)
        here = actor_here(self._ref, PubSub)
        if here is not None:
            return here.broadcast(topic, what, but, near)
        return await self._ref.call(PubSub.broadcast, topic, what, but, near)

    def __repr__(self) -> str:
        return f"<Topics at {self._ref!r}>"


def pubsub(where: ActorRef[PubSub] | Any) -> Topics:
    """How topics are subscribed to and broadcast to, by a ref or a registered name: `pubsub("events")`."""
    return Topics(as_ref(PubSub, where))
