"""System messages: run over an actor between two of its messages, in order, past limits, without harm."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi._kernel._cell import Cell
from koboshi._kernel._system import ask


class Counter(kb.Actor):
    """Adds up, and can be held up."""

    def __init__(self) -> None:
        self.total = 0
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    @kb.message
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @kb.message
    async def hold(self) -> int:
        self.entered.set()
        await self.gate.wait()
        self.total += 100
        return self.total

    @kb.message
    async def ask_other(self, other: kb.ActorRef[Any]) -> Any:
        return await ask(other, total)

    @kb.message
    async def call_other(self, other: kb.ActorRef[Counter], next: kb.ActorRef[Any]) -> Any:
        return await other.call(Counter.ask_other, next)


def total(cell: Cell) -> int:
    return int(cell.actor.total)


def fail(cell: Cell) -> None:
    raise LookupError("no such thing")


def suspend(cell: Cell) -> None:
    cell.own_traits().suspended = True


def resume(cell: Cell) -> None:
    cell.node.resume(cell)


def current(cell: Cell) -> bool:
    return cell.node.current is cell and kb.me()._cell is cell


async def test_a_system_message_is_served_after_what_was_sent_before_it() -> None:
    ref = await kb.start(Counter)
    for _ in range(100):
        ref.cast(Counter.add, 1)

    assert 100 == await ask(ref, total)


async def test_it_runs_as_the_actor_and_is_not_counted_as_a_message() -> None:
    ref = await kb.start(Counter)
    await ref.call(Counter.add, 1)

    assert await ask(ref, current)
    assert 1 == kb.info(ref).handled


async def test_it_waits_for_an_async_handler_and_comes_before_later_mail() -> None:
    ref = await kb.start(Counter)
    held = asyncio.ensure_future(ref.call(Counter.hold))
    await asyncio.sleep(0)
    actor: Counter = ref._cell.actor
    await actor.entered.wait()
    asked = asyncio.ensure_future(ask(ref, total))
    await asyncio.sleep(0)
    ref.cast(Counter.add, 1)
    assert not asked.done()
    actor.gate.set()

    assert (100, 100) == (await held, await asked)
    assert 101 == await ask(ref, total)


async def test_rule_31_a_suspended_actor_serves_system_messages_and_nothing_else() -> None:
    ref = await kb.start(Counter)
    await ask(ref, suspend)
    await ask(ref, suspend)
    for _ in range(3):
        ref.cast(Counter.add, 1)
    asked = [await ask(ref, total), *await asyncio.gather(ask(ref, total), ask(ref, total))]

    assert [0, 0, 0] == asked
    assert ("suspended", 3) == (kb.info(ref).state, kb.info(ref).mailbox)
    await ask(ref, resume)
    assert 3 == await ask(ref, total)


async def test_an_order_to_suspend_stops_the_turn_that_it_is_served_in() -> None:
    ref = await kb.start(Counter)
    ref.cast(Counter.add, 1)
    suspended = asyncio.ensure_future(ask(ref, suspend))
    await asyncio.sleep(0)
    ref.cast(Counter.add, 10)
    await suspended

    assert 1 == await ask(ref, total)


async def test_an_actor_suspended_from_outside_still_serves_what_waits_in_its_mailbox() -> None:
    ref = await kb.start(Counter)

    async def suspend_it() -> None:
        ref.cast(Counter.add, 1)
        assert 2 == kb.info(ref).mailbox  # the question is there, and has not had its turn
        ref.suspend()

    asked = asyncio.ensure_future(ask(ref.within(2), total))
    suspended = asyncio.ensure_future(suspend_it())
    await suspended

    assert 0 == await asked
    assert ("suspended", 1) == (kb.info(ref).state, kb.info(ref).mailbox)


def test_one_that_was_given_up_does_not_let_ordinary_mail_of_a_suspended_actor_through() -> None:
    async def main() -> None:
        ref = await kb.start(Counter)
        await ask(ref, suspend)
        ref.cast(Counter.add, 1)
        given_up = asyncio.ensure_future(ask(ref, total))
        await asyncio.sleep(0)  # it is in the mailbox, and its actor in the run queue
        given_up.cancel()
        await asyncio.wait([given_up])

        assert given_up.cancelled()
        assert 0 == await ask(ref, total)

    run_virtual(main)


def test_it_has_a_deadline_and_is_not_run_after_it() -> None:
    async def main() -> None:
        ref = await kb.start(Counter)
        held = asyncio.ensure_future(ref.within(None).call(Counter.hold))
        await ref._cell.actor.entered.wait()
        with pytest.raises(kb.CallTimeout) as caught:
            await ask(ref.within(2.0), suspend)
        assert (2.0, "suspend", False) == (
            caught.value.elapsed,
            caught.value.message,
            caught.value.maybe_executed,
        )
        ref._cell.actor.gate.set()
        await held

        assert 101 == await ref.call(Counter.add, 1)

    run_virtual(main)


async def test_one_that_fails_is_its_callers_error_and_no_crash() -> None:
    ref = await kb.start(Counter)
    with pytest.raises(LookupError, match="no such thing"):
        await ask(ref, fail)

    assert 1 == await ref.call(Counter.add, 1)


@pytest.mark.parametrize("overflow", ["reject", "drop_newest", "drop_oldest", "crash"])
async def test_no_mailbox_is_too_full_for_it_and_none_drops_it(overflow: Any) -> None:
    async with kb.Supervisor(kb.child(Counter).options(mailbox=2, overflow=overflow)) as tree:
        ref = tree.ref(Counter, "Counter")
        await ask(ref, suspend)
        ref.cast(Counter.add, 1)
        ref.cast(Counter.add, 1)
        asked = asyncio.ensure_future(ask(ref, total))
        await asyncio.sleep(0)

        assert 0 == await asked
        assert 0 == await ask(ref, total)


async def test_overflow_drops_messages_and_never_a_system_message_that_waits() -> None:
    spec = kb.child(Counter).options(mailbox=1, overflow="drop_oldest")
    async with kb.Supervisor(spec) as tree:
        ref = tree.ref(Counter, "Counter")
        held = asyncio.ensure_future(ref.call(Counter.hold))
        await ref._target().actor.entered.wait()
        asked = asyncio.ensure_future(ask(ref, total))
        await asyncio.sleep(0)
        ref.cast(Counter.add, 1)
        ref.cast(Counter.add, 1)
        ref._target().actor.gate.set()
        await held

        assert 100 == await asked


async def test_an_actor_that_ends_fails_those_that_wait() -> None:
    ref = await kb.start(Counter)
    ref.cast(Counter.hold)
    asked = asyncio.ensure_future(ask(ref, total))
    await ref._cell.actor.entered.wait()
    ref.kill()
    with pytest.raises(kb.ActorExited) as caught:
        await asked

    assert kb.Killed() == caught.value.reason
    with pytest.raises(kb.NotRunning):
        await ask(ref, total)


async def test_a_bare_process_is_refused_in_so_many_words() -> None:
    async def body() -> None:
        await kb.receive()

    ref = kb.spawn(body)
    with pytest.raises(
        kb.UsageError, match="bare process and takes its mail itself, so nobody can serve total"
    ):
        await ask(ref, total)
    ref.kill()


@pytest.mark.parametrize("through_another", [False, True])
async def test_an_actor_that_asks_itself_would_wait_for_ever_and_is_told(through_another: bool) -> None:
    ref, other = await kb.start(Counter), await kb.start(Counter)
    with pytest.raises(kb.ActorExited) as caught:
        if through_another:
            await ref.call(Counter.call_other, other, ref)
        else:
            await ref.call(Counter.ask_other, ref)
    reason = caught.value.reason
    while isinstance(reason, kb.Crashed) and isinstance(reason.error, kb.ActorExited):
        reason = reason.error.reason

    assert isinstance(reason, kb.Crashed)
    assert isinstance(reason.error, kb.CallCycle)


async def test_a_stop_request_ends_a_suspended_actor_after_the_system_messages_before_it() -> None:
    ref = await kb.start(Counter)
    await ask(ref, suspend)
    asked = asyncio.ensure_future(ask(ref, total))
    await asyncio.sleep(0)
    await ref.stop()

    assert 0 == await asked


async def test_one_actor_asks_another_without_a_round_of_the_loop_in_between() -> None:
    ref, other = await kb.start(Counter), await kb.start(Counter)
    await other.call(Counter.add, 5)

    assert 5 == await ref.call(Counter.ask_other, other)
