"""Mistakes with registries, topics and groups, each on a line of its own."""

from __future__ import annotations

import koboshi as kb
from koboshi import otp


class Room(kb.Actor):
    @kb.message
    def greet(self, who: str) -> str:
        return who


async def main() -> None:
    rooms = otp.registry("rooms")
    kb.child(otp.Registry, keys="some")  # refused
    kb.child(otp.Registry, partitions="2")  # refused
    kb.child(otp.PubSub, "events")  # refused
    lobby = await rooms.via("lobby", Room)
    await lobby.call(Room.greet, 1)  # refused
    number: int = await lobby.call(Room.greet, "Ada")  # refused
    await rooms.via("lobby", str)  # refused
    await otp.groups("teams").join("g", "me")  # refused
    await otp.groups("teams").demonitor(1)  # refused
    print(number)
