"""Task supervisors: tasks as children, on whichever node the supervisor is."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from tests.otp.tasks.work import double, fail, forever, inside, pid

import koboshi as kb
from koboshi import otp


async def test_a_task_under_a_supervisor_gives_its_value_and_is_forgotten() -> None:
    async with otp.TaskSupervisor() as tree:
        tasks = otp.tasks(tree.me)

        async def main() -> tuple[int, list[kb.ActorRef[Any]]]:
            running = await tasks.start(forever)
            value = await (await tasks.start(double, 4))
            children = await tasks.children()
            await running.shutdown()
            return value, children

        value, children = await inside(main)

        assert (8, 1) == (value, len(children))
        assert [] == await tasks.children()


async def test_a_crash_under_a_supervisor_ends_a_linked_starter_and_spends_no_budget() -> None:
    async with otp.TaskSupervisor(max_restarts=0) as tree:
        tasks = otp.tasks(tree.me)

        async def main() -> None:
            await (await tasks.start(fail))

        with pytest.raises(kb.ActorExited) as ended:
            await inside(main)

        assert kb.Crashed(ValueError("bad")) == ended.value.reason
        assert 4 == await (await tasks.start_nolink(double, 2))


async def test_a_crash_without_a_link_is_raised_where_it_is_waited_for() -> None:
    async with otp.TaskSupervisor(max_restarts=0) as tree:

        async def main() -> object:
            task = await otp.tasks(tree.me).start_nolink(fail)
            return await task.yield_()

        assert otp.Failed(kb.Crashed(ValueError("bad"))) == await inside(main)


async def test_the_death_of_a_linked_starter_ends_its_tasks() -> None:
    async with otp.TaskSupervisor() as tree:
        tasks, started = otp.tasks(tree.me), asyncio.Event()

        async def main() -> None:
            await tasks.start(forever)
            started.set()
            await asyncio.Event().wait()

        starter = kb.spawn(main)
        await started.wait()
        [child] = await tasks.children()
        starter.kill()

        assert kb.Killed() == await child.wait_exit()


async def test_what_nobody_waits_for_runs_by_itself_and_is_restarted_if_its_options_say_so() -> None:
    runs: list[int] = []
    twice = asyncio.Event()

    async def flaky() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise ValueError("the first time")
        twice.set()

    async with otp.TaskSupervisor() as tree:
        tasks = otp.tasks(tree.me)
        await tasks.options(restart="transient").start_child(flaky)
        await twice.wait()
        once = await tasks.start_child(fail)
        await once.wait_exit()
        await tree.wait_ready()

        assert [0, 1] == runs
        assert [] == await tasks.children()


async def test_there_are_as_many_tasks_as_the_supervisor_allows() -> None:
    async with otp.TaskSupervisor(max_children=1) as tree:
        tasks = otp.tasks(tree.me)
        await tasks.start_child(forever)
        with pytest.raises(kb.TooManyChildren):
            await tasks.start(double, 1)
        with pytest.raises(kb.TooManyChildren):
            await tasks.start_child(double, 1)


async def test_a_stop_of_the_supervisor_is_the_failure_of_its_tasks() -> None:
    async with otp.TaskSupervisor() as tree:
        task = await otp.tasks(tree.me).start_nolink(forever)

    assert otp.Failed(kb.Shutdown()) == await task.yield_()


async def test_a_stream_under_a_supervisor_has_crashes_as_outcomes() -> None:
    async def odd(n: int) -> int:
        if n % 2:
            raise ValueError(n)
        return n

    async with otp.TaskSupervisor(max_restarts=0) as tree:

        async def main() -> list[object]:
            return [each async for each in otp.tasks(tree.me).stream(odd, range(3), max_concurrency=2)]

        assert [otp.Ok(0), otp.Failed(kb.Crashed(ValueError(1)), 1), otp.Ok(2)] == await inside(main)


async def test_bad_options_and_things_that_are_no_functions_are_refused() -> None:
    tasks = otp.tasks("nobody")
    with pytest.raises(kb.UsageError, match="restart is one of"):
        tasks.options(restart="now")  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match="shutdown takes seconds"):
        tasks.options(shutdown=-1)
    with pytest.raises(kb.UsageError, match="runs a function"):
        await tasks.start(3)  # type: ignore[call-overload]
    with pytest.raises(kb.NotRunning):
        await tasks.start(double, 1)


@pytest.mark.slow
async def test_tasks_run_on_the_node_of_their_supervisor_and_end_with_it() -> None:
    supervisor = kb.child(otp.TaskSupervisor).options(id="tasks", name="tasks", on="n1")
    async with kb.Supervisor(kb.node("n1"), supervisor, max_restarts=10) as tree:
        tasks = otp.tasks("tasks")

        async def main() -> tuple[int, kb.ExitReason, object, list[object]]:
            elsewhere = await (await tasks.start(pid))
            values = [each async for each in tasks.stream(double, range(20), max_concurrency=4)]
            failed = await (await tasks.start_nolink(fail)).yield_()
            lost = await tasks.start_nolink(forever)
            node = await tree.ref(kb.WorkerNode, "n1").call(kb.WorkerNode.statistics)
            os.kill(node.pid or 0, 9)
            with pytest.raises(kb.ActorExited) as gone:
                await lost
            return elsewhere, gone.value.reason, failed, values

        elsewhere, reason, failed, values = await inside(main)

        assert elsewhere != os.getpid()
        assert isinstance(reason, kb.NoConnection)
        assert otp.Failed(kb.Crashed(ValueError("bad"))) == failed
        assert [otp.Ok(2 * n) for n in range(20)] == values


@pytest.mark.slow
async def test_a_task_on_another_node_that_crashes_ends_its_linked_starter_and_the_other_way_round() -> None:
    supervisor = kb.child(otp.TaskSupervisor).options(id="tasks", name="tasks", on="n1")
    async with kb.Supervisor(kb.node("n1"), supervisor, max_restarts=10):
        tasks, refs = otp.tasks("tasks"), list[kb.ActorRef[Any]]()

        async def crashed() -> None:
            await (await tasks.start(fail))

        async def dying() -> None:
            refs.append((await tasks.start(forever)).ref)
            raise ValueError("starter")

        with pytest.raises(kb.ActorExited) as ended:
            await inside(crashed)
        with pytest.raises(kb.ActorExited):
            await inside(dying)

        assert kb.Crashed(ValueError("bad")) == ended.value.reason
        assert kb.Crashed(ValueError("starter")) == await refs[0].wait_exit()
