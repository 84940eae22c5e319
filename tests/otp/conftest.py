"""A registry, topics and groups in the root, and a member there and on each of two nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.otp.members import Member

import koboshi as kb
from koboshi import otp


@dataclass
class Directories:
    """Three members, all pid refs, and handles on what they use."""

    tree: kb.Supervisor
    rooms: otp.RegistryHandle
    many: otp.RegistryHandle
    topics: otp.PubSubHandle
    teams: otp.GroupsHandle
    home: kb.ActorRef[Member]
    one: kb.ActorRef[Member]
    two: kb.ActorRef[Member]

    async def member(self, name: str, on: Any = None, **options: Any) -> kb.ActorRef[Member]:
        """Another member, that is not restarted."""
        spec = kb.child(Member).options(id=name, on=on, restart="temporary", **options)
        started: kb.ActorRef[Member] = await self.tree.start_child(spec)
        return started

    async def lose(self, node: str) -> None:
        """Kill a node's process and wait until all is up again."""
        ref = self.tree.ref(kb.WorkerNode, node)
        ref.kill()
        await ref.wait_exit()
        await self.tree.wait_ready()


@pytest.fixture
async def directories() -> AsyncIterator[Directories]:
    async with kb.Supervisor(
        kb.child(otp.Registry).options(id="rooms", name="rooms"),
        kb.child(otp.Registry, keys="duplicate", partitions=2).options(id="many", name="many"),
        kb.child(otp.PubSub).options(name="topics"),
        kb.child(otp.Groups).options(name="teams"),
        kb.node("n1"),
        kb.node("n2"),
        max_restarts=1000,
    ) as tree:
        members = [
            await tree.start_child(kb.child(Member).options(id=name, on=on, restart="temporary"))
            for name, on in (("home", None), ("one", "n1"), ("two", "n2"))
        ]
        handles = (
            otp.registry("rooms"), otp.registry("many"), otp.pubsub("topics"), otp.groups("teams"),
        )  # fmt: skip
        yield Directories(tree, *handles, *members)
