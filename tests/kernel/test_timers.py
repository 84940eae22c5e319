"""Timers: sent once or again and again, in order, cancelled with what was left, gone with their target."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi._kernel._events import Dropped, Event
from koboshi._kernel._node import this_node


class Clock(kb.Actor):
    """Writes down when what reached it."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, Any]] = []

    @kb.message
    def put(self, entry: Any) -> None:
        self.seen.append((asyncio.get_running_loop().time() - 1000.0, entry))

    @kb.message
    def read(self) -> list[tuple[float, Any]]:
        return self.seen

    @kb.message
    def crash(self) -> None:
        raise ValueError("torn")


def test_send_after_sends_once_after_that_time() -> None:
    async def main() -> None:
        clock = await kb.start(Clock)
        timer = clock.send_after(2.0, Clock.put, "x")
        assert 2.0 == timer.left
        await asyncio.sleep(1.5)
        assert 0.5 == timer.left
        await asyncio.sleep(10.0)

        assert [(2.0, "x")] == await clock.call(Clock.read)
        assert timer.left is None

    run_virtual(main)


def test_timers_send_in_the_order_of_their_times() -> None:
    async def main() -> None:
        clock = await kb.start(Clock)
        for seconds in (3.0, 1.0, 2.0):
            clock.send_after(seconds, Clock.put, seconds)
        await asyncio.sleep(5.0)

        assert [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)] == await clock.call(Clock.read)

    run_virtual(main)


def test_send_interval_sends_until_it_is_cancelled_and_does_not_drift() -> None:
    async def main() -> None:
        clock = await kb.start(Clock)
        timer = clock.send_interval(0.5, Clock.put, "tick")
        await asyncio.sleep(1.75)
        assert 0.25 == timer.cancel()
        await asyncio.sleep(5.0)

        assert [(0.5, "tick"), (1.0, "tick"), (1.5, "tick")] == await clock.call(Clock.read)

    run_virtual(main)


def test_cancel_returns_what_was_left_and_none_when_it_is_over() -> None:
    async def main() -> None:
        clock = await kb.start(Clock)
        timer = clock.send_after(2.0, Clock.put, "x")
        await asyncio.sleep(0.5)
        assert 1.5 == timer.cancel()
        assert timer.cancel() is None

        sent = clock.send_after(1.0, Clock.put, "y")
        await asyncio.sleep(2.0)
        assert sent.cancel() is None
        assert [(1.5, "y")] == await clock.call(Clock.read)

    run_virtual(main)


def test_timers_end_with_the_incarnation_that_they_were_set_for() -> None:
    async def main() -> None:
        clock = await kb.start(Clock)
        once, again = clock.send_after(2.0, Clock.put, "x"), clock.send_interval(1.0, Clock.put, "y")
        await clock.stop()

        assert once.left is None
        assert again.left is None
        scheduled: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled")  # noqa: B009
        assert not [handle for handle in scheduled if not handle.cancelled()]

    run_virtual(main)


def test_a_timer_to_a_stable_ref_reaches_the_next_incarnation() -> None:
    async def main() -> None:
        async with kb.Supervisor(kb.child(Clock)) as tree:
            clock = tree.ref(Clock, "Clock")
            timer = clock.send_interval(1.0, Clock.put, "tick")
            await asyncio.sleep(1.5)
            clock.cast(Clock.crash)
            await asyncio.sleep(1.0)

            assert [(2.0, "tick")] == await clock.call(Clock.read)
            timer.cancel()

    run_virtual(main)


def test_a_timer_to_a_full_mailbox_is_reported_and_goes_on() -> None:
    async def main() -> None:
        seen: list[Event] = []
        this_node().instruments.add(seen.append)
        async with kb.Supervisor(kb.child(Clock).options(mailbox=1)) as tree:
            clock = tree.ref(Clock, "Clock")
            clock.suspend()
            timer = clock.send_interval(1.0, Clock.put, "tick")
            await asyncio.sleep(3.5)
            clock.resume()
            await asyncio.sleep(1.0)
            timer.cancel()

            assert 2 == sum(isinstance(event, Dropped) for event in seen)
            assert [(3.5, "tick"), (4.0, "tick")] == await clock.call(Clock.read)

    run_virtual(main)


async def test_a_timer_set_for_a_dead_actor_is_over_at_once() -> None:
    clock = await kb.start(Clock)
    await clock.stop()
    for timer in (clock.send_after(1.0, Clock.put, "x"), clock.send_interval(1.0, Clock.put, "x")):
        assert timer.left is None
        assert timer.cancel() is None


def test_a_timer_carries_no_more_than_its_message() -> None:
    """Arguments are checked when the timer is set, where the mistake is."""

    async def main() -> None:
        clock = await kb.start(Clock)
        with pytest.raises(kb.UsageError, match="missing a required argument: 'entry'"):
            clock.send_after(1.0, Clock.put)  # type: ignore[call-arg]

    run_virtual(main)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
async def test_a_timer_takes_no_negative_time(seconds: float) -> None:
    clock = await kb.start(Clock)
    with pytest.raises(kb.UsageError, match=">= 0"):
        clock.send_after(seconds, Clock.put, 1)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, float("nan")])
async def test_an_interval_is_longer_than_zero(seconds: float) -> None:
    clock = await kb.start(Clock)
    with pytest.raises(kb.UsageError, match="> 0 to repeat"):
        clock.send_interval(seconds, Clock.put, 1)
