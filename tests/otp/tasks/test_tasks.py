"""Tasks: who is told of their end, who may wait, and what is never lost. Rules 61 to 63 of OTP's tasks."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from tests.otp.tasks.work import double, fail, forever, inside, triple
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


async def test_the_value_of_a_task_is_waited_for() -> None:
    async def main() -> list[int]:
        task = otp.task(double, 4)
        return [await task, await task.wait(), await otp.task(triple, 2)]

    assert [8, 8, 6] == await inside(main)


async def test_plain_asyncio_code_may_have_tasks_too_and_hears_of_a_crash_where_it_waits() -> None:
    assert 8 == await otp.task(double, 4)
    with pytest.raises(kb.ActorExited) as crash:
        await otp.task(fail)
    assert kb.Crashed(ValueError("bad")) == crash.value.reason
    assert isinstance(crash.value.__cause__, ValueError)


async def test_a_crash_of_a_task_ends_a_process_that_does_not_trap_before_its_wait_can_return() -> None:
    reached: list[str] = []

    async def main() -> None:
        try:
            await otp.task(fail)
        except kb.ActorExited:
            reached.append("the wait returned")

    with pytest.raises(kb.ActorExited) as ended:
        await inside(main)

    assert kb.Crashed(ValueError("bad")) == ended.value.reason
    assert [] == reached


async def test_a_process_that_traps_exits_has_the_crash_as_a_message_and_at_its_wait() -> None:
    async def main() -> tuple[kb.ExitReason, bool]:
        kb.trap_exits()
        task = otp.task(fail)
        with pytest.raises(kb.ActorExited):
            await task
        message = await kb.receive(kb.Exit)
        return message.reason, message.sender == task.ref

    assert (kb.Crashed(ValueError("bad")), True) == await inside(main)


async def test_a_crash_without_a_link_is_raised_by_the_wait_alone() -> None:
    async def main() -> str:
        task = otp.task_nolink(fail)
        await task.ref.wait_exit()
        with pytest.raises(kb.ActorExited, match="bad"):
            await task
        return "alive"

    assert "alive" == await inside(main)


async def test_the_death_of_its_starter_ends_a_task() -> None:
    refs: list[kb.ActorRef[Any]] = []

    async def main() -> None:
        refs.append(otp.task(forever).ref)
        refs.append(otp.task_nolink(double, 1).ref)
        raise ValueError("starter")

    with pytest.raises(kb.ActorExited):
        await inside(main)

    assert kb.Crashed(ValueError("starter")) == await refs[0].wait_exit()
    assert kb.Normal() == await refs[1].wait_exit()


async def test_only_the_process_that_started_a_task_may_wait_for_it() -> None:
    async def thief(task: otp.Task[int]) -> str:
        for use in (task.wait, task.yield_, task.shutdown):
            with pytest.raises(kb.UsageError, match="only the process that started a task"):
                await use()
        with pytest.raises(kb.UsageError, match="only the process that started a task"):
            await otp.wait_many([task])
        return "refused"

    async def main() -> tuple[str, int]:
        task = otp.task(double, 1)
        return await otp.task(thief, task), await task

    assert ("refused", 2) == await inside(main)


async def test_asyncio_tasks_of_the_starter_may_wait_in_its_name() -> None:
    async def main() -> list[int]:
        return list(await asyncio.gather(*(otp.task(double, n).wait() for n in range(3))))

    assert [0, 2, 4] == await inside(main)


def test_a_wait_that_is_over_raises_in_its_caller_and_ends_the_task() -> None:
    async def main() -> tuple[float, kb.ExitReason | None]:
        task = otp.task(forever)
        began = asyncio.get_running_loop().time()
        with pytest.raises(kb.CallTimeout) as late:
            await task.wait(timeout=0.5)
        assert isinstance(late.value, TimeoutError)
        return asyncio.get_running_loop().time() - began, await task.ref.wait_exit()

    seconds, reason = run_virtual(lambda: inside(main))

    assert 0.5 == seconds
    assert kb.Shutdown() == reason


def test_a_wait_takes_five_seconds_unless_it_says_otherwise() -> None:
    async def main() -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(kb.CallTimeout):
            await otp.task(forever)
        return asyncio.get_running_loop().time() - began

    assert 5.0 == run_virtual(lambda: inside(main))


def test_a_value_that_arrives_at_the_deadline_is_still_taken() -> None:
    async def late() -> str:
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().now += 5  # type: ignore[attr-defined]  # as if the loop had been held up
        return "just in time"

    async def main() -> str:
        return await otp.task(late).wait(timeout=1.0)

    assert "just in time" == run_virtual(lambda: inside(main))


async def test_a_task_that_ends_normally_without_a_value_makes_the_wait_say_so() -> None:
    async def leave() -> None:
        raise kb.Stop

    async def main() -> kb.ExitReason:
        with pytest.raises(kb.ActorExited) as ended:
            await otp.task(leave)
        return ended.value.reason

    assert kb.Normal() == await inside(main)


async def test_a_task_that_is_killed_before_it_began_is_known_to_be() -> None:
    async def main() -> kb.ExitReason:
        task = otp.task_nolink(forever)
        task.ref.kill()
        with pytest.raises(kb.ActorExited) as ended:
            await task
        return ended.value.reason

    assert kb.Killed() == await inside(main)


def test_yield_gives_nothing_when_it_is_not_over_and_can_be_repeated() -> None:
    gate = asyncio.Event()

    async def gated() -> str:
        await gate.wait()
        return "open"

    async def main() -> list[object]:
        task = otp.task(gated)
        seen: list[object] = [await task.yield_(0.1), await task.yield_(0.1), await task.yield_(0)]
        gate.set()
        return [*seen, await task.yield_(0.1), await task.yield_(0)]

    assert [None, None, None, otp.Ok("open"), otp.Ok("open")] == run_virtual(lambda: inside(main))


async def test_yield_tells_of_a_failure_as_a_value() -> None:
    async def main() -> otp.Outcome[int] | None:
        return await otp.task_nolink(fail).yield_()

    outcome = await inside(main)

    assert otp.Failed(kb.Crashed(ValueError("bad"))) == outcome
    assert isinstance(outcome.error, ValueError)  # type: ignore[union-attr]


async def test_shutdown_keeps_a_value_that_has_arrived() -> None:
    async def main() -> object:
        task = otp.task(double, 21)
        await task.ref.wait_exit()
        return await task.shutdown()

    assert otp.Ok(42) == await inside(main)


async def test_shutdown_keeps_a_value_that_arrives_while_it_waits() -> None:
    async def stubborn() -> str:
        kb.trap_exits()
        await kb.receive(kb.Exit)
        return "finished what it had in hand"

    async def main() -> object:
        task = otp.task(stubborn)
        await task.yield_(0)
        return await task.shutdown()

    assert otp.Ok("finished what it had in hand") == await inside(main)


async def test_shutdown_of_what_runs_ends_it_without_hurting_its_starter() -> None:
    async def main() -> tuple[object, kb.ExitReason | None]:
        task = otp.task(forever)
        return await task.shutdown(), await task.ref.wait_exit()

    assert (None, kb.Shutdown()) == await inside(main)


def test_shutdown_kills_what_does_not_stop_in_time() -> None:
    async def deaf() -> None:
        kb.trap_exits()
        await asyncio.Event().wait()

    async def main() -> tuple[object, kb.ExitReason | None]:
        task = otp.task(deaf)
        await task.yield_(0.1)
        return await task.shutdown(timeout=2.0), await task.ref.wait_exit()

    assert (None, kb.Killed()) == run_virtual(lambda: inside(main))


async def test_shutdown_tells_of_a_failure_of_its_own() -> None:
    async def main() -> object:
        task = otp.task_nolink(fail)
        await task.ref.wait_exit()
        return await task.shutdown()

    assert otp.Failed(kb.Crashed(ValueError("bad"))) == await inside(main)


def test_wait_many_gives_values_in_the_order_of_the_tasks() -> None:
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> list[float]:
        return await otp.wait_many([otp.task(after, seconds) for seconds in (0.3, 0.1, 0.2)])

    assert [0.3, 0.1, 0.2] == run_virtual(lambda: inside(main))
    assert [] == run_virtual(lambda: otp.wait_many([]))


def test_wait_many_fails_on_the_first_failure_and_ends_the_others() -> None:
    async def later() -> None:
        await asyncio.sleep(1.0)
        raise ValueError("later")

    async def main() -> tuple[float, kb.ExitReason, kb.ExitReason | None]:
        tasks: list[otp.Task[Any]] = [otp.task_nolink(forever), otp.task_nolink(later)]
        with pytest.raises(kb.ActorExited) as failed:
            await otp.wait_many(tasks, timeout=60)
        now = asyncio.get_running_loop().time() - 1000.0
        return now, failed.value.reason, await tasks[0].ref.wait_exit()

    assert (1.0, kb.Crashed(ValueError("later")), kb.Shutdown()) == run_virtual(lambda: inside(main))


def test_wait_many_has_one_deadline_for_all() -> None:
    async def main() -> tuple[float, list[kb.ExitReason | None]]:
        tasks = [otp.task_nolink(forever) for _ in range(3)]
        with pytest.raises(kb.CallTimeout):
            await otp.wait_many(tasks, timeout=2.0)
        now = asyncio.get_running_loop().time() - 1000.0
        return now, [await task.ref.wait_exit() for task in tasks]

    assert (2.0, [kb.Shutdown()] * 3) == run_virtual(lambda: inside(main))


def test_yield_many_gives_what_is_over_and_leaves_the_rest_alone() -> None:
    async def main() -> tuple[list[object], bool]:
        slow = otp.task_nolink(forever)
        pairs: list[Any] = await otp.yield_many(
            [otp.task_nolink(double, 1), slow, otp.task_nolink(fail)], timeout=1
        )
        return [outcome for _, outcome in pairs], slow.ref.alive

    assert ([otp.Ok(2), None, otp.Failed(kb.Crashed(ValueError("bad")))], True) == run_virtual(
        lambda: inside(main)
    )


async def test_a_task_may_not_be_waited_for_twice_at_once_by_mistake_nor_be_sent() -> None:
    async def main() -> None:
        task = otp.task(double, 1)
        with pytest.raises(kb.UsageError, match="there twice"):
            await otp.wait_many([task, task])
        with pytest.raises(kb.UsageError, match="alone"):
            pickle.dumps(task)
        with pytest.raises(kb.UsageError, match="expected tasks"):
            await otp.wait_many([1])  # type: ignore[list-item]
        with pytest.raises(kb.UsageError, match="runs a function"):
            otp.task(double(1))  # type: ignore[call-overload]
        await task

    with pytest.warns(RuntimeWarning, match="never awaited"):
        await inside(main)


async def test_a_task_is_a_process_that_may_receive_and_is_named_after_its_function() -> None:
    async def listener() -> object:
        return await kb.receive()

    async def main() -> tuple[object, bool]:
        task = otp.task(listener)
        task.ref.tell("mail")
        return await task, "listener" in repr(task)

    assert ("mail", True) == await inside(main)


async def test_a_task_says_how_it_stands() -> None:
    task = otp.task(double, 1)
    assert repr(task).endswith(" running>")
    await task
    assert repr(task).endswith(" done>")
    assert task.done
