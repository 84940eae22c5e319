"""Children elsewhere: how they start, how they end, and what their supervisor makes of it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from typing import Any

import pytest
from tests.waiting import ask
from tests.workers.nodes import agents
from tests.workers.nodes.agents import Agent, BadStart, CannotArrive
from tests.workers.nodes.conftest import World

import koboshi as kb
from koboshi.workers.nodes._placement import Beside

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


def ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(0))
    finally:
        os.close(descriptor)


async def restarted(ref: kb.ActorRef[Agent], old: int) -> int:
    """The pid of the successor's process."""

    async def another() -> int | None:
        try:
            pid = await ref.call(Agent.pid)
        except kb.CallError:
            return None
        return pid if pid != old else None

    return await ask(another, f"a process after {old}", bound=20)


@pytest.mark.parametrize("on", ["process", "n1", "thread"])
async def test_nothing_but_on_changes_for_a_child_elsewhere(world: World, on: str) -> None:
    await world.tree.start_child(kb.child(Agent, "x").options(id="x", on=on, restart="transient"))
    ref = world.tree.ref(Agent, "x")
    assert [1, 2] == await ref.call(Agent.echo, [1, 2])
    with pytest.raises(kb.ActorExited) as crash:
        await ref.call(Agent.fail, "x")
    assert kb.Crashed(ValueError("x")) == crash.value.reason
    await world.tree.wait_ready()
    assert 3 == await ref.call(Agent.echo, 3)
    assert "ended" == await ref.call(Agent.end)
    await ref.wait_exit(5)
    info = next(each for each in await world.tree.which_children() if each.id == "x")

    assert ("stopped", 1, kb.Normal()) == (info.status, info.restarts, info.last_exit)


async def test_a_child_with_a_process_of_its_own_ends_with_it(world: World) -> None:
    await world.tree.start_child(kb.child(Agent, "own").options(id="own", on="process"))
    ref = world.tree.ref(Agent, "own")
    pid = await ref.call(Agent.pid)
    os.kill(pid, signal.SIGKILL)
    successor = await restarted(ref, pid)
    info = next(each for each in await world.tree.which_children() if each.id == "own")

    assert ended(pid)
    assert isinstance(info.last_exit, kb.NoConnection)
    assert isinstance(info.last_exit.cause, kb.WorkerExit)
    assert "SIGKILL" == info.last_exit.cause.name
    await world.tree.terminate_child("own")
    assert ended(successor)


@pytest.mark.parametrize("how", ["crash", "end", "kill", "terminate"])
async def test_a_process_is_gone_when_the_end_of_its_actor_is_heard_of(world: World, how: str) -> None:
    ref = await world.agent("own", "process")
    pid = await ref.call(Agent.pid)
    await world.home.call(Agent.watch, ref)
    if how == "crash":
        ref.cast(Agent.fail, "x")
    elif how == "end":
        ref.cast(Agent.end)
    elif how == "kill":
        ref.kill()
    else:
        await world.tree.terminate_child("own")
    reason = await ref.wait_exit(10)

    assert ended(pid)
    expected: Any = {
        "crash": kb.Crashed,
        "end": kb.Normal,
        "kill": kb.Killed,
        "terminate": (kb.Shutdown, kb.NoProc),
    }
    assert reason is not None
    assert isinstance(reason, expected[how])


async def test_a_kill_ends_a_process_that_does_not_answer(world: World) -> None:
    for number, block in enumerate((Agent.spin_in_c, Agent.stop_process)):
        ref = await world.agent(f"stuck{number}", "process")
        pid = await ref.call(Agent.pid)
        ref.cast(block)
        if number == 0:
            ref.kill()
        else:
            await world.home.call(Agent.send_exit, ref, kb.Kill())

        assert isinstance(await ref.wait_exit(5), kb.Killed)
        assert ended(pid)


async def test_a_kill_from_another_worker_ends_a_process_that_does_not_answer(world: World) -> None:
    ref = await world.agent("stuck", "process")
    ref.cast(Agent.spin_in_c)
    await world.two.call(Agent.send_exit, ref, kb.Kill())

    assert isinstance(await ref.wait_exit(5), kb.Killed)


async def test_a_stop_is_not_refused_where_messages_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when more bytes wait for the node's socket than it may."""
    monkeypatch.setattr("koboshi.workers.nodes._mesh.CONGESTED", -1)
    with pytest.raises(kb.MailboxFull):
        world.one.cast(Agent.note, 1)

    await world.one.stop()
    assert isinstance(await world.one.wait_exit(10), kb.Normal | kb.Shutdown | kb.NoProc)


async def test_a_stop_that_is_not_heeded_ends_with_a_kill(world: World) -> None:
    ref = await world.agent("stuck", "process", shutdown=0.1)
    pid = await ref.call(Agent.pid)
    ref.cast(Agent.spin_in_c)
    await world.tree.terminate_child("stuck")

    assert ended(pid)


@pytest.mark.parametrize("on", ["process", "n1", "thread"])
@pytest.mark.parametrize(
    ("how", "expected"),
    [("init", kb.Crashed(ValueError("init"))), ("on_start", kb.Crashed(ValueError("on_start"))),
     ("stop", kb.Shutdown("not today"))],
)  # fmt: skip
async def test_a_start_that_fails_elsewhere_is_a_start_error_here(
    world: World, on: str, how: str, expected: kb.ExitReason
) -> None:
    with pytest.raises(kb.StartError) as failed:
        await world.tree.start_child(kb.child(BadStart, how).options(id="bad", on=on))

    assert expected == failed.value.reason
    assert "bad" not in {each.id for each in await world.tree.which_children()}


@pytest.mark.parametrize("on", ["process", "n1"])
async def test_on_start_may_say_elsewhere_that_there_is_nothing_to_start(world: World, on: str) -> None:
    with pytest.raises(kb.Ignored):
        await world.tree.start_child(kb.child(BadStart, "ignore").options(id="none", on=on))


async def test_a_start_that_takes_too_long_elsewhere_is_ended(world: World) -> None:
    for on in ("process", "n1", "thread"):
        spec = kb.child(BadStart, "hang").options(id="slow", on=on, start_timeout=0.2)
        with pytest.raises(kb.StartTimeout):
            await world.tree.start_child(spec)
    assert 1 == await world.one.call(Agent.echo, 1)


async def test_a_process_that_ends_during_the_start_is_a_start_error_that_names_how(world: World) -> None:
    with pytest.raises(kb.StartError, match="exit 3"):
        await world.tree.start_child(kb.child(BadStart, "exit").options(id="bad", on="process"))


async def test_a_start_on_a_node_that_is_lost_fails_at_once(world: World) -> None:
    victim = await world.agent("victim", "process")
    victim.kill()
    await victim.wait_exit(10)
    async with asyncio.timeout(5):
        with pytest.raises(kb.StartError, match="NoConnection"):
            await world.agent("late", Beside(victim))


async def test_arguments_that_cannot_be_sent_are_a_start_error(world: World) -> None:
    with pytest.raises(kb.StartError) as failed:
        await world.tree.start_child(kb.child(Agent, lambda: None).options(id="bad", on="process"))  # type: ignore[call-overload]
    assert isinstance(failed.value.__cause__, kb.NotPicklable)
    with pytest.raises(kb.StartError, match="exploded"):
        await world.tree.start_child(kb.child(Agent, CannotArrive()).options(id="bad", on="n1"))  # type: ignore[call-overload]


async def test_a_name_taken_is_a_start_failure_elsewhere_too(world: World) -> None:
    kb.register("taken", world.home)
    await world.one.call(Agent.echo, 0)
    with pytest.raises(kb.NameTaken):
        await world.tree.start_child(kb.child(Agent).options(id="second", name="taken", on="n1"))
    kb.unregister("taken")


async def test_a_supervisor_may_run_on_a_node_with_its_children(world: World) -> None:
    spec = kb.child(kb.Supervisor, kb.child(Agent, "inner").options(id="inner")).options(id="sub", on="n1")
    sub = await world.tree.start_child(spec)
    inner = await sub.call(kb.Supervisor.child, "inner")
    pid = await inner.call(Agent.pid)
    with pytest.raises(kb.ActorExited):
        await inner.call(Agent.fail, "x")
    await sub.call(kb.Supervisor.wait_ready)

    assert await world.one.call(Agent.pid) == pid
    assert pid == await inner.call(Agent.pid)
    [info] = await sub.call(kb.Supervisor.which_children)
    assert (1, "running") == (info.restarts, info.status)
    await world.tree.terminate_child("sub")
    with pytest.raises(kb.NotRunning):
        await inner.call(Agent.pid)


async def test_a_supervisor_on_a_node_that_gives_up_is_abnormal_to_its_parent(world: World) -> None:
    spec = kb.child(kb.Supervisor, kb.child(Agent).options(id="inner"), max_restarts=0)
    sub = await world.tree.start_child(spec.options(id="sub", on="n1", restart="transient"))
    inner = await sub.call(kb.Supervisor.child, "inner")
    inner.cast(Agent.fail, "last straw")
    reason = await sub.wait_exit(5)

    assert kb.Shutdown(kb.GaveUp("inner", kb.Crashed(ValueError("last straw")))) == reason


async def test_a_class_that_only_the_root_has_keeps_no_node_from_its_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is defined under `if __name__ == "__main__"`."""

    class OnlyHere(kb.DynamicSupervisor):
        pass

    OnlyHere.__qualname__ = "OnlyHere"
    OnlyHere.__module__ = agents.__name__
    monkeypatch.setattr(agents, "OnlyHere", OnlyHere, raising=False)
    async with asyncio.timeout(10):
        rooms = await world.tree.start_child(kb.child(OnlyHere).options(id="rooms", name="rooms"))
        await world.tree.start_child(kb.node("late"))
        refs = [
            await rooms.call(OnlyHere.start_child, kb.child(Agent).options(on=on, restart="temporary"))
            for on in ("late", "n1", "process")
        ]

        assert [1, 1, 1] == [await ref.call(Agent.echo, 1) for ref in refs]
        assert await refs[0].call(Agent.knows, "rooms")


async def test_a_node_that_is_restarted_gets_its_children_back(world: World) -> None:
    await world.tree.start_child(kb.child(Agent, "x").options(id="x", on="n1"))
    ref = world.tree.ref(Agent, "x")
    pid = await ref.call(Agent.pid)
    for _ in range(5):
        os.kill(pid, signal.SIGKILL)
        pid = await restarted(ref, pid)
    node = world.tree.ref(kb.WorkerNode, "n1")

    assert pid == (await node.call(kb.WorkerNode.statistics)).pid


async def test_a_child_for_a_node_that_never_comes_fails_to_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("koboshi.workers.nodes._placement.WAIT_FOR_NODE", 0.1)
    with pytest.raises(kb.StartError, match="no node of this name"):
        await world.tree.start_child(kb.child(Agent).options(id="x", on="nowhere"))


async def test_children_spread_over_the_nodes_that_have_the_fewest(world: World) -> None:
    refs = [await world.agent(f"s{number}", kb.spread()) for number in range(6)]
    only = [await world.agent(f"o{number}", kb.spread("n2")) for number in range(2)]
    pids = [await ref.call(Agent.pid) for ref in refs]
    one, two = await world.one.call(Agent.pid), await world.two.call(Agent.pid)

    assert [3, 3] == [pids.count(one), pids.count(two)]
    assert [two, two] == [await ref.call(Agent.pid) for ref in only]


async def test_a_dynamic_supervisor_places_many_children_at_once(world: World) -> None:
    rooms = await world.tree.start_child(kb.child(kb.DynamicSupervisor).options(id="rooms"))
    spec = kb.child(Agent).options(on=kb.spread(), restart="temporary")
    refs = await asyncio.gather(
        *(rooms.within(None).call(kb.DynamicSupervisor.start_child, spec) for _ in range(200))
    )

    assert list(range(200)) == await asyncio.gather(
        *(ref.within(None).call(Agent.echo, number) for number, ref in enumerate(refs))
    )
    await world.tree.terminate_child("rooms")


async def test_a_thread_holds_up_nobody_while_it_blocks(world: World) -> None:
    ref = await world.agent("blocking", "thread")
    blocked = asyncio.create_task(ref.within(None).call(Agent.spin, 0.3))
    await asyncio.sleep(0)

    assert 1 == await world.home.call(Agent.echo, 1)
    assert os.getpid() == await ref.within(None).call(Agent.pid)
    assert "koboshi-supervisor/blocking" in {thread.name for thread in threading.enumerate()}
    await blocked


async def test_a_thread_that_does_not_end_counts_as_gone_and_is_reported(world: World) -> None:
    ref = await world.agent("blocking", "thread")
    gate = threading.Event()
    GATES["gate"] = gate
    ref.tell("before")
    waiter = await world.tree.start_child(
        kb.child(Blocker, "gate").options(id="blocker", on="thread", restart="temporary")
    )
    waiter.cast(Blocker.block)
    await ref.call(Agent.echo, 0)
    waiter.kill()

    assert isinstance(await waiter.wait_exit(5), kb.Killed)
    assert any(isinstance(each, kb.events.Stubborn) for each in world.events)
    gate.set()


GATES: dict[str, threading.Event] = {}


class Blocker(kb.Actor):
    def __init__(self, gate: str) -> None:
        self.gate = gate

    @kb.message
    def block(self) -> None:
        GATES[self.gate].wait(20)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: kb.child(Agent).options(on=3), "on takes"),  # type: ignore[arg-type]
        (lambda: kb.child(Agent).options(on=""), "on takes"),
        (lambda: kb.child(Agent).options(on="root"), "name of a node"),
        (lambda: kb.node(""), "name of a node"),
        (lambda: kb.node("process"), "name of a node"),
        (lambda: kb.node("n", grace=-1), "grace takes seconds > 0"),
        (lambda: kb.node("n", unresponsive_after=0), "unresponsive_after takes seconds > 0 or None"),
        (lambda: kb.own_process(report_after="x"), "report_after takes seconds > 0"),  # type: ignore[arg-type]
        (lambda: kb.spread("a", ""), "name of a node"),
    ],
)
def test_bad_options_are_refused_where_they_are_written(make: Any, said: str) -> None:
    with pytest.raises(kb.UsageError, match=said):
        make()


async def test_spread_without_nodes_says_what_is_missing() -> None:
    async with kb.Supervisor() as tree:
        with pytest.raises(kb.StartError, match=r"kb\.node"):
            await tree.start_child(kb.child(Agent).options(on=kb.spread()))


async def test_a_tree_with_a_node_that_does_not_answer_can_be_stopped() -> None:
    events: list[kb.events.Event] = []
    stop = kb.listen(events.append)
    async with kb.Supervisor(
        kb.node("stuck", grace=0.2), kb.child(Agent).options(id="a", on="stuck", shutdown=0.1)
    ) as tree:
        pid = await tree.ref(Agent, "a").call(Agent.pid)
        os.kill(pid, signal.SIGSTOP)
    stop()

    assert ended(pid)
    assert any(isinstance(each, kb.events.Stubborn) for each in events)


async def test_two_nodes_cannot_have_one_name() -> None:
    async with kb.Supervisor(kb.node("n")) as tree:
        with pytest.raises(kb.StartError, match="there is a node 'n' already"):
            await tree.start_child(kb.node("n").options(id="other"))


async def test_a_node_whose_actor_is_killed_is_restarted_once_its_process_is_gone() -> None:
    async with kb.Supervisor(kb.node("n1"), max_restarts=1) as tree:
        node = tree.ref(kb.WorkerNode, "n1")
        before = (await node.call(kb.WorkerNode.statistics)).pid
        node.kill()
        await node.wait_exit()
        await tree.wait_ready()

        assert before is not None
        assert ended(before)
        assert before != (await node.call(kb.WorkerNode.statistics)).pid
        assert [1] == [child.restarts for child in await tree.which_children()]
