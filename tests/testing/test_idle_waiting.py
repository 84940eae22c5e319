"""`wait_idle`: what it waits for, and what it says when that does not come."""

from __future__ import annotations

import asyncio
import pickle

import pytest

import koboshi as kb
from koboshi import testing


class Chain(kb.Actor):
    """Passes a number on, one less, until it is 0."""

    def __init__(self) -> None:
        self.next: kb.ActorRef[Chain] | None = None
        self.done = 0

    @kb.message
    def meet(self, other: kb.ActorRef[Chain]) -> None:
        self.next = other

    @kb.message
    def hand_on(self, left: int) -> None:
        self.done += 1
        if left and self.next is not None:
            self.next.cast(Chain.hand_on, left - 1)

    @kb.message
    async def nap(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.done += 1

    @kb.message
    def for_ever(self) -> None:
        self.me.cast(Chain.for_ever)


async def pair() -> tuple[kb.ActorRef[Chain], kb.ActorRef[Chain]]:
    one, two = await kb.start(Chain), await kb.start(Chain)
    await one.call(Chain.meet, two)
    await two.call(Chain.meet, one)
    return one, two


async def test_it_returns_when_the_last_consequence_of_a_message_is_over() -> None:
    one, two = await pair()
    one.cast(Chain.hand_on, 9_999)
    await testing.wait_idle()

    assert 10_000 == one._cell.actor.done + two._cell.actor.done


async def test_it_waits_for_mail_behind_an_actor_that_waits() -> None:
    one, _ = await pair()
    one.cast(Chain.nap, 0.01)
    one.cast(Chain.hand_on, 0)
    await testing.wait_idle()

    assert 2 == one._cell.actor.done


async def test_it_says_what_is_busy_when_its_time_is_over() -> None:
    one, _ = await pair()
    one.cast(Chain.for_ever)
    with pytest.raises(testing.StillBusy, match=r"not idle after 0.05 s: <Cell Chain#\d+ queued> with 1"):
        await testing.wait_idle(timeout=0.05)
    one.kill()
    await testing.wait_idle()

    assert not one.alive


async def test_a_suspended_actor_is_idle_whatever_lies_in_its_mailbox() -> None:
    one, _ = await pair()
    one._cell.node.suspend(one._cell)
    one.cast(Chain.hand_on, 0)
    await testing.wait_idle()
    assert 0 == one._cell.actor.done
    one._cell.node.resume(one._cell)
    await testing.wait_idle()

    assert 1 == one._cell.actor.done


async def test_callbacks_that_schedule_callbacks_are_waited_for() -> None:
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def again(left: int) -> None:
        seen.append(left)
        if left:
            loop.call_soon(again, left - 1)

    loop.call_soon(again, 99)
    await testing.wait_idle()

    assert [*reversed(range(100))] == seen


@testing.virtual_time()
async def test_it_does_not_wait_for_timers() -> None:
    ref, _ = await pair()
    ref.send_after(10, Chain.hand_on, 0)
    await testing.wait_idle()

    assert 1000.0 == testing.clock().time()
    assert 0 == ref._cell.actor.done


def test_its_error_survives_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(testing.StillBusy(2.0, ("a",))))

    assert (2.0, ("a",), "not idle after 2 s: a") == (error.seconds, error.busy, str(error))


async def test_a_time_that_is_no_number_is_refused_by_name() -> None:
    for timeout in ("x", None, 0, float("nan"), True):
        with pytest.raises(kb.UsageError, match=r"timeout takes seconds > 0, got "):
            await testing.wait_idle(timeout)  # type: ignore[arg-type]
