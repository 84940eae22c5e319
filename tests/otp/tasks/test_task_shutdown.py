"""Shutting a task down: within a time, and without losing a value that is there (rule 63)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.otp.tasks.scenes import double, fail, for_ever, now, run_inside

import koboshi as kb
from koboshi import otp


def test_rule_63_a_value_that_has_arrived_is_returned_and_not_lost() -> None:
    async def scene() -> Any:
        task = otp.task(double, 4)
        await task.ref.wait_exit()
        return await task.shutdown()

    assert otp.Ok(8) == run_inside(scene)


def test_rule_63_a_value_that_comes_while_it_shuts_down_is_returned() -> None:
    async def last_words() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "last words"
        return ""

    async def scene() -> Any:
        task = otp.task(last_words)
        await task.poll(1.0)
        return await task.shutdown()

    assert otp.Ok("last words") == run_inside(scene)


@pytest.mark.parametrize("timeout", [5.0, None, "kill"])
def test_a_task_that_is_shut_down_as_asked_gives_none_and_is_gone(timeout: Any) -> None:
    async def scene() -> tuple[Any, bool, Any]:
        kb.trap_exits()
        task = otp.task(for_ever)
        outcome = await task.shutdown(timeout)
        return outcome, task.ref.alive, await kb.receive(timeout=1.0)

    # It is unlinked first, so its end is no exit message either.
    assert (None, False, kb.Timeout()) == run_inside(scene)


def test_its_caller_does_not_die_of_a_shutdown_that_it_asked_for() -> None:
    async def scene() -> str:
        await otp.task(for_ever).shutdown()
        await otp.task(for_ever).shutdown("kill")
        return "alive"

    assert "alive" == run_inside(scene)


def test_a_task_that_does_not_heed_it_is_killed_after_its_time() -> None:
    async def stubborn() -> None:
        kb.trap_exits()
        while True:
            await kb.receive()

    async def scene() -> tuple[Any, float, kb.ExitReason | None]:
        task = otp.task(stubborn)
        await task.poll(1.0)
        outcome = await task.shutdown(2.0)
        return outcome, now(), await task.ref.wait_exit()

    outcome, at, reason = run_inside(scene)

    assert outcome is None
    assert pytest.approx(3.0) == at
    assert kb.Killed() == reason


def test_the_reason_of_a_task_that_had_crashed_is_returned() -> None:
    async def scene() -> list[Any]:
        task = otp.task_nolink(fail, "boom")
        await task.ref.wait_exit()
        return [await task.shutdown(), await task.shutdown("kill")]

    assert [otp.Failed(kb.Crashed(ValueError("boom")))] * 2 == run_inside(scene)


def test_a_second_shutdown_finds_it_gone() -> None:
    async def scene() -> list[Any]:
        task = otp.task(for_ever)
        return [await task.shutdown(), await task.shutdown()]

    assert [None, None] == run_inside(scene)
