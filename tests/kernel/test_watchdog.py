"""The watchdog names what holds the loop, and `max_handler_time` ends a runaway handler and nothing else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel._events import LoopBlocked
from koboshi._kernel._node import MESSAGES_PER_TURN, this_node
from koboshi._kernel._watchdog import watch, watchdog_of


def busy(seconds: float) -> int:
    """Hold the thread in Python code."""
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        rounds += 1
    return rounds


class Worker(kb.Actor):
    """Holds the loop as long as it is told."""

    @kb.message
    def hold(self, seconds: float) -> str:
        busy(seconds)
        return "done"

    @kb.message
    async def hold_between(self, seconds: float, other: kb.ActorRef[Quick]) -> str:
        await asyncio.sleep(0)
        await other.call(Quick.nothing)
        busy(seconds)
        return "done"

    @kb.message
    async def hold_in_pieces(self, seconds: float, pieces: int) -> str:
        for _ in range(pieces):
            busy(seconds / pieces)
            await asyncio.sleep(0)
        return "done"


class Quick(kb.Actor):
    """Answers at once."""

    @kb.message
    def nothing(self) -> None: ...


class Limited(kb.Actor):
    """May hold the loop for 5 ms."""

    max_handler_time = 0.005

    @kb.message
    def hold(self, seconds: float) -> str:
        busy(seconds)
        return "done"

    @kb.message
    async def hold_after_wait(self, seconds: float) -> str:
        await asyncio.sleep(0)
        busy(seconds)
        return "done"

    @kb.message
    async def call_then_hold(self, other: kb.ActorRef[Limited], seconds: float) -> str:
        assert await other.call(Limited.hold, 0.0) == "done"
        busy(seconds)
        return "done"


class Patient(kb.Actor):
    """May hold the loop for so long that no pause of a busy machine passes for a step of its own."""

    max_handler_time = 0.3

    @kb.message
    async def many_steps(self, count: int) -> str:
        for _ in range(count):
            busy(0.01)
            await asyncio.sleep(0)
        return "done"

    @kb.message
    async def waits(self) -> str:
        await asyncio.sleep(0.4)
        return "done"


@pytest.fixture
async def blocked() -> Any:
    """The reports of a watchdog with its ordinary threshold."""
    node, reports = this_node(), []
    remove = node.instruments.add(
        lambda event: reports.append(event) if isinstance(event, LoopBlocked) else None
    )
    unwatch = watch(node, 0.1)
    yield reports
    unwatch()
    remove()


@pytest.fixture
async def quick_dog() -> Any:
    """A watchdog that looks each millisecond."""
    unwatch = watch(this_node(), 0.004)
    yield watchdog_of(this_node())
    unwatch()


@pytest.mark.slow
async def test_a_handler_that_holds_the_loop_is_reported_once_with_message_and_stack(
    blocked: list[LoopBlocked],
) -> None:
    ref = await kb.start(Worker)
    kb.register("the culprit", ref)
    await ref.call(Worker.hold, 0.3)

    assert len(blocked) == 1
    report = blocked[0]
    assert (report.process, report.message) == (kb.info(ref).label, "Worker.hold")
    assert 0.1 <= report.seconds < 0.3
    assert "busy" in report.stack
    assert "time.monotonic()" in report.stack
    await ref.stop()


@pytest.mark.slow
async def test_the_report_names_the_holder_and_not_whom_it_has_called_before(
    blocked: list[LoopBlocked],
) -> None:
    ref, other = await kb.start(Worker), await kb.start(Quick)
    await ref.call(Worker.hold_between, 0.25, other)

    assert [("Worker.hold_between", kb.info(ref).label)] == [(each.message, each.process) for each in blocked]


@pytest.mark.slow
async def test_a_queued_message_is_reported_like_one_run_on_the_callers_stack(
    blocked: list[LoopBlocked],
) -> None:
    ref = await kb.start(Worker)
    ref.cast(Worker.hold, 0.2)
    await ref.call(Worker.hold, 0.0)

    assert ["Worker.hold"] == [each.message for each in blocked]


@pytest.mark.slow
async def test_many_short_messages_and_steps_are_not_reported(blocked: list[LoopBlocked]) -> None:
    ref = await kb.start(Worker)
    for _ in range(120):  # all in one turn, and longer than the threshold together
        ref.cast(Worker.hold, 0.003)
    await ref.call(Worker.hold, 0.0)
    await ref.call(Worker.hold_in_pieces, 0.3, 100)

    assert blocked == []


@pytest.mark.slow
async def test_timers_are_not_starved_by_many_messages_of_a_millisecond_each() -> None:
    refs = [await kb.start(Worker) for _ in range(4)]
    for ref in refs:
        for _ in range(150):
            ref.cast(Worker.hold, 0.001)
    await asyncio.sleep(0.01)
    handled = sum(kb.info(ref).handled for ref in refs)
    for ref in refs:
        ref.kill()
        await ref.wait_exit(5)

    # Counted in messages, not in time: a turn here outlasts a slice, so each pass of the loop has one.
    assert 0 < handled <= 6 * MESSAGES_PER_TURN


@pytest.mark.parametrize("message", [Limited.hold, Limited.hold_after_wait], ids=["plain", "async"])
async def test_a_runaway_handler_crashes_and_its_actor_is_started_again(quick_dog: Any, message: Any) -> None:
    async with kb.Supervisor(kb.child(Limited).options(id="it")) as tree:
        ref = tree.ref(Limited, "it")
        began = time.monotonic()
        with pytest.raises(kb.ActorExited) as caught:
            await ref.within(20).call(message, 10.0)

        assert isinstance(caught.value.__cause__, kb.HandlerTimeout)
        assert time.monotonic() - began < 5
        assert await ref.call(Limited.hold, 0.0) == "done"


@pytest.mark.slow
async def test_time_spent_waiting_and_in_short_steps_does_not_count(quick_dog: Any) -> None:
    ref = await kb.start(Patient)

    assert await ref.call(Patient.waits) == "done"
    assert await ref.call(Patient.many_steps, 40) == "done"
    await ref.stop()


async def test_a_handler_is_still_limited_after_it_has_called_another_limited_one(quick_dog: Any) -> None:
    ref, other = await kb.start(Limited), await kb.start(Limited)
    with pytest.raises(kb.ActorExited) as caught:
        await ref.within(20).call(Limited.call_then_hold, other, 10.0)

    assert isinstance(caught.value.__cause__, kb.HandlerTimeout)
    assert await other.call(Limited.hold, 0.0) == "done"


@pytest.mark.slow
async def test_the_interruption_never_hits_anything_but_the_handler(quick_dog: Any) -> None:
    randomness = random.Random(7)
    bystander = await kb.start(Worker)
    outcomes = {"done": 0, "interrupted": 0, "else": 0}
    ref = await kb.start(Limited)
    for _ in range(400):
        try:
            await ref.call(Limited.hold, randomness.uniform(0.004, 0.0075))
            outcomes["done"] += 1
        except kb.ActorExited as error:
            outcomes["interrupted" if isinstance(error.__cause__, kb.HandlerTimeout) else "else"] += 1
            ref = await kb.start(Limited)
        # Whatever is late would arrive here, in this test's own code or in the bystander's.
        busy(0.0003)
        assert await bystander.call(Worker.hold, 0.0003) == "done"

    assert outcomes["else"] == 0
    assert min(outcomes["done"], outcomes["interrupted"]) >= 20, outcomes


def test_without_a_runtime_a_limited_handler_is_an_ordinary_method() -> None:
    assert Limited().hold(0.01) == "done"


async def test_the_watchdog_thread_runs_while_somebody_wants_it() -> None:
    node = this_node()
    dog = watchdog_of(node)
    first, second = watch(node, 0.05), watch(node)
    thread = dog._thread
    assert thread is not None
    assert thread.is_alive()
    first()
    first()  # a second time does nothing
    assert thread.is_alive()
    second()
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _no_leftover_interruption() -> Iterator[None]:
    yield
    busy(0.002)


class Swallowing(kb.Actor):
    """Catches everything, three times, before it lets go."""

    max_handler_time = 0.05

    @kb.message
    def spin(self) -> None:
        caught = 0
        while caught < 3:
            try:
                while True:
                    pass
            except Exception:
                caught += 1
        while True:
            pass


@pytest.mark.slow
async def test_a_handler_that_catches_its_interruption_is_interrupted_again(quick_dog: Any) -> None:
    ref = await kb.start(Swallowing)

    with pytest.raises(kb.ActorExited) as caught:
        await ref.call(Swallowing.spin)

    assert isinstance(caught.value.__cause__, kb.HandlerTimeout)
