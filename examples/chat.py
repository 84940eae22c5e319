"""Chat rooms: broadcast to members, monitors, a history with a cap.

Run it with:  .venv/bin/python examples/chat.py

Each room is an actor under a key of a registry and publishes to a topic of its own. A user that ends is
seen to leave, and a user that comes late gets the last lines first.
"""

from __future__ import annotations

from collections import deque

import koboshi as kb
from koboshi import otp

HISTORY = 3  # lines


class Room(kb.Actor):
    """Knows who is here and what was said last."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: deque[str] = deque(maxlen=HISTORY)
        self.users: dict[kb.ActorRef[User], str] = {}

    @kb.message
    async def enter(self, user: kb.ActorRef[User], name: str) -> list[str]:
        kb.monitor(user)
        self.users[user] = name
        history = list(self.lines)
        await self.publish(f"* {name} comes in")
        return history

    @kb.message
    async def say(self, user: kb.ActorRef[User], text: str) -> None:
        await self.publish(f"{self.users[user]}: {text}")

    async def on_down(self, down: kb.Down) -> None:
        await self.publish(f"* {self.users.pop(down.target)} has left")

    async def publish(self, line: str) -> None:
        self.lines.append(line)
        await otp.pubsub("lines").broadcast(self.title, line)


class User(kb.Actor):
    """Sits in one room and keeps what it reads."""

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self.read: list[str] = []
        self.until: tuple[str, kb.ReplyTo[list[str]]] | None = None

    async def on_start(self) -> None:
        room = await otp.registry("rooms").via(self.title, Room)
        self.read += await room.call(Room.enter, self.me, self.name)
        await otp.pubsub("lines").subscribe(self.title)
        self.room = room

    def on_info(self, line: str) -> None:
        self.read.append(line)
        if self.until is not None and line == self.until[0]:
            self.until[1].send(self.read)

    @kb.message
    async def say(self, text: str) -> None:
        await self.room.call(Room.say, self.me, text)

    @kb.message
    def read_until(self, line: str) -> list[str]:
        if line not in self.read:
            self.until = (line, kb.defer())
        return self.read


async def main() -> None:
    rooms = otp.registry("rooms")
    async with kb.Supervisor(
        kb.child(otp.Registry).options(name="rooms"),
        kb.child(otp.PubSub).options(name="lines"),
        kb.child(Room, "lobby").options(name=rooms.name("lobby")),
    ) as tree:
        ada, bob = [
            await tree.start_child(kb.child(User, name, "lobby").options(id=name, restart="temporary"))
            for name in ("Ada", "Bob")
        ]
        for text in ("hello", "anybody there?"):
            await ada.call(User.say, text)
        await bob.call(User.say, "me")
        bob.kill()
        print("Ada read:", *await ada.call(User.read_until, "* Bob has left"), sep="\n  ")
        late = await tree.start_child(kb.child(User, "Cy", "lobby"))
        print("Cy read:", *await late.call(User.read_until, "* Bob has left"), sep="\n  ")


if __name__ == "__main__":
    kb.run(main)
