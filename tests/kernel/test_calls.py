"""How a call ends: a reply, or an error that says why and whether the callee may have acted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import koboshi as kb


class Worker(kb.Actor):
    """Answers, crashes, stops or waits, as asked."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    @kb.message
    def double(self, n: int) -> int:
        self.done.append(f"double {n}")
        return 2 * n

    @kb.message
    def history(self) -> list[str]:
        return list(self.done)

    @kb.message
    def crash(self, text: str) -> int:
        raise ValueError(text)

    @kb.message
    async def crash_later(self, text: str) -> int:
        await asyncio.sleep(0)
        raise ValueError(text)

    @kb.message
    def finish(self, reason: object) -> str:
        self.stop(reason)
        return "last words"

    @kb.message
    def finish_mute(self) -> None:
        kb.defer()
        self.stop()

    @kb.message
    def leave(self) -> None:
        raise kb.Stop(kb.Shutdown("raised"))

    @kb.message
    async def hold(self) -> str:
        self.entered.set()
        await self.gate.wait()
        self.done.append("held")
        return "opened"

    @kb.message
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        self.done.append(f"slept {seconds:g}")
        return "woke"


async def held(ref: kb.ActorRef[Worker]) -> asyncio.Task[str]:
    """A call that the actor has begun on and that only its gate or its end settles."""
    task = asyncio.ensure_future(ref.within(None).call(Worker.hold))
    await actor_of(ref).entered.wait()
    return task


def actor_of(ref: kb.ActorRef[Worker]) -> Worker:
    """The actor itself, to open its gate without another message."""
    actor: Worker = ref._cell.actor
    return actor


# -- the callee is gone, or goes ---------------------------------------------------------------------


async def test_a_call_returns_what_the_handler_returned() -> None:
    worker = await kb.start(Worker)

    assert 6 == await worker.call(Worker.double, 3)


async def test_a_call_to_a_dead_actor_fails_at_once_and_was_not_executed() -> None:
    worker = await kb.start(Worker)
    await worker.stop()

    with pytest.raises(kb.NotRunning) as caught:
        await worker.within(None).call(Worker.double, 3)

    assert not caught.value.maybe_executed
    assert "Worker.double" == caught.value.message
    assert "Worker" in caught.value.target
    assert "is not running" in str(caught.value)


async def test_a_call_to_a_name_that_nobody_holds_fails_at_once() -> None:
    with pytest.raises(kb.NotRunning) as caught:
        await kb.named(Worker, "nobody-here").within(None).call(Worker.double, 3)

    assert (
        "nobody has the name 'nobody-here', so Worker.double was not delivered; a child is given it with "
        ".options(name='nobody-here'), and is without it between two restarts"
    ) == str(caught.value)


@pytest.mark.parametrize("message", [Worker.crash, Worker.crash_later])
async def test_a_crash_reaches_the_caller_with_the_original_error_as_its_cause(message: Any) -> None:
    worker = await kb.start(Worker)

    with pytest.raises(kb.ActorExited) as caught:
        await worker.within(None).call(message, "torn")

    error = caught.value
    assert kb.Crashed(ValueError("torn")) == error.reason
    assert isinstance(error.reason, kb.Crashed)
    assert error.reason.error is error.__cause__
    assert error.maybe_executed
    assert not worker.alive


async def test_a_call_in_hand_fails_when_the_callee_is_killed_and_may_have_been_executed() -> None:
    worker = await kb.start(Worker)
    call = await held(worker)

    worker.kill()

    with pytest.raises(kb.ActorExited) as caught:
        await call
    assert kb.Killed() == caught.value.reason
    assert caught.value.maybe_executed


async def test_a_queued_call_fails_when_the_callee_is_killed_and_was_not_executed() -> None:
    worker = await kb.start(Worker)
    first = await held(worker)
    second = asyncio.ensure_future(worker.within(None).call(Worker.double, 1))
    await asyncio.sleep(0)

    worker.kill()

    with pytest.raises(kb.ActorExited) as caught:
        await second
    assert not caught.value.maybe_executed
    with pytest.raises(kb.ActorExited):
        await first


async def test_a_queued_call_fails_when_the_callee_crashes_on_an_earlier_message() -> None:
    worker = await kb.start(Worker)
    worker.cast(Worker.crash_later, "torn")

    with pytest.raises(kb.ActorExited) as caught:
        await worker.within(None).call(Worker.double, 1)

    assert kb.Crashed(ValueError("torn")) == caught.value.reason
    assert not caught.value.maybe_executed


async def test_a_queued_call_fails_when_the_callee_stops_normally() -> None:
    worker = await kb.start(Worker)
    worker.cast(Worker.finish, kb.Normal())

    with pytest.raises(kb.ActorExited) as caught:
        await worker.within(None).call(Worker.double, 1)

    assert kb.Normal() == caught.value.reason
    assert not caught.value.maybe_executed


async def test_a_callee_that_stops_normally_without_replying_fails_the_call_with_normal() -> None:
    worker = await kb.start(Worker)

    with pytest.raises(kb.ActorExited) as caught:
        await worker.within(None).call(Worker.finish_mute)

    assert kb.Normal() == caught.value.reason
    assert caught.value.maybe_executed


async def test_a_handler_that_raises_stop_fails_its_caller_with_that_reason() -> None:
    worker = await kb.start(Worker)

    with pytest.raises(kb.ActorExited) as caught:
        await worker.within(None).call(Worker.leave)

    assert kb.Shutdown("raised") == caught.value.reason
    assert caught.value.maybe_executed


async def test_an_exit_signal_fails_the_call_in_hand() -> None:
    worker = await kb.start(Worker)
    call = await held(worker)

    worker.exit(kb.Shutdown("over"))

    with pytest.raises(kb.ActorExited) as caught:
        await call
    assert kb.Shutdown("over") == caught.value.reason


async def test_a_call_that_is_cancelled_leaves_the_callee_alone() -> None:
    worker = await kb.start(Worker)
    call = await held(worker)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    actor_of(worker).gate.set()

    assert ["held"] == await worker.call(Worker.history)


async def test_a_cancelled_call_that_was_not_started_is_never_executed() -> None:
    worker = await kb.start(Worker)
    first = await held(worker)
    second = asyncio.ensure_future(worker.call(Worker.double, 1))
    await asyncio.sleep(0)
    second.cancel()
    actor_of(worker).gate.set()
    await first

    assert ["held"] == await worker.call(Worker.history)


# -- many at once --------------------------------------------------------------------------------------


class Asker(kb.Actor):
    """Calls several actors at once from inside a handler."""

    @kb.message
    async def gathered(self, workers: list[kb.ActorRef[Worker]]) -> list[int]:
        return list(await asyncio.gather(*(each.call(Worker.double, n) for n, each in enumerate(workers))))

    @kb.message
    async def grouped(self, workers: list[kb.ActorRef[Worker]]) -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.call(Worker.double, n)) for n, each in enumerate(workers)]
        return [task.result() for task in tasks]

    @kb.message
    async def first_failure(self, workers: list[kb.ActorRef[Worker]]) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(workers[0].call(Worker.hold))
                group.create_task(workers[1].call(Worker.crash, "torn"))
        except ExceptionGroup as failed:
            return repr(failed.exceptions[0])
        return "no failure"


@pytest.mark.parametrize("message", [Asker.gathered, Asker.grouped])
async def test_a_handler_calls_many_actors_at_once(message: Any) -> None:
    workers = [await kb.start(Worker) for _ in range(20)]
    asker = await kb.start(Asker)

    assert [2 * n for n in range(20)] == await asker.call(message, workers)


async def test_a_task_group_in_a_handler_cancels_the_other_calls_when_one_fails() -> None:
    workers = [await kb.start(Worker) for _ in range(2)]
    asker = await kb.start(Asker)

    assert "ActorExited" in await asker.call(Asker.first_failure, workers)
    assert workers[0].alive


async def test_thousands_of_calls_in_flight_all_end() -> None:
    worker = await kb.start(Worker)
    call = await held(worker)
    patient = worker.within(50)
    calls = [asyncio.ensure_future(patient.call(Worker.double, n)) for n in range(2000)]
    actor_of(worker).gate.set()

    assert [2 * n for n in range(2000)] == await asyncio.gather(*calls)
    assert "opened" == await call
