"""`pubsub`: how processes subscribe and broadcast, on any node."""

from __future__ import annotations

from typing import Any

from ..._kernel._cell import DEAD
from ..._kernel._process import current_cell
from ..._kernel._ref import ActorRef
from ..._supervision._options import hashed
from .._answering import current_ref, expect, on_this_loop
from .._target import ref_to
from ._hub import hub_of, started_hub
from ._pubsub import PubSub, PubSubStatistics


class PubSubHandle:
    """What `pubsub` gives: small, picklable, and good on every node."""

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[PubSub]) -> None:
        self._ref = ref

    async def subscribe(self, topic: Any) -> None:
        """Have the current process told what is broadcast on a topic; a second time changes nothing.

        What is broadcast after this has returned is not missed.

        Raises:
            NotInProcess: there is no current process.
            NotRunning: the pub-sub is not there.
        """
        cell = current_cell("subscribe")
        hashed("a topic", topic)
        server, here = self._server("PubSub.subscribe"), on_this_loop(self._ref, PubSub, "PubSub.subscribe")
        hub = started_hub(cell.node, server)
        hub.add(cell, topic)
        if topic in hub.attached:
            return
        try:
            if here is not None:
                here.attach(hub.me, topic)
            else:
                await server.call(PubSub.attach, hub.me, topic)
        except BaseException:  # the server may or may not send here now; nobody is told that he is subscribed
            hub.remove(cell, topic)
            raise
        hub.attached.add(topic)

    async def unsubscribe(self, topic: Any) -> None:
        """Tell the current process no more of a topic. What is in its mailbox already stays there."""
        cell = current_cell("unsubscribe")
        hashed("a topic", topic)
        hub = hub_of(cell.node, self._server("PubSub.unsubscribe"))
        if hub is not None:
            hub.remove(cell, topic)

    async def broadcast(self, topic: Any, message: Any) -> None:
        """Tell all subscribers of a topic, on all nodes. It returns when the server has passed it on.

        Messages of one process come in their order. A subscriber whose mailbox is full misses this one; that
        is counted and reported as `kb.events.Dropped`.
        """
        await self._broadcast(topic, message, None)

    async def broadcast_from(self, topic: Any, message: Any) -> None:
        """Like `broadcast`, to all but the current process."""
        await self._broadcast(topic, message, current_ref("broadcast_from"))

    async def _broadcast(self, topic: Any, message: Any, sender: ActorRef[Any] | None) -> None:
        here = on_this_loop(self._ref, PubSub, "PubSub.broadcast")
        if here is not None:
            here.broadcast(topic, message, sender)
        else:
            await self._ref.call(PubSub.broadcast, topic, message, sender)

    async def local_broadcast(self, topic: Any, message: Any) -> None:
        """Tell the subscribers on the caller's own node only."""
        server = self._server("PubSub.local_broadcast")
        hashed("a topic", topic)
        hub = hub_of(server._cell.node, server)
        if hub is not None:
            hub.deliver(topic, message, None)

    async def statistics(self) -> PubSubStatistics:
        """Figures of this moment."""
        return await self._ref.call(PubSub.statistics)

    def _server(self, what: str) -> ActorRef[PubSub]:
        """The incarnation that is there now: hubs belong to one."""
        cell = expect(self._ref, PubSub)
        if cell.state == DEAD:
            raise self._ref._not_running(what)
        return ActorRef(cell)

    def __reduce__(self) -> tuple[Any, ...]:
        return PubSubHandle, (self._ref,)

    def __eq__(self, other: object) -> bool:
        return self._ref == other._ref if isinstance(other, PubSubHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"<PubSubHandle of {self._ref!r}>"


def pubsub(where: ActorRef[PubSub] | Any) -> PubSubHandle:
    """Use a pub-sub, by its registered name or by a ref: `events = otp.pubsub("events")`.

    Raises:
        UsageError: it is a ref to something else.
    """
    return PubSubHandle(ref_to(where, PubSub))
