"""Busy actors let everybody else have a turn: other actors, asyncio's tasks, timers and sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

import koboshi as kb
from koboshi._kernel._node import MESSAGES_PER_TURN, this_node


class Player(kb.Actor):
    """Keeps the loop as busy as it can."""

    def __init__(self) -> None:
        self.other: kb.ActorRef[Player] | None = None
        self.rounds = 0
        self.over = False

    @kb.message
    def meet(self, other: kb.ActorRef[Player]) -> None:
        self.other = other

    @kb.message
    async def call_for_ever(self) -> None:
        assert self.other is not None
        while not self.over:
            await self.other.call(Player.hit)

    @kb.message
    async def call_for_ever_async(self) -> None:
        assert self.other is not None
        while not self.over:
            await self.other.call(Player.hit_later)

    @kb.message
    def cast_for_ever(self) -> None:
        assert self.other is not None
        self.rounds += 1
        if not self.over:
            self.other.cast(Player.cast_for_ever)

    @kb.message
    def cast_self_for_ever(self) -> None:
        self.rounds += 1
        if not self.over:
            self.me.cast(Player.cast_self_for_ever)

    @kb.message
    def continue_for_ever(self) -> None:
        self.continue_with(None)

    def on_continue(self, value: object) -> None:
        self.rounds += 1
        if not self.over:
            self.continue_with(None)

    @kb.message
    def hit(self) -> int:
        self.rounds += 1
        return self.rounds

    @kb.message
    async def hit_later(self) -> int:
        self.rounds += 1
        return self.rounds

    @kb.message
    def finish(self) -> int:
        self.over = True
        return self.rounds


class Third(kb.Actor):
    """Somebody else."""

    @kb.message
    def ping(self, n: int) -> int:
        return n


GAMES = [
    Player.call_for_ever,
    Player.call_for_ever_async,
    Player.cast_for_ever,
    Player.cast_self_for_ever,
    Player.continue_for_ever,
]


# Messages between two passes of asyncio's loop: at a microsecond or two for each, a few milliseconds.
AT_A_STRETCH = 20_000


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.__name__)
async def test_actors_that_never_rest_starve_nobody(game: kb.Message[Player, [], None, object]) -> None:
    one, two, third = await kb.start(Player), await kb.start(Player), await kb.start(Third)
    actors: list[Player] = [one._cell.actor, two._cell.actor]
    await one.call(Player.meet, two)
    await two.call(Player.meet, one)
    one.cast(game)
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    try:
        await asyncio.sleep(0)
        before = sum(actor.rounds for actor in actors)
        await asyncio.sleep(0)
        assert 0 < sum(actor.rounds for actor in actors) - before <= AT_A_STRETCH

        for number in range(20):
            # Another actor, both by the queue and directly; a timer; a socket; a task.
            this_node().inline_left = 0
            assert number == await third.call(Third.ping, number)
            assert number == await third.call(Third.ping, number)
            await asyncio.sleep(0.0001)
            await loop.sock_sendall(left, b"x")
            assert b"x" == await loop.sock_recv(right, 1)
            assert number == await asyncio.create_task(asyncio.sleep(0, number))
    finally:
        for actor in actors:
            actor.over = True
        left.close()
        right.close()
        await one.stop()
        await two.stop()


class Witness(kb.Actor):
    """Says how far somebody else has come at the moment of its own turn."""

    @kb.message
    def rounds_of(self, other: Player) -> int:
        return other.rounds


async def test_an_actor_with_100000_messages_waiting_starves_nobody() -> None:
    async with kb.Supervisor(kb.child(Player).options(mailbox=200_000, shutdown="kill")) as tree:
        busy = tree.ref(Player, "Player")
        actor = busy._cell.actor
        witness = await kb.start(Witness)
        for _ in range(100_000):
            busy.cast(Player.hit)
        this_node().inline_left = 0

        # Counted in messages, not in time: how long any of this takes is the machine's affair.
        assert 256 >= MESSAGES_PER_TURN == await witness.call(Witness.rounds_of, actor)
        assert MESSAGES_PER_TURN <= actor.rounds < 100_000
        assert 100_000 == await busy.within(60.0).call(Player.finish)


async def test_turns_are_taken_one_after_the_other_with_a_share_each() -> None:
    order: list[int] = []

    class Noted(kb.Actor):
        def __init__(self, number: int) -> None:
            self.number = number

        @kb.message
        def note(self) -> None:
            order.append(self.number)

    refs = [await kb.start(Noted, number) for number in range(3)]
    for ref in refs:
        for _ in range(1000):
            ref.cast(Noted.note)
    for ref in refs:
        await ref.stop()

    assert 3000 == len(order)
    # Nobody is more than one share of messages ahead of anybody else who still has mail.
    counts = [0, 0, 0]
    for number in order:
        counts[number] += 1
        waiting = [count for count in counts if count < 1000]
        if waiting:
            assert max(counts) - min(waiting) <= 256


async def test_a_program_of_actors_alone_ends_when_its_main_does() -> None:
    """Endless actors keep no loop alive, and what is left of them is collected without a warning."""
    one = await kb.start(Player)
    one.cast(Player.cast_self_for_ever)
    await asyncio.sleep(0)

    assert one.alive
    one.kill()
    assert kb.Killed() == await one.wait_exit()
