"""One task: its value, the link to its caller (rule 61), and who may wait for it (rule 62)."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from tests.otp.tasks.scenes import (
    Owner,
    after,
    double,
    fail,
    for_ever,
    inside,
    now,
    plain_double,
    run_inside,
    stop_without_value,
)
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


def test_a_task_gives_the_value_of_an_async_or_plain_function() -> None:
    async def scene() -> list[int]:
        return [
            await otp.task(double, 4),
            await otp.task(plain_double, n=5),
            await otp.task_nolink(double, 6),
        ]

    assert [8, 10, 12] == run_inside(scene)


def test_a_value_is_given_again_when_it_is_awaited_again() -> None:
    async def scene() -> list[int]:
        task = otp.task(double, 4)
        return [await task, await task.wait(0), (await task.shutdown() or otp.Ok(0)).unwrap()]

    assert [8, 8, 8] == run_inside(scene)


def test_tasks_run_at_the_same_time() -> None:
    async def scene() -> tuple[list[str], float]:
        tasks = [otp.task(after, 2.0, text) for text in "abc"]
        return [await task for task in tasks], now()

    values, took = run_inside(scene)

    assert ["a", "b", "c"] == values
    assert pytest.approx(2.0) == took


def test_rule_61_a_crash_ends_a_caller_that_does_not_trap_exits_before_its_await_returns() -> None:
    async def scene() -> tuple[kb.ExitReason | None, list[str]]:
        passed: list[str] = []

        async def caller() -> None:
            try:
                await otp.task(fail, "boom")
            except kb.CallError:
                passed.append("an error")
            passed.append("went on")

        return await kb.spawn(caller).wait_exit(), passed

    reason, passed = run_virtual(scene)

    assert kb.Crashed(ValueError("boom")) == reason
    assert [] == passed


def test_rule_61_a_crash_ends_a_caller_that_waits_for_something_else() -> None:
    async def scene() -> kb.ExitReason | None:
        async def caller() -> None:
            otp.task(fail, "boom")
            await kb.receive()

        return await kb.spawn(caller).wait_exit()

    assert kb.Crashed(ValueError("boom")) == run_virtual(scene)


def test_rule_61_a_caller_that_traps_exits_gets_the_error_and_the_exit_message() -> None:
    async def scene() -> tuple[kb.ActorExited, kb.Exit, bool]:
        kb.trap_exits()
        task = otp.task(fail, "boom")
        with pytest.raises(kb.ActorExited) as caught:
            await task
        exit = await kb.receive(kb.Exit)
        return caught.value, exit, exit.sender == task.ref

    error, exit, same = run_inside(scene)

    assert kb.Crashed(ValueError("boom")) == error.reason == exit.reason
    assert repr(ValueError("boom")) == repr(error.__cause__)
    assert same


@pytest.mark.parametrize("reason", [kb.Kill(), kb.Exited("gone"), kb.Shutdown()])
def test_rule_61_the_death_of_the_caller_kills_its_task(reason: kb.ExitReason) -> None:
    async def scene() -> kb.ExitReason | None:
        owner = await kb.start(Leaver)
        task: kb.ActorRef[Any] = await owner.ask(lambda reply: reply)
        assert task.alive
        owner.exit(reason)
        return await task.wait_exit()

    expected = kb.Killed() if reason == kb.Kill() else reason
    assert expected == run_virtual(scene)


class Leaver(kb.Actor):
    """Starts a task for whoever asks."""

    def on_info(self, message: kb.ReplyTo[Any]) -> None:
        message.send(otp.task(for_ever).ref)


def test_rule_61_without_a_link_only_awaiting_raises() -> None:
    async def scene() -> tuple[kb.ActorExited, Any]:
        task = otp.task_nolink(fail, "boom")
        await task.ref.wait_exit()
        left = await kb.receive(timeout=1.0)
        with pytest.raises(kb.ActorExited) as caught:
            await task
        return caught.value, left

    error, left = run_inside(scene)

    assert kb.Crashed(ValueError("boom")) == error.reason
    assert error.maybe_executed
    assert "fail" == error.message
    assert kb.Timeout() == left


def test_a_task_without_a_link_outlives_its_caller() -> None:
    async def scene() -> bool:
        async def caller() -> kb.ActorRef[kb.Process]:
            return otp.task_nolink(for_ever).ref

        ref = await inside(caller)
        alive = ref.alive
        ref.kill()
        await ref.wait_exit()
        return alive

    assert run_virtual(scene)


def test_rule_62_only_the_process_that_started_a_task_may_wait_for_it() -> None:
    async def scene() -> list[otp.NotTaskOwner]:
        task = otp.task(after, 1.0, "mine")
        errors: list[otp.NotTaskOwner] = []

        async def thief() -> None:
            for attempt in (task.wait, task.poll, task.shutdown):
                with pytest.raises(otp.NotTaskOwner) as caught:
                    await attempt()
                errors.append(caught.value)
            with pytest.raises(otp.NotTaskOwner):
                await otp.wait_many([task])
            with pytest.raises(otp.NotTaskOwner):
                await otp.poll_many([task])

        reason = await kb.spawn(thief).wait_exit()
        assert kb.Normal() == reason
        assert "mine" == await task
        return errors

    errors = run_inside(scene)

    assert 3 == len(errors)
    assert "thief" in errors[0].caller
    assert "belongs to" in str(errors[0])


def test_rule_62_a_task_that_a_handler_has_started_may_not_wait_for_the_handlers() -> None:
    async def scene() -> str:
        task = otp.task(after, 1.0, "mine")
        with pytest.raises(otp.NotTaskOwner, match="a task that a handler has started"):
            await asyncio.create_task(task.wait())
        return await task

    assert "mine" == run_inside(scene)


def test_rule_62_a_task_that_ends_normally_without_a_value_makes_await_raise_normal() -> None:
    async def scene() -> kb.ActorExited:
        with pytest.raises(kb.ActorExited) as caught:
            await otp.task(stop_without_value)
        return caught.value

    assert kb.Normal() == run_inside(scene).reason


def test_rule_62_after_a_timeout_a_linked_task_is_shut_down_and_its_caller_goes_on() -> None:
    async def scene() -> tuple[Any, ...]:
        kb.trap_exits()
        task = otp.task(for_ever)
        with pytest.raises(kb.CallTimeout) as caught:
            await task.wait(2.0)
        assert isinstance(caught.value, TimeoutError)
        reason = await task.ref.wait_exit()
        return now(), caught.value.elapsed, reason, await kb.receive(timeout=10.0)

    took, elapsed, reason, left = run_inside(scene)

    assert pytest.approx(2.0) == took == elapsed
    assert isinstance(reason, kb.Shutdown)
    assert kb.Timeout() == left


def test_rule_62_the_reply_of_a_task_whose_await_timed_out_goes_nowhere() -> None:
    async def scene() -> tuple[Any, ...]:
        task = otp.task_nolink(after, 3.0, "late")
        with pytest.raises(kb.CallTimeout):
            await task.wait(2.0)
        reason = await task.ref.wait_exit()
        left = await kb.receive(timeout=1.0)
        with pytest.raises(kb.UsageError, match="given up"):
            await task
        with pytest.raises(kb.UsageError, match="given up"):
            await otp.poll_many([task])
        return reason, left, task.outcome, await task.shutdown(), repr(task)

    reason, left, outcome, shut_down, shown = run_inside(scene)

    assert (kb.Normal(), kb.Timeout(), None, None) == (reason, left, outcome, shut_down)
    assert "given up" in shown


def test_a_wait_lasts_five_seconds_unless_told_otherwise() -> None:
    async def scene() -> float:
        with pytest.raises(kb.CallTimeout):
            await otp.task(for_ever)
        return now()

    assert pytest.approx(5.0) == run_inside(scene)


def test_a_wait_inside_a_handler_does_not_outlast_the_caller_of_the_handler() -> None:
    class Patient(kb.Actor):
        @kb.message
        async def wait_long(self, elapsed: list[float]) -> None:
            with pytest.raises(kb.CallTimeout):
                await otp.task(for_ever).wait(60.0)
            elapsed.append(now())

    async def scene() -> list[float]:
        elapsed: list[float] = []
        patient = await kb.start(Patient)
        with pytest.raises(kb.CallTimeout):
            await patient.within(2.0).call(Patient.wait_long, elapsed)
        await patient.stop()
        return elapsed

    assert [pytest.approx(2.0)] == run_virtual(scene)


def test_a_wait_that_is_cancelled_can_be_repeated() -> None:
    async def scene() -> str:
        task = otp.task(after, 2.0, "there")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await task.wait(None)
        return await task

    assert "there" == run_inside(scene)


def test_an_actor_starts_and_awaits_tasks_in_its_handlers() -> None:
    async def scene() -> list[int]:
        owner = await kb.start(Owner)
        values = await owner.call(Owner.doubled, [3, 1, 2])
        await owner.stop()
        return values

    assert [6, 2, 4] == run_virtual(scene)


async def test_plain_asyncio_code_has_tasks_without_a_link_and_no_others() -> None:
    assert 8 == await otp.task_nolink(double, 4)
    with pytest.raises(kb.NotInProcess, match="task_nolink"):
        otp.task(double, 4)


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")])
async def test_an_impossible_timeout_is_refused_by_name(timeout: Any) -> None:
    task = otp.task_nolink(double, 1)
    for attempt in (task.wait, task.poll, task.shutdown):
        with pytest.raises(kb.UsageError, match=r"timeout.* takes seconds >= 0 or None"):
            await attempt(timeout)
    assert 2 == await task


async def test_what_is_no_function_is_refused_and_a_coroutine_is_closed() -> None:
    with pytest.raises(kb.UsageError, match="takes a function, plain or async, got 7"):
        otp.task_nolink(7)  # type: ignore[call-overload]
    with pytest.raises(kb.UsageError, match="not its result"):
        otp.task_nolink(double(1))  # type: ignore[call-overload]


async def test_a_task_is_waited_for_once_at_a_time() -> None:
    task = otp.task_nolink(for_ever)
    first = asyncio.create_task(task.poll(None))
    await asyncio.sleep(0)
    with pytest.raises(kb.UsageError, match="being waited for already"):
        await task.poll(None)
    task.ref.exit(kb.Exited("over"))

    assert otp.Failed(kb.Exited("over")) == await first


async def test_a_crashed_task_is_reported_under_the_name_of_its_function() -> None:
    reports: list[kb.events.Event] = []
    stop = kb.listen(reports.append)
    await otp.task_nolink(fail, "boom").poll()
    await asyncio.sleep(0)
    stop()
    [report] = [each for each in reports if isinstance(each, kb.events.CrashReport)]

    assert report.process.startswith("fail#")
    assert "fail" == report.message


async def test_a_task_prints_its_function_and_its_state_in_one_line() -> None:
    running, done, failed = otp.task_nolink(for_ever), otp.task_nolink(double, 1), otp.task_nolink(fail, "x")
    await otp.poll_many([running, done, failed], 0.0)
    await otp.poll_many([done, failed])

    assert repr(running).startswith("<Task for_ever for_ever#")
    assert repr(running).endswith(": running>")
    assert repr(done).endswith(": returned>")
    assert repr(failed).endswith(": Crashed(error=ValueError('x'))>")
    await running.shutdown("kill")


async def test_a_task_cannot_be_pickled_and_says_why() -> None:
    task = otp.task_nolink(double, 1)
    with pytest.raises(kb.UsageError, match="cannot be sent anywhere"):
        pickle.dumps(task)
    await task


def test_errors_and_outcomes_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(otp.NotTaskOwner("task", "owner", "caller")))

    assert ("task", "owner", "caller") == (error.task, error.owner, error.caller)
    assert str(otp.NotTaskOwner("task", "owner", "caller")) == str(error)
    for outcome in (otp.Ok(1), otp.Failed(kb.Crashed(ValueError("x")), "item")):
        assert outcome == pickle.loads(pickle.dumps(outcome))


def test_an_outcome_is_unwrapped_to_its_value_or_its_error() -> None:
    assert 3 == otp.Ok(3).unwrap()
    assert otp.Ok(3).ok
    failed = otp.Failed(kb.Crashed(ValueError("x")))
    assert not failed.ok
    assert isinstance(failed.error, ValueError)
    with pytest.raises(kb.ActorExited) as caught:
        failed.unwrap()
    assert failed.error is caught.value.__cause__
