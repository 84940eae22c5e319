"""Rooms and players as durable actors: they sleep when nobody plays, and wake where they were.

Run it with:  .venv/bin/python examples/game.py
"""

from __future__ import annotations

import asyncio
import tempfile

import msgspec

import koboshi as kb


class Bag(msgspec.Struct):
    room: str = ""
    coins: int = 0
    heard: list[str] = []


class Place(msgspec.Struct):
    players: list[str] = []
    coins: int = 3


class Player(kb.DurableActor[Bag]):
    @kb.message
    def enter(self, room: str) -> None:
        if self.state.room:
            self.send(rooms[self.state.room], Room.left, self.key)
        self.state.room = room
        self.tag(room=room)
        self.send(rooms[room], Room.came, self.key)

    @kb.message
    def take(self, coins: int) -> None:
        self.state.coins += coins

    @kb.message
    def hear(self, text: str) -> None:
        self.state.heard = [*self.state.heard, text][-10:]

    @kb.query
    def look(self) -> Bag:
        return self.state


class Room(kb.DurableActor[Place]):
    @kb.message
    def came(self, player: str) -> None:
        self.state.players.append(player)
        self.say(f"{player} is here")
        if self.state.coins:
            self.state.coins -= 1
            self.send(players[player], Player.take, 1)

    @kb.message
    def left(self, player: str) -> None:
        self.state.players.remove(player)
        self.say(f"{player} has gone")

    def say(self, text: str) -> None:
        for each in self.state.players:
            self.send(players[each], Player.hear, text)


players: kb.Durable[Player]
rooms: kb.Durable[Room]


async def settled() -> None:
    while rooms.statistics().delivering or players.statistics().delivering:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def main() -> None:
    names = ("ada", "eve", "joe", "kim")
    async with kb.Supervisor(players.child(), rooms.child()):
        for name in names:
            await players[name].call(Player.enter, "hall")
            await settled()
        await players["ada"].call(Player.enter, "cellar")
        await settled()
        print("eve heard:", "; ".join((await players["eve"].call(Player.look)).heard))
        print("in the hall:", ", ".join(await players.where(room="hall")))
        while rooms.statistics().active or players.statistics().active:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    async with kb.Supervisor(players.child(), rooms.child()):
        coins = {name: (await players[name].call(Player.look)).coins for name in names}
        print(f"after a restart: {coins}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/game.db"
        players = kb.durable(Player, store=store, deactivate_after=0.5)
        rooms = kb.durable(Room, store=store, deactivate_after=0.5)
        asyncio.run(main())
