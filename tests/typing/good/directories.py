"""A program with a registry, topics and groups, as users write it."""

from __future__ import annotations

from typing import Any, assert_type

import koboshi as kb
from koboshi import otp


class Room(kb.Actor):
    @kb.message
    def greet(self, who: str) -> str:
        return who


async def main() -> None:
    rooms = otp.registry("rooms")
    async with kb.Supervisor(
        kb.child(otp.Registry, keys="duplicate", partitions=2, listeners=("ear",)).options(name="rooms"),
        kb.child(otp.PubSub).options(name="topics"),
        kb.child(otp.Groups).options(name="teams"),
        kb.child(Room).options(name=rooms.name("lobby")),
    ) as tree:
        assert_type(otp.registry(tree.ref(otp.Registry, "Registry")), otp.RegistryHandle)
        lobby = await rooms.via("lobby", Room)
        assert_type(lobby, kb.ActorRef[Room])
        assert_type(await lobby.call(Room.greet, "Ada"), str)
        assert_type(await rooms.via("lobby"), kb.ActorRef[Any])
        assert_type(await rooms.lookup("lobby"), list[otp.Registration])
        assert_type(await rooms.whereis("lobby"), kb.ActorRef[Any] | None)
        assert_type(await otp.pubsub("topics").statistics(), otp.PubSubStatistics)
        watch, members = await otp.groups("teams").monitor("g")
        assert_type(watch, otp.GroupMonitor)
        assert_type(members, list[kb.ActorRef[Any]])


if __name__ == "__main__":
    kb.run(main)
