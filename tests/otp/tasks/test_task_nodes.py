"""Tasks on worker nodes: their values, their ends, and what a lost node leaves behind."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.otp.tasks.scenes import Owner, die_hard, double, fail, for_ever, inside, pid_of

import koboshi as kb
from koboshi import otp

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


class Unbuilt:
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> Unbuilt:
    raise OSError("cannot be rebuilt")


def make_lambda() -> Any:
    return lambda: 1


async def all_gone(tasks: otp.Tasks) -> None:
    """Nothing runs under the supervisor, or it is about to end."""
    for ref in await tasks.children():
        assert await ref.wait_exit(10) is not None

    assert [] == await tasks.children()


@dataclass
class World:
    """A supervisor of tasks in the root, and its tasks on the node n1."""

    tree: kb.Supervisor
    supervisor: kb.ActorRef[otp.TaskSupervisor]
    tasks: otp.Tasks


@pytest.fixture
async def world() -> AsyncIterator[World]:
    spec = kb.child(otp.TaskSupervisor).options(id="tasks", name="tasks")
    async with kb.Supervisor(kb.node("n1"), spec, max_restarts=1000) as tree:
        supervisor = tree.ref(otp.TaskSupervisor, "tasks")
        yield World(tree, supervisor, otp.tasks(supervisor).options(on="n1"))


async def test_a_task_runs_on_the_node_and_gives_its_value(world: World) -> None:
    async def scene() -> tuple[int, int]:
        return await (await world.tasks.task(pid_of)), await (await world.tasks.task_nolink(double, 21))

    pid, value = await inside(scene)

    assert os.getpid() != pid
    assert 42 == value


async def test_rule_61_a_crash_on_the_node_ends_a_linked_caller_with_its_error(world: World) -> None:
    async def caller() -> None:
        await world.tasks.task(fail, "boom")
        await kb.receive()

    reason = await kb.spawn(caller).wait_exit(10)

    assert kb.Crashed(ValueError("boom")) == reason


async def test_rule_61_a_crash_on_the_node_is_raised_by_awaiting_a_task_without_a_link(world: World) -> None:
    task = await world.tasks.task_nolink(fail, "boom")

    assert otp.Failed(kb.Crashed(ValueError("boom"))) == await task.poll(10)


async def test_rule_61_the_death_of_the_caller_kills_its_task_on_the_node(world: World) -> None:
    refs: list[kb.ActorRef[Any]] = []

    async def caller() -> None:
        refs.append((await world.tasks.task(for_ever)).ref)
        raise kb.Stop(kb.Exited("gone"))

    await kb.spawn(caller).wait_exit(10)

    assert kb.Exited("gone") == await refs[0].wait_exit(10)


async def test_a_lost_node_fails_its_tasks_at_once_and_is_forgotten(world: World) -> None:
    waiting, killer = await world.tasks.task_nolink(for_ever), await world.tasks.task_nolink(die_hard)
    outcomes = await otp.poll_many([waiting, killer], 10)
    reasons = [outcome.reason if isinstance(outcome, otp.Failed) else outcome for outcome in outcomes]

    assert [True, True] == [isinstance(reason, kb.NoConnection) for reason in reasons]
    assert 42 == await (await world.tasks.task_nolink(double, 21)).wait(10)
    statistics = await world.tasks.statistics()
    assert (3, 2) == (statistics.started, statistics.failed)


async def test_a_linked_caller_dies_with_the_node_of_its_task(world: World) -> None:
    async def caller() -> None:
        await world.tasks.task(die_hard)
        await kb.receive()

    assert isinstance(await kb.spawn(caller).wait_exit(10), kb.NoConnection)


async def test_a_task_on_a_node_is_shut_down_from_here(world: World) -> None:
    task = await world.tasks.task_nolink(for_ever)

    assert await task.shutdown() is None
    assert not task.ref.alive
    assert await (await world.tasks.task_nolink(for_ever)).shutdown("kill") is None


async def test_a_function_that_cannot_be_sent_is_refused_here_and_leaves_no_task(world: World) -> None:
    with pytest.raises(kb.NotPicklable, match="lambda"):
        await world.tasks.task_nolink(make_lambda())
    with pytest.raises(kb.NotPicklable, match="argument 0"):
        await world.tasks.task_nolink(double, make_lambda())
    with pytest.raises(kb.NotPicklable, match="n of double"):
        await world.tasks.task_nolink(double, n=make_lambda())

    async def scene() -> str:
        with pytest.raises(kb.NotPicklable):
            await world.tasks.task(make_lambda())
        return "alive"

    assert "alive" == await inside(scene)
    await all_gone(world.tasks)


async def test_an_argument_that_cannot_be_rebuilt_there_is_the_error_of_the_task(world: World) -> None:
    task = await world.tasks.task_nolink(double, Unbuilt())  # type: ignore[call-overload]
    outcome = await task.poll(10)

    assert otp.Failed(kb.Crashed(OSError("cannot be rebuilt"))) == outcome


async def test_a_value_that_cannot_be_sent_back_is_an_error_of_its_wait(world: World) -> None:
    task = await world.tasks.task_nolink(make_lambda)
    with pytest.raises(kb.ActorExited) as caught:
        await task.wait(10)

    assert isinstance(caught.value.__cause__, kb.ResultNotPicklable)


async def test_an_actor_on_the_node_starts_tasks_under_the_supervisor_in_the_root(world: World) -> None:
    spec = kb.child(Owner).options(id="owner", on="n1", restart="temporary")
    owner: kb.ActorRef[Owner] = await world.tree.start_child(spec)
    here = otp.tasks("tasks")

    assert 6 == await owner.call(Owner.value_of, world.tasks, 3)
    assert 8 == await owner.call(Owner.value_of, here, 4)
    assert [2, 4] == await owner.call(Owner.doubled, [1, 2])


async def test_a_fire_and_forget_task_runs_on_the_node_and_is_restarted_there(world: World) -> None:
    ref = await world.tasks.options(restart="permanent").start_child(for_ever)
    ref.kill()
    await ref.wait_exit(10)
    await world.supervisor.call(otp.TaskSupervisor.wait_ready)
    [again] = await world.tasks.children()

    assert again != ref
    assert again.alive
    await world.tasks.terminate_child(again)
    assert [] == await world.tasks.children()


async def test_a_stream_runs_on_the_node_in_order(world: World) -> None:
    async def scene() -> list[Any]:
        return [each async for each in world.tasks.stream(range(20), double, max_concurrency=4)]

    assert [otp.Ok(2 * n) for n in range(20)] == await inside(scene)
    pids = {each.unwrap() async for each in world.tasks.stream(range(4), pid_of, link=False)}
    assert 1 == len(pids - {os.getpid()})


async def test_a_lost_node_is_an_outcome_of_the_items_that_were_on_it(world: World) -> None:
    stream = world.tasks.stream([double, die_hard, double], apply_one, max_concurrency=1, link=False)
    outcomes = [each async for each in stream]

    assert [True, False, True] == [each.ok for each in outcomes]
    lost = outcomes[1]
    assert isinstance(lost, otp.Failed)
    assert isinstance(lost.reason, kb.NoConnection)
    assert lost.item is die_hard


def apply_one(fn: Any) -> Any:
    return 2 if fn is double else fn()


async def test_an_item_on_the_node_that_takes_too_long_is_killed_there(world: World) -> None:
    stream = world.tasks.stream([1], for_ever, timeout=0.1, on_timeout="kill", link=False)
    outcomes = [each async for each in stream]

    assert [otp.Failed(kb.Killed("it took longer than 0.1 s"), 1)] == outcomes
    await all_gone(world.tasks)


def test_a_handle_of_a_name_is_refused_outside_of_its_program() -> None:
    async def make() -> otp.Tasks:
        return otp.tasks("tasks")

    with pytest.raises(kb.UsageError, match="not joined to any"):
        pickle.dumps(asyncio.run(make()))
