"""Tasks under a supervisor: linked, not linked, and those whose value nobody waits for."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from tests.otp.tasks.scenes import Owner, after, double, fail, for_ever, inside, plain_double
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp

T = TypeVar("T")


def supervised(scene: Callable[[otp.Tasks], Coroutine[Any, Any, T]], **options: Any) -> T:
    """Run `scene(tasks)` in a process, beside a supervisor of tasks, in virtual time."""

    async def main() -> T:
        spec = kb.child(otp.TaskSupervisor, **options).options(id="tasks", name="tasks")
        async with kb.Supervisor(spec) as tree:
            tasks = otp.tasks(tree.ref(otp.TaskSupervisor, "tasks"))
            return await inside(lambda: scene(tasks))

    return run_virtual(main)


def test_a_supervised_task_gives_its_value() -> None:
    async def scene(tasks: otp.Tasks) -> list[int]:
        linked, free = await tasks.task(double, 4), await tasks.task_nolink(plain_double, n=5)
        return [await linked, await free]

    assert [8, 10] == supervised(scene)


def test_rule_61_the_crash_of_a_linked_one_ends_its_caller_and_not_its_supervisor() -> None:
    async def scene(tasks: otp.Tasks) -> tuple[kb.ExitReason | None, int]:
        async def caller() -> None:
            await tasks.task(fail, "boom")
            await kb.receive()

        reason = await kb.spawn(caller).wait_exit()
        return reason, await (await tasks.task(double, 1))

    reason, value = supervised(scene)

    assert kb.Crashed(ValueError("boom")) == reason
    assert 2 == value


def test_rule_61_the_crash_of_one_without_a_link_is_seen_by_whoever_waits_alone() -> None:
    async def scene(tasks: otp.Tasks) -> tuple[Any, Any]:
        task = await tasks.task_nolink(fail, "boom")
        return await task.poll(), await kb.receive(timeout=1.0)

    assert (otp.Failed(kb.Crashed(ValueError("boom"))), kb.Timeout()) == supervised(scene)


def test_rule_61_the_death_of_the_caller_kills_a_linked_task_and_leaves_another_alone() -> None:
    async def scene(tasks: otp.Tasks) -> tuple[kb.ExitReason | None, bool]:
        refs: list[kb.ActorRef[kb.Process]] = []

        async def caller() -> None:
            refs.append((await tasks.task(for_ever)).ref)
            refs.append((await tasks.task_nolink(for_ever)).ref)
            raise kb.Stop(kb.Exited("gone"))

        await kb.spawn(caller).wait_exit()
        return await refs[0].wait_exit(), refs[1].alive

    assert (kb.Exited("gone"), True) == supervised(scene)


def test_only_the_process_that_started_a_supervised_task_may_wait_for_it() -> None:
    async def scene(tasks: otp.Tasks) -> int:
        task = await tasks.task(double, 2)

        async def thief() -> None:
            with pytest.raises(otp.NotTaskOwner):
                await task

        assert kb.Normal() == await kb.spawn(thief).wait_exit()
        return await task

    assert 4 == supervised(scene)


def test_the_end_of_the_supervisor_ends_its_tasks() -> None:
    async def main() -> Any:
        async with otp.TaskSupervisor() as supervisor:
            task = await otp.tasks(supervisor).task_nolink(for_ever)
        return await task.poll()

    assert otp.Failed(kb.Shutdown()) == run_virtual(main)


def test_one_task_more_than_max_children_is_refused_and_room_comes_with_an_end() -> None:
    async def scene(tasks: otp.Tasks) -> int:
        first = await tasks.task(after, 1.0, 1)
        await tasks.start_child(for_ever)
        for start in (tasks.task, tasks.task_nolink, tasks.start_child):
            with pytest.raises(kb.TooManyChildren):
                await start(double, 1)
        assert 1 == await first
        await first.ref.wait_exit()
        return await (await tasks.task(double, 3))

    assert 6 == supervised(scene, max_children=2)


def test_a_task_that_nobody_waits_for_is_temporary_unless_told_otherwise() -> None:
    async def scene(tasks: otp.Tasks) -> tuple[int, otp.TaskSupervisorStatistics]:
        ref = await tasks.start_child(fail, "boom")
        await ref.wait_exit()
        supervisor = kb.named(otp.TaskSupervisor, "tasks")
        return len(await tasks.children()), await supervisor.call(otp.TaskSupervisor.statistics)

    children, statistics = supervised(scene, max_children=7)

    assert 0 == children
    assert otp.TaskSupervisorStatistics(0, 1, 0, 1, 7) == statistics


def test_a_transient_one_is_started_again_with_its_arguments_until_it_ends_cleanly() -> None:
    runs: list[str] = []

    async def third_time(text: str) -> None:
        runs.append(text)
        if len(runs) < 3:
            raise OSError(text)

    async def scene(tasks: otp.Tasks) -> otp.TaskSupervisorStatistics:
        await tasks.options(restart="transient").start_child(third_time, "again")
        supervisor = kb.named(otp.TaskSupervisor, "tasks")
        await kb.receive(timeout=1.0)
        return await supervisor.call(otp.TaskSupervisor.statistics)

    statistics = supervised(scene)

    assert ["again"] * 3 == runs
    assert otp.TaskSupervisorStatistics(0, 3, 1, 2, None) == statistics


def test_a_task_that_somebody_waits_for_is_never_started_twice() -> None:
    async def scene(tasks: otp.Tasks) -> tuple[Any, otp.TaskSupervisorStatistics]:
        task = await tasks.options(restart="permanent").task_nolink(fail, "boom")
        outcome = await task.poll()
        supervisor = kb.named(otp.TaskSupervisor, "tasks")
        return outcome, await supervisor.call(otp.TaskSupervisor.statistics)

    outcome, statistics = supervised(scene)

    assert otp.Failed(kb.Crashed(ValueError("boom"))) == outcome
    assert otp.TaskSupervisorStatistics(0, 1, 0, 1, None) == statistics


def test_children_are_the_refs_of_those_that_run_and_can_be_terminated() -> None:
    async def scene(tasks: otp.Tasks) -> tuple[bool, bool, int]:
        first = await tasks.start_child(for_ever)
        second = (await tasks.task_nolink(for_ever)).ref
        listed = await tasks.children()
        await tasks.terminate_child(first)
        with pytest.raises(kb.ChildNotFound):
            await tasks.terminate_child(first)
        return listed == [second, first], first.alive, len(await tasks.children())

    assert (True, False, 1) == supervised(scene)


def test_the_caller_that_dies_while_its_task_is_started_leaves_none_behind() -> None:
    async def scene(tasks: otp.Tasks) -> tuple[int, int]:
        async def caller() -> None:
            await tasks.task_nolink(for_ever)

        supervisor = kb.named(otp.TaskSupervisor, "tasks")
        supervisor.suspend()
        ref = kb.spawn(caller)
        await kb.receive(timeout=0.1)
        ref.kill()
        await ref.wait_exit()
        supervisor.resume()
        await kb.receive(timeout=0.1)
        started = (await supervisor.call(otp.TaskSupervisor.statistics)).started
        return started, len(await tasks.children())

    # The request is skipped when its caller is gone; had it been met, the task would see the end itself.
    started, left = supervised(scene)

    assert started <= 1
    assert 0 == left


def test_a_task_whose_owner_was_interrupted_just_then_ends_by_itself() -> None:
    async def main() -> tuple[int, int]:
        async with otp.TaskSupervisor() as supervisor:
            body = __import__("koboshi.otp.tasks._body", fromlist=["run_ordered"])
            await supervisor.start_child(kb.child(body.run_ordered, None).options(restart="temporary"))
            before = (await supervisor.count_children()).active
            await asyncio.sleep(61.0)
            return before, (await supervisor.count_children()).active

    assert (1, 0) == run_virtual(main)


def test_a_supervised_task_watches_its_owner_until_it_has_its_order() -> None:
    async def main() -> int:
        async with otp.TaskSupervisor() as supervisor:
            body = __import__("koboshi.otp.tasks._body", fromlist=["run_ordered"])
            owner = await kb.start(Owner)
            spec = kb.child(body.run_ordered, owner).options(restart="temporary")
            task = await supervisor.start_child(spec)
            owner.kill()
            assert kb.Normal() == await task.wait_exit(1.0)
            return (await supervisor.count_children()).active

    assert 0 == run_virtual(main)


def test_a_supervised_task_does_not_hear_of_its_owner_once_it_has_its_order() -> None:
    heard: list[Any] = []

    async def listen() -> None:
        heard.append(await kb.receive(timeout=1.0))

    async def scene(tasks: otp.Tasks) -> kb.ExitReason | None:
        refs: list[kb.ActorRef[kb.Process]] = []

        async def caller() -> None:
            refs.append((await tasks.task_nolink(listen)).ref)

        await kb.spawn(caller).wait_exit()
        return await refs[0].wait_exit()

    assert kb.Normal() == supervised(scene)
    assert [kb.Timeout()] == heard


async def test_plain_asyncio_code_has_supervised_tasks_without_a_link() -> None:
    async with otp.TaskSupervisor() as supervisor:
        tasks = otp.tasks(supervisor)
        assert 8 == await (await tasks.task_nolink(double, 4))
        assert "<Tasks of <ActorRef tasksupervisor idle>>" == repr(tasks)
        with pytest.raises(kb.NotInProcess, match="task_nolink"):
            await tasks.task(double, 4)


async def test_a_handle_is_made_from_a_ref_a_name_or_the_supervisor_itself() -> None:
    spec = kb.child(otp.TaskSupervisor).options(id="tasks", name=("tasks", 1))
    async with kb.Supervisor(spec) as tree:
        for given in (tree.ref(otp.TaskSupervisor, "tasks"), ("tasks", 1), kb.named(("tasks", 1))):
            assert 2 == await (await otp.tasks(given).task_nolink(double, 1))
        for wrong in (3, tree.me, otp.TaskSupervisor):
            with pytest.raises(kb.UsageError, match="takes a task supervisor"):
                otp.tasks(wrong)  # type: ignore[arg-type]
        with pytest.raises(kb.NotRunning):
            await otp.tasks("nobody").task_nolink(double, 1)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("restart", "always", "restart is one of"),
        ("shutdown", -1, "shutdown takes seconds"),
        ("on", 3, "on takes"),
    ],
)
async def test_an_impossible_option_is_refused_by_name(option: str, value: Any, expected: str) -> None:
    with pytest.raises(kb.UsageError, match=expected):
        otp.tasks("tasks").options(**{option: value})
    with pytest.raises(kb.UsageError, match="max_children takes a whole number"):
        otp.TaskSupervisor(max_children=-1)


async def test_a_task_is_known_to_its_supervisor_by_its_function() -> None:
    async with otp.TaskSupervisor() as supervisor:
        tasks = otp.tasks(supervisor)
        await tasks.start_child(for_ever)
        task = await tasks.task_nolink(for_ever)

        assert [("for_ever", 2), "for_ever"] == [each.id for each in await supervisor.which_children()]
        assert "tasksupervisor/" in repr(task)
        assert "<TaskSupervisor tasksupervisor, 2 of 2 children running>" == repr(supervisor)


def test_statistics_survive_pickling() -> None:
    statistics = otp.TaskSupervisorStatistics(1, 2, 3, 4, None)

    assert statistics == pickle.loads(pickle.dumps(statistics))
