"""Processes that subscribe and join, on whichever node."""

from __future__ import annotations

from typing import Any

import koboshi as kb
from koboshi import otp


class Member(kb.Actor):
    """Does what it is told, and keeps what it is sent."""

    def __init__(self) -> None:
        self.topics = otp.pubsub("topics")
        self.groups = otp.groups("groups")
        self.got: list[Any] = []

    def on_info(self, message: Any) -> None:
        self.got.append(message)

    @kb.message
    def seen(self) -> list[Any]:
        return self.got

    @kb.message
    async def subscribe(self, *topics: Any) -> None:
        await self.topics.subscribe(*topics)

    @kb.message
    async def unsubscribe(self, *topics: Any) -> None:
        await self.topics.unsubscribe(*topics)

    @kb.message
    async def broadcast(self, topic: Any, what: Any) -> int:
        return await self.topics.broadcast(topic, what)

    @kb.message
    async def broadcast_from(self, topic: Any, what: Any) -> int:
        return await self.topics.broadcast_from(topic, what)

    @kb.message
    async def local_broadcast(self, topic: Any, what: Any) -> int:
        return await self.topics.local_broadcast(topic, what)

    @kb.message
    async def join(self, group: Any) -> None:
        await self.groups.join(group)

    @kb.message
    async def leave(self, group: Any) -> None:
        await self.groups.leave(group)

    @kb.message
    async def watch(self, group: Any) -> list[kb.ActorRef[Any]]:
        return await self.groups.monitor(group)

    @kb.message
    async def unwatch(self, group: Any) -> None:
        await self.groups.demonitor(group)

    @kb.message
    async def watch_all(self) -> dict[Any, list[kb.ActorRef[Any]]]:
        return await self.groups.monitor_all()

    @kb.message
    async def local(self, group: Any) -> list[kb.ActorRef[Any]]:
        return await self.groups.local_members(group)
