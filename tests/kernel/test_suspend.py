"""Suspended actors: mail waits in order, and what must be obeyed is obeyed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb


class Gated(kb.Actor):
    """Does one thing at a time, each when its gate is opened."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    @kb.message
    async def hold(self) -> None:
        self.entered.set()
        await self.gate.wait()

    @kb.message
    def put(self, entry: Any) -> Any:
        self.seen.append(entry)
        return entry

    def on_info(self, message: Any) -> None:
        self.seen.append(message)

    def on_down(self, down: kb.Down) -> None:
        self.seen.append("down")

    def on_exit(self, exit: kb.Exit) -> None:
        self.seen.append("exit")

    def on_continue(self, value: Any) -> None:
        self.seen.append(f"continue {value}")

    @kb.message
    def watch(self, target: kb.ActorRef[Any]) -> None:
        self.trap_exits()
        kb.monitor(target)
        kb.link(target)

    @kb.message
    async def flood_self(self, count: int) -> list[str]:
        refused = []
        for number in range(count):
            try:
                self.me.cast(Gated.put, number)
            except kb.MailboxFull as full:
                refused.append(f"{number} {full.limit}")
        return refused


async def test_a_suspended_actor_queues_mail_in_order_until_it_is_resumed() -> None:
    ref = await kb.start(Gated)
    ref.suspend()
    ref.suspend()
    for number in range(3):
        ref.cast(Gated.put, number)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "suspended" == kb.info(ref).state
    assert 3 == kb.info(ref).mailbox

    ref.resume()
    ref.resume()

    assert 3 == await ref.call(Gated.put, 3)
    assert [0, 1, 2, 3] == ref._cell.actor.seen


def test_a_call_to_a_suspended_actor_times_out_at_the_caller_and_is_never_executed() -> None:
    async def main() -> None:
        ref = await kb.start(Gated)
        ref.suspend()
        with pytest.raises(kb.CallTimeout) as caught:
            await ref.within(1.0).call(Gated.put, 1)
        assert not caught.value.maybe_executed

        ref.resume()
        assert 2 == await ref.call(Gated.put, 2)
        assert [2] == ref._cell.actor.seen

    run_virtual(main)


async def test_a_suspended_actor_can_be_ended_and_killed() -> None:
    for reason, expected in ((kb.Shutdown(), kb.Shutdown()), (kb.Kill(), kb.Killed())):
        ref = await kb.start(Gated)
        ref.suspend()
        ref.cast(Gated.put, 1)
        ref.exit(reason)

        assert expected == await ref.wait_exit()


async def test_a_suspended_actor_that_traps_exits_still_obeys_its_parent() -> None:
    class Trapping(Gated):
        def on_start(self) -> None:
            self.trap_exits()

    async with kb.Supervisor(kb.child(Trapping).options(shutdown="forever")) as tree:
        ref = tree.ref(Trapping, "Trapping")
        ref.suspend()
        ref.cast(Gated.put, 1)
        # Leaving this block waits for the child for as long as it takes.

    assert not ref.alive


async def test_a_suspended_actor_can_be_stopped_and_drops_its_mail() -> None:
    ref = await kb.start(Gated)
    actor: Gated = ref._cell.actor
    ref.suspend()
    ref.cast(Gated.put, 1)

    await ref.stop()
    assert [] == actor.seen


async def test_an_actor_that_is_suspended_in_a_message_ends_that_message_first() -> None:
    class Selfish(Gated):
        @kb.message
        async def pause_self(self) -> str:
            self.me.suspend()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.seen.append("end")
            return "done"

        @kb.message
        def pause_at_once(self) -> str:
            self.me.suspend()
            return "done"

    for message in (Selfish.pause_self, Selfish.pause_at_once):
        ref = await kb.start(Selfish)
        ref.cast(Gated.put, "before")
        call = asyncio.ensure_future(ref.call(message))
        await asyncio.sleep(0)
        ref.cast(Gated.put, "after")

        assert "done" == await call
        assert "after" not in ref._cell.actor.seen
        assert "suspended" == kb.info(ref).state
        ref.resume()
        await ref.stop()


async def test_an_actor_suspended_and_resumed_while_it_waits_goes_on() -> None:
    class Busy(kb.Actor):
        @kb.message
        async def run(self, other: kb.ActorRef[Any]) -> Any:
            return await other.call(Pauser.pause, self.me)

    class Pauser(kb.Actor):
        @kb.message
        def pause(self, whom: kb.ActorRef[Any]) -> str:
            whom.suspend()
            return "paused"

    busy, pauser = await kb.start(Busy), await kb.start(Pauser)

    assert "paused" == await busy.call(Busy.run, pauser)
    assert "suspended" == kb.info(busy).state
    busy.resume()
    assert "paused" == await busy.call(Busy.run, pauser)
