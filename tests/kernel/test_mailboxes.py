"""Bounded mailboxes: what a full one does, who waits for room, and what is never refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi._kernel._events import Dropped, Event
from koboshi._kernel._node import this_node

Overflow = Literal["reject", "drop_newest", "drop_oldest", "crash"]


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


@asynccontextmanager
async def gated(limit: int, overflow: Overflow) -> AsyncIterator[tuple[kb.ActorRef[Gated], Gated]]:
    """An actor with this mailbox, which is in the middle of a message until its gate is opened."""
    spec = kb.child(Gated).options(id="gated", mailbox=limit, overflow=overflow, restart="temporary")
    async with kb.Supervisor(spec) as tree:
        ref = kb.info(tree.ref(Gated, "gated")).ref
        actor: Gated = ref._cell.actor
        ref.cast(Gated.hold)
        await actor.entered.wait()
        yield ref, actor
        actor.gate.set()


def dropped() -> list[Dropped]:
    """Reports of dropped messages from now on."""
    seen: list[Dropped] = []

    def listen(event: Event) -> None:
        if isinstance(event, Dropped):
            seen.append(event)

    this_node().instruments.add(listen)
    return seen


async def seen_by(ref: kb.ActorRef[Gated], actor: Gated) -> list[Any]:
    """Open the gate, let the actor handle what it has, and give back what that was."""
    actor.gate.set()
    await ref.stop()
    return actor.seen


# -- the four policies -------------------------------------------------------------------------------


async def test_the_default_limit_is_65536() -> None:
    ref = await kb.start(Gated)

    assert 65_536 == kb.info(ref).limit
    refused = await ref.call(Gated.flood_self, 65_538)
    assert ["65536 65536", "65537 65536"] == refused


async def test_reject_refuses_casts_calls_and_tells_at_the_sender() -> None:
    async with gated(2, "reject") as (ref, actor):
        ref.cast(Gated.put, 1)
        ref.tell(2)

        with pytest.raises(kb.MailboxFull) as caught:
            ref.cast(Gated.put, 3)
        with pytest.raises(kb.MailboxFull):
            ref.tell(4)
        with pytest.raises(kb.MailboxFull) as from_call:
            await ref.call(Gated.put, 5)

        assert 2 == caught.value.limit == from_call.value.limit
        assert not from_call.value.maybe_executed
        assert "Gated.put" == from_call.value.message
        assert "supervisor/gated" == from_call.value.target
        assert "await ref.send(...)" in str(caught.value)
        assert [1, 2] == await seen_by(ref, actor)


async def test_drop_newest_loses_the_arriving_message_and_reports_it() -> None:
    async with gated(2, "drop_newest") as (ref, actor):
        reports = dropped()
        for number in range(4):
            ref.cast(Gated.put, number)
        with pytest.raises(kb.MailboxFull):
            await ref.call(Gated.put, 4)

        assert 3 == len(reports)
        assert [0, 1] == await seen_by(ref, actor)


async def test_drop_oldest_loses_the_oldest_message_and_fails_the_call_behind_it() -> None:
    async with gated(2, "drop_oldest") as (ref, actor):
        reports = dropped()
        call = asyncio.ensure_future(ref.call(Gated.put, "call"))
        await asyncio.sleep(0)
        for number in range(3):
            ref.cast(Gated.put, number)

        with pytest.raises(kb.MailboxFull) as caught:
            await call
        assert not caught.value.maybe_executed
        assert 2 == len(reports)
        assert [1, 2] == await seen_by(ref, actor)


async def test_crash_ends_the_receiver_and_fails_every_call_that_waits() -> None:
    async with gated(2, "crash") as (ref, _):
        call = asyncio.ensure_future(ref.within(None).call(Gated.put, 0))
        await asyncio.sleep(0)
        ref.cast(Gated.put, 1)
        ref.cast(Gated.put, 2)

        with pytest.raises(kb.ActorExited) as caught:
            await call
        assert not caught.value.maybe_executed
        reason = await ref.wait_exit()
        assert isinstance(reason, kb.Crashed)
        assert isinstance(reason.error, kb.MailboxFull)


async def test_a_call_that_overflows_a_crash_mailbox_fails_with_the_crash() -> None:
    async with gated(1, "crash") as (ref, _):
        ref.cast(Gated.put, 1)

        with pytest.raises(kb.ActorExited) as caught:
            await ref.within(None).call(Gated.put, 2)
        assert isinstance(caught.value.__cause__, kb.MailboxFull)


async def test_an_actor_that_floods_itself_is_refused_at_its_own_limit() -> None:
    async with gated(3, "reject") as (ref, actor):
        actor.gate.set()

        assert ["3 3", "4 3"] == await ref.call(Gated.flood_self, 5)
        assert [0, 1, 2] == await seen_by(ref, actor)


# -- waiting for room --------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["reject", "drop_newest", "drop_oldest", "crash"])
async def test_send_waits_for_room_under_every_policy_and_loses_nothing(overflow: Overflow) -> None:
    async with gated(2, overflow) as (ref, actor):
        reports = dropped()
        sends = [asyncio.ensure_future(ref.send(Gated.put, number)) for number in range(10)]
        await asyncio.sleep(0)

        assert [True] * 2 + [False] * 8 == [send.done() for send in sends]
        await_all = asyncio.gather(*sends)
        actor.gate.set()
        await await_all

        assert list(range(10)) == await seen_by(ref, actor)
        assert [] == reports


async def test_senders_that_wait_are_served_before_newcomers() -> None:
    class Inviting(Gated):
        """Has somebody new send to it in each message, at the very moment when there is room."""

        def __init__(self) -> None:
            super().__init__()
            self.invited: list[asyncio.Future[None]] = []

        @kb.message
        def put(self, entry: int) -> None:
            self.seen.append(entry)
            if entry < 10:
                self.invited.append(asyncio.ensure_future(self.me.send(Gated.put, entry + 10)))

    spec = kb.child(Inviting).options(mailbox=1, restart="temporary")
    async with kb.Supervisor(spec) as tree:
        ref = kb.info(tree.ref(Inviting, "Inviting")).ref
        actor: Inviting = ref._cell.actor
        ref.cast(Gated.hold)
        await actor.entered.wait()
        waiting = [asyncio.ensure_future(ref.send(Gated.put, number)) for number in range(6)]
        await asyncio.sleep(0)
        actor.gate.set()
        await asyncio.gather(*waiting)
        await asyncio.gather(*actor.invited)

        assert [*range(6), *range(10, 16)] == await seen_by(ref, actor)


async def test_a_sender_is_woken_when_a_slow_handler_has_taken_the_message_before_it() -> None:
    class Slow(Gated):
        @kb.message
        async def second(self) -> None:
            await asyncio.get_running_loop().create_future()

    spec = kb.child(Slow).options(mailbox=1, shutdown="kill")
    async with kb.Supervisor(spec) as tree:
        ref = tree.ref(Slow, "Slow")
        ref.cast(Gated.hold)
        await ref._cell.actor.entered.wait()
        ref.cast(Slow.second)
        send = asyncio.ensure_future(ref.within(None).send(Gated.put, 1))
        await asyncio.sleep(0)
        assert not send.done()
        ref._cell.actor.gate.set()

        await send
        assert 1 == kb.info(ref).mailbox


async def test_actors_that_send_are_woken_in_order() -> None:
    class Sender(kb.Actor):
        @kb.message
        async def run(self, target: kb.ActorRef[Gated], first: int) -> None:
            for number in range(first, first + 5):
                await target.send(Gated.put, number)

    async with gated(2, "reject") as (ref, actor):
        senders = [await kb.start(Sender) for _ in range(3)]
        for index, each in enumerate(senders):
            each.cast(Sender.run, ref, 100 * index)
        actor.gate.set()
        for each in senders:
            await each.stop()

        seen = await seen_by(ref, actor)
        assert 15 == len(seen)
        for index in range(3):
            mine = [number for number in seen if number // 100 == index]
            assert [100 * index + number for number in range(5)] == mine


def test_send_gives_up_at_its_deadline_and_delivers_nothing() -> None:
    async def main() -> None:
        async with gated(1, "reject") as (ref, actor):
            ref.cast(Gated.put, 1)
            with pytest.raises(kb.CallTimeout) as caught:
                await ref.within(2.0).send(Gated.put, 2)

            assert not caught.value.maybe_executed
            assert 2.0 == pytest.approx(caught.value.elapsed)
            assert [1] == await seen_by(ref, actor)

    run_virtual(main)


async def test_a_send_that_is_cancelled_gives_its_place_to_the_next() -> None:
    async with gated(1, "reject") as (ref, actor):
        sends = [asyncio.ensure_future(ref.send(Gated.put, number)) for number in range(4)]
        await asyncio.sleep(0)
        sends[1].cancel()
        actor.gate.set()
        await asyncio.gather(*sends, return_exceptions=True)

        assert sends[1].cancelled()
        assert [0, 2, 3] == await seen_by(ref, actor)


async def test_send_fails_when_the_receiver_ends_while_it_waits() -> None:
    async with gated(1, "reject") as (ref, _):
        ref.cast(Gated.put, 1)
        send = asyncio.ensure_future(ref.within(None).send(Gated.put, 2))
        await asyncio.sleep(0)
        ref.kill()

        with pytest.raises(kb.NotRunning):
            await send


async def test_send_to_a_dead_actor_fails_at_once() -> None:
    ref = await kb.start(Gated)
    await ref.stop()

    with pytest.raises(kb.NotRunning, match=r"Gated\.put"):
        await ref.send(Gated.put, 1)


# -- what is never refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["reject", "drop_newest", "drop_oldest", "crash"])
async def test_down_and_exit_messages_reach_a_full_mailbox_and_stay_in_it(overflow: Overflow) -> None:
    victim = await kb.start(Gated)
    async with gated(1, overflow) as (ref, actor):
        actor.gate.set()
        await ref.call(Gated.watch, victim)
        actor.gate.clear()
        actor.entered.clear()
        ref.cast(Gated.hold)
        await actor.entered.wait()
        ref.cast(Gated.put, 1)

        victim.exit(kb.Shutdown("gone"))
        await victim.wait_exit()
        assert 3 == kb.info(ref).mailbox
        if overflow == "drop_oldest":
            for number in (2, 3, 4, 5):
                ref.cast(Gated.put, number)

        assert ["down", "exit"] == sorted(set(map(str, await seen_by(ref, actor))) - set("12345"))


@pytest.mark.parametrize("overflow", ["reject", "drop_newest", "drop_oldest"])
async def test_stop_reaches_a_full_mailbox_and_is_not_dropped_from_it(overflow: Overflow) -> None:
    async with gated(1, overflow) as (ref, actor):
        ref.cast(Gated.put, 1)
        stop = asyncio.ensure_future(ref.stop(kb.Shutdown("asked")))
        await asyncio.sleep(0)
        if overflow != "reject":
            for number in (2, 3, 4):
                ref.cast(Gated.put, number)
        actor.gate.set()

        await stop
