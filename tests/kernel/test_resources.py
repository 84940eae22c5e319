"""What a process owns is gone, or has changed hands, before anybody hears of its end."""

from __future__ import annotations

import asyncio

import koboshi as kb
from koboshi._kernel._bonds import disown, own
from koboshi._kernel._cell import Cell


class Thing:
    """Notes when its owner has ended."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def owner_ended(self, owner: Cell) -> None:
        self.log.append("released")


class Watcher(kb.Actor):
    def __init__(self, log: list[str], ref: kb.ActorRef[kb.Process]) -> None:
        self.log = log
        self.ref = ref

    def on_start(self) -> None:
        kb.monitor(self.ref)

    def on_down(self, down: kb.Down) -> None:
        self.log.append("down")


async def sleeper() -> None:
    await asyncio.Event().wait()


async def test_a_resource_is_released_before_the_end_of_its_owner_is_seen_even_after_a_kill() -> None:
    log: list[str] = []
    ref = kb.spawn(sleeper)
    watcher = await kb.start(Watcher, log, ref)
    own(ref._target(), Thing(log))
    ref.kill()
    await ref.wait_exit()
    await watcher.stop()

    assert ["released", "down"] == log


async def test_a_resource_that_was_given_up_is_none_of_the_owners_any_more() -> None:
    log: list[str] = []
    ref, thing = kb.spawn(sleeper), Thing(log)
    own(ref._target(), thing)
    disown(ref._target(), thing)
    ref.kill()
    await ref.wait_exit()

    assert [] == log
