"""A chat: rooms with a capped history, members that are dropped when they die, a broadcast to all.

Run it with:  python examples/chat.py
"""

from __future__ import annotations

from collections import deque
from typing import Any

import koboshi as kb
from koboshi import otp

HISTORY = 3


class Room(kb.Actor):
    """Sends each line to its members, remembers the last few, and drops a member that has ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.history: deque[str] = deque(maxlen=HISTORY)
        self.members: dict[kb.ActorRef[Any], str] = {}

    async def on_start(self) -> None:
        await otp.registry("rooms").register(self.name)
        await otp.pubsub("house").subscribe("announcements")

    @kb.message
    def join(self, member: kb.ActorRef[Any], nick: str) -> list[str]:
        """What a newcomer has missed, as far as it is kept."""
        kb.monitor(member)
        self.members[member] = nick
        self.say(f"{nick} is here")
        return list(self.history)

    @kb.message
    def say(self, line: str) -> None:
        self.history.append(line)
        for member in self.members:
            member.tell(f"[{self.name}] {line}")

    @kb.message
    def who(self) -> list[str]:
        return sorted(self.members.values())

    def on_down(self, down: kb.Down) -> None:
        self.say(f"{self.members.pop(down.target)} has left")

    def on_info(self, message: str) -> None:
        self.say(message)  # an announcement


class Member(kb.Actor):
    """Keeps what it reads."""

    def __init__(self, nick: str) -> None:
        self.nick = nick
        self.lines: list[str] = []

    @kb.message
    async def enter(self, room: str) -> list[str]:
        where = await otp.registry("rooms").via(Room, room)
        return await where.call(Room.join, self.me, self.nick)

    @kb.message
    async def say(self, room: str, line: str) -> None:
        await (await otp.registry("rooms").via(Room, room)).send(Room.say, f"{self.nick}: {line}")

    @kb.message
    def read(self) -> list[str]:
        return self.lines

    def on_info(self, message: str) -> None:
        self.lines.append(message)


async def main() -> None:
    rooms = [kb.child(Room, name).options(id=name) for name in ("lobby", "attic")]
    house = [kb.child(otp.Registry).options(name="rooms"), kb.child(otp.PubSub).options(name="house")]
    async with kb.Supervisor(*house, *rooms) as tree:
        ada, bob, eve = [await kb.start(Member, nick) for nick in ("ada", "bob", "eve")]
        await ada.call(Member.enter, "lobby")
        await bob.call(Member.enter, "lobby")
        for n in range(3):
            await ada.call(Member.say, "lobby", f"line {n}")
        print("eve has missed:", (await eve.call(Member.enter, "lobby"))[:-1])
        bob.kill()
        await bob.wait_exit()
        await otp.pubsub("house").broadcast("announcements", "we close at ten")
        print("in the lobby:", await tree.ref(Room, "lobby").call(Room.who))
        print("ada reads:", (await ada.call(Member.read))[-2:])
        for each in (ada, eve):
            await each.stop()


if __name__ == "__main__":
    kb.run(main)
