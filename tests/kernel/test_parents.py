"""Whom an actor obeys: the process that started it linked, and nobody else."""

from __future__ import annotations

import koboshi as kb


class Trapping(kb.Actor):
    def __init__(self) -> None:
        self.exits: list[kb.ExitReason] = []

    def on_start(self) -> None:
        self.trap_exits()

    def on_exit(self, exit: kb.Exit, /) -> None:
        self.exits.append(exit.reason)

    @kb.message
    def seen(self) -> list[kb.ExitReason]:
        return self.exits


class Starter(kb.Actor):
    @kb.message
    async def start_one(self, linked: bool) -> kb.ActorRef[Trapping]:
        return await (kb.start_link(Trapping) if linked else kb.start(Trapping))

    @kb.message
    def send_exit(self, ref: kb.ActorRef[Trapping]) -> None:
        ref.exit(kb.Exited("now"))


async def test_an_actor_that_was_started_without_a_link_treats_its_starter_as_a_stranger() -> None:
    starter = await kb.start(Starter)
    ref = await starter.call(Starter.start_one, False)
    await starter.call(Starter.send_exit, ref)

    assert [kb.Exited("now")] == await ref.call(Trapping.seen)
    await ref.stop()


async def test_a_trapping_actor_ends_when_its_parent_says_so() -> None:
    starter = await kb.start(Starter)
    ref = await starter.call(Starter.start_one, True)
    await starter.call(Starter.send_exit, ref)

    assert kb.Exited("now") == await ref.wait_exit(1)
