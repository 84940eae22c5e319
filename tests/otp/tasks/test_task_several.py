"""Polling one task and several, and waiting for all of several (rules 62 and 63)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.otp.tasks.scenes import after, double, fail, for_ever, now, run_inside

import koboshi as kb
from koboshi import otp


def test_rule_62_poll_gives_none_at_the_timeout_and_can_be_repeated() -> None:
    async def scene() -> list[Any]:
        task = otp.task(after, 2.5, "there")
        return [(await task.poll(1.0), now()) for _ in range(4)]

    polled = run_inside(scene)

    assert [None, None, otp.Ok("there"), otp.Ok("there")] == [outcome for outcome, _ in polled]
    assert pytest.approx([1.0, 2.0, 2.5, 2.5]) == [at for _, at in polled]


def test_poll_gives_the_reason_of_a_task_without_a_value() -> None:
    async def scene() -> otp.Outcome[int] | None:
        return await otp.task_nolink(fail, "boom").poll()

    assert otp.Failed(kb.Crashed(ValueError("boom"))) == run_inside(scene)


def test_polling_with_no_time_lets_others_run_so_that_a_loop_of_it_ends() -> None:
    async def scene() -> int:
        task = otp.task(double, 4)
        while (outcome := await task.poll(0)) is None:
            pass
        return outcome.unwrap()

    assert 8 == run_inside(scene)


def test_rule_63_wait_many_gives_the_values_in_the_order_given() -> None:
    async def scene() -> tuple[list[str], float]:
        values = await otp.wait_many([otp.task(after, delay, str(delay)) for delay in (3.0, 1.0, 2.0)])
        return values, now()

    values, took = run_inside(scene)

    assert ["3.0", "1.0", "2.0"] == values
    assert pytest.approx(3.0) == took


def test_rule_63_one_deadline_is_shared_by_all() -> None:
    async def scene() -> tuple[float, list[Any], list[bool]]:
        tasks = [otp.task(after, delay, delay) for delay in (1.0, 3.0, 4.0, 9.0)]
        with pytest.raises(kb.CallTimeout):
            await otp.wait_many(tasks, 3.5)
        at = now()
        for task in tasks:
            await task.ref.wait_exit(0.1)
        return at, [task.outcome for task in tasks], [task.ref.alive for task in tasks]

    at, outcomes, alive = run_inside(scene)

    assert pytest.approx(3.5) == at
    assert [otp.Ok(1.0), otp.Ok(3.0), None, None] == outcomes
    assert [False] * 4 == alive


def test_rule_63_the_first_failure_in_time_ends_the_wait_at_once() -> None:
    async def scene() -> tuple[kb.ActorExited, float, list[bool]]:
        async def late_failure() -> None:
            await after(2.0, None)
            await fail("second")

        async def failure() -> None:
            await after(1.0, None)
            await fail("first")

        kb.trap_exits()
        tasks = [otp.task(for_ever), otp.task(late_failure), otp.task(failure)]
        with pytest.raises(kb.ActorExited) as caught:
            await otp.wait_many(tasks, None)
        at = now()
        await tasks[0].ref.wait_exit(0.1)
        await tasks[1].ref.wait_exit(0.1)
        return caught.value, at, [task.ref.alive for task in tasks]

    error, at, alive = run_inside(scene)

    assert kb.Crashed(ValueError("first")) == error.reason
    assert pytest.approx(1.0) == at
    assert [False, False, False] == alive


def test_rule_63_of_two_failures_before_the_caller_goes_on_the_earlier_is_raised() -> None:
    async def scene() -> kb.ActorExited:
        earlier, later = otp.task_nolink(fail, "earlier"), otp.task_nolink(fail, "later")
        with pytest.raises(kb.ActorExited) as caught:
            await otp.wait_many([later, earlier])
        assert isinstance(later.outcome, otp.Failed)
        return caught.value

    assert kb.Crashed(ValueError("earlier")) == run_inside(scene).reason


def test_without_a_link_the_others_run_on_after_a_failure() -> None:
    async def scene() -> list[bool]:
        tasks: list[otp.Task[Any]] = [otp.task_nolink(for_ever), otp.task_nolink(fail, "boom")]
        with pytest.raises(kb.ActorExited):
            await otp.wait_many(tasks)
        alive = [task.ref.alive for task in tasks]
        await tasks[0].shutdown("kill")
        return alive

    assert [True, False] == run_inside(scene)


def test_poll_many_gives_what_there_is_in_order_and_can_be_repeated() -> None:
    async def scene() -> list[Any]:
        tasks = [
            otp.task_nolink(after, 3.0, "c"),
            otp.task_nolink(fail, "x"),
            otp.task_nolink(after, 1.0, "a"),
        ]
        first = await otp.poll_many(tasks, 2.0)
        return [first, await otp.poll_many(tasks, 5.0), now()]

    first, second, at = run_inside(scene)

    failed = otp.Failed(kb.Crashed(ValueError("x")))
    assert [None, failed, otp.Ok("a")] == first
    assert [otp.Ok("c"), failed, otp.Ok("a")] == second
    assert pytest.approx(3.0) == at


def test_poll_many_returns_as_soon_as_so_many_are_there() -> None:
    async def scene() -> list[Any]:
        tasks = [otp.task(after, float(delay), delay) for delay in (4, 3, 2, 1)]
        found = [await otp.poll_many(tasks, None, limit=2), now()]
        return [*found, await otp.poll_many(tasks, None, limit=1), now()]

    found, at, again, at_again = run_inside(scene)

    assert [None, None, otp.Ok(2), otp.Ok(1)] == found == again
    assert pytest.approx(2.0) == at == at_again


async def test_nothing_to_wait_for_is_there_at_once() -> None:
    assert [] == await otp.wait_many([])
    assert [] == await otp.poll_many([])


async def test_arguments_that_do_not_fit_are_refused_by_name() -> None:
    task = otp.task_nolink(double, 1)
    with pytest.raises(kb.UsageError, match="there twice"):
        await otp.wait_many([task, task])
    with pytest.raises(kb.UsageError, match="expected tasks"):
        await otp.poll_many([3])  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match="limit takes a whole number >= 1, got 0"):
        await otp.poll_many([task], limit=0)
    with pytest.raises(kb.UsageError, match="timeout takes seconds"):
        await otp.wait_many([task], -1.0)
    assert 2 == await task
