"""Links, monitors, exit signals and lost nodes, between processes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from tests.workers.nodes.agents import Agent
from tests.workers.nodes.conftest import World

import koboshi as kb

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


def pairs(world: World) -> list[tuple[kb.ActorRef[Agent], str | None]]:
    """A watcher, and where the watched one is to live: out, in, and across."""
    return [(world.home, "n1"), (world.one, None), (world.one, "n2"), (world.two, "n1")]


async def test_a_monitor_yields_one_down_with_the_reason(world: World) -> None:
    for number, (watcher, where) in enumerate(pairs(world)):
        victim = await world.agent(f"victim{number}", where)
        await watcher.call(Agent.watch, victim)
        heard = len(await watcher.call(Agent.heard_so_far))
        victim.cast(Agent.end, kb.Shutdown("done"))

        assert ("down", kb.Shutdown("done")) == (await watcher.call(Agent.once_heard, heard + 1))[-1]
    for watcher in (world.home, world.one, world.two):
        downs = await watcher.call(Agent.heard_so_far)
        assert 2 >= len(downs)


async def test_a_crash_is_told_with_its_error(world: World) -> None:
    victim = await world.agent("victim", "n2")
    await world.one.call(Agent.watch, victim)
    victim.cast(Agent.fail, "boom")

    [(kind, reason)] = await world.one.call(Agent.once_heard, 1)
    assert ("down", kb.Crashed(ValueError("boom"))) == (kind, reason)


async def test_a_monitor_of_a_dead_actor_yields_noproc_at_once(world: World) -> None:
    victim = await world.agent("victim", "n1")
    await victim.call(Agent.end)
    await victim.wait_exit(5)
    await world.home.call(Agent.watch, victim)
    await world.two.call(Agent.watch, victim)

    assert [("down", kb.NoProc())] == await world.home.call(Agent.once_heard, 1)
    assert [("down", kb.NoProc())] == await world.two.call(Agent.once_heard, 1)


async def test_two_monitors_yield_two_downs(world: World) -> None:
    victim = await world.agent("victim", "n1")
    await world.two.call(Agent.watch, victim)
    await world.two.call(Agent.watch, victim)
    victim.cast(Agent.end)

    assert [("down", kb.Normal())] * 2 == await world.two.call(Agent.once_heard, 2)


async def test_a_cancelled_monitor_yields_nothing(world: World) -> None:
    victim = await world.agent("victim", "n1")
    await world.two.call(Agent.watch, victim)
    assert await world.two.call(Agent.unwatch)
    await victim.call(Agent.end)
    await victim.wait_exit(5)

    assert [] == await world.two.call(Agent.heard_so_far)


async def test_a_link_ends_both_ways(world: World) -> None:
    for number, (first, second) in enumerate((("n1", "n2"), ("n2", "n1"), (None, "n1"), ("n1", None))):
        one = await world.agent(f"a{number}", first)
        two = await world.agent(f"b{number}", second)
        await one.call(Agent.tie, two)
        two.cast(Agent.fail, "felled")

        assert kb.Crashed(ValueError("felled")) == await one.wait_exit(5)

        one = await world.agent(f"c{number}", first)
        two = await world.agent(f"d{number}", second)
        await one.call(Agent.tie, two)
        assert 0 == await one.call(Agent.call, two, 0)  # the tie has arrived there
        one.cast(Agent.end, kb.Exited(3))

        assert kb.Exited(3) == await two.wait_exit(5)


async def test_a_normal_end_does_not_fell_a_linked_peer(world: World) -> None:
    one, two = await world.agent("a", "n1"), await world.agent("b", "n2")
    await one.call(Agent.tie, two)
    await two.call(Agent.end)
    await two.wait_exit(5)

    assert 1 == await one.call(Agent.echo, 1)


async def test_a_trapping_peer_gets_an_exit_message(world: World) -> None:
    one, two = await world.agent("a", "n1"), await world.agent("b", "n2")
    await one.call(Agent.trap)
    await one.call(Agent.tie, two)
    two.cast(Agent.fail, "x")

    assert [("exit", kb.Crashed(ValueError("x")))] == await one.call(Agent.once_heard, 1)


async def test_no_exit_comes_after_an_unlink(world: World) -> None:
    one, two = await world.agent("a", "n1"), await world.agent("b", "n2")
    await one.call(Agent.tie, two)
    await one.call(Agent.untie, two)
    assert 0 == await one.call(Agent.call, two, 0)
    two.cast(Agent.fail, "x")
    await two.wait_exit(5)
    one_again = await one.call(Agent.echo, 1)

    assert 1 == one_again

    await one.call(Agent.end, kb.Exited(1))


async def test_a_link_to_a_dead_actor_is_an_exit_with_noproc(world: World) -> None:
    one, two = await world.agent("a", "n1"), await world.agent("b", "n2")
    await two.call(Agent.end)
    await two.wait_exit(5)
    await one.call(Agent.trap)
    await one.call(Agent.tie, two)

    assert [("exit", kb.NoProc())] == await one.call(Agent.once_heard, 1)


async def test_a_link_to_a_stable_ref_binds_to_who_is_there_now(world: World) -> None:
    await world.tree.start_child(kb.child(Agent, "phoenix").options(id="phoenix"))
    stable = world.tree.ref(Agent, "phoenix")
    await world.one.call(Agent.trap)
    await world.one.call(Agent.tie, stable)
    await world.one.call(Agent.call, stable, 0)
    stable.cast(Agent.fail, "first")
    assert [("exit", kb.Crashed(ValueError("first")))] == await world.one.call(Agent.once_heard, 1)
    await world.tree.wait_ready()
    stable.cast(Agent.fail, "second")
    while (await world.tree.which_children())[0].restarts < 2:
        await world.tree.wait_ready()
    await world.one.call(Agent.call, stable, 0)

    assert 1 == len(await world.one.call(Agent.heard_so_far))

    # And its own end does not touch the one that is there now.
    world.one.cast(Agent.end, kb.Exited(1))
    await world.one.wait_exit(5)
    assert 1 == await stable.call(Agent.echo, 1)


async def test_exit_signals_obey_the_rules_between_nodes(world: World) -> None:
    plain, trapping = await world.agent("a", "n1"), await world.agent("b", "n1")
    await trapping.call(Agent.trap)
    await world.two.call(Agent.send_exit, plain, kb.Normal())
    await world.two.call(Agent.send_exit, trapping, kb.Normal())
    assert 1 == await plain.call(Agent.echo, 1)
    assert [("exit", kb.Normal())] == await trapping.call(Agent.once_heard, 1)

    await world.two.call(Agent.send_exit, plain, kb.Exited("go"))
    await world.two.call(Agent.send_exit, trapping, kb.Kill())

    assert kb.Exited("go") == await plain.wait_exit(5)
    assert isinstance(await trapping.wait_exit(5), kb.Killed)


async def test_stop_waits_for_the_end_and_says_how_it_was(world: World) -> None:
    ref = await world.agent("a", "n1")
    await ref.stop()
    with pytest.raises(kb.ActorExited):
        await ref.stop()


async def test_suspended_actors_take_mail_and_handle_it_later(world: World) -> None:
    world.one.suspend()
    world.one.cast(Agent.note, 1)
    with pytest.raises(kb.CallTimeout):
        await world.one.within(0.05).call(Agent.echo, 1)
    world.one.resume()

    assert [1] == await world.one.call(Agent.heard_so_far)


async def test_a_callee_that_ends_fails_its_calls_at_once_from_anywhere(world: World) -> None:
    victim = await world.agent("victim", "n1")
    with pytest.raises(kb.ActorExited) as crash:
        await victim.within(None).call(Agent.fail, "x")

    assert kb.Crashed(ValueError("x")) == crash.value.reason
    assert isinstance(crash.value.__cause__, ValueError)
    assert "in fail" in str(crash.value.__cause__.__cause__)
    assert crash.value.maybe_executed


async def test_an_error_that_cannot_be_rebuilt_crosses_as_text(world: World) -> None:
    victim = await world.agent("victim", "n1")
    with pytest.raises(kb.ActorExited) as crash:
        await victim.call(Agent.fail_badly)

    assert isinstance(crash.value.reason, kb.Crashed)
    assert isinstance(crash.value.reason.error, kb.RemoteError)
    assert "one and two" in str(crash.value.reason.error)


@pytest.mark.parametrize("kind", ["Breaks", "Leaves", "Stays"])
async def test_a_reason_that_cannot_travel_costs_nobody_the_end_or_the_answer(
    world: World, kind: str
) -> None:
    victim = await world.agent("victim", "n1")
    await world.home.call(Agent.watch, victim)
    calls = [
        asyncio.ensure_future(call)
        for call in (victim.call(Agent.end_with, kind), world.one.call(Agent.echo, 1))
    ]
    async with asyncio.timeout(5):
        ended, other = await asyncio.gather(*calls, return_exceptions=True)
        heard = await world.home.call(Agent.once_heard, 1)

    assert isinstance(ended, kb.ActorExited)
    assert isinstance(ended.reason, kb.Crashed)
    assert 1 == other
    assert ["down"] == [what for what, _ in heard]


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        (lambda ref: ref.cast(Agent.kill_process, signal.SIGKILL), "SIGKILL"),
        (lambda ref: ref.cast(Agent.kill_process, signal.SIGSEGV), "SIGSEGV"),
        (lambda ref: ref.cast(Agent.exit_hard, 3), "exit 3"),
        (lambda ref: ref.cast(Agent.exit_hard, 0), "exit 0"),
    ],
    ids=["kill -9", "segfault", "os._exit(3)", "os._exit(0)"],
)
async def test_a_lost_node_is_the_end_of_all_on_it(world: World, end: Any, shown: str) -> None:
    victims = [await world.agent(f"v{number}", "n1") for number in range(5)]
    for victim in victims:
        await world.two.call(Agent.watch, victim)
    calls = [asyncio.create_task(victim.within(None).call(Agent.wait_for, 60)) for victim in victims]
    other = await world.agent("other", "n2")
    across = asyncio.create_task(other.within(None).call(Agent.try_call, victims[0].within(None), 1))
    await world.two.call(Agent.echo, 0)
    end(world.one)

    results = [*await asyncio.gather(*calls, return_exceptions=True), await across]

    for result in results:
        assert isinstance(result, kb.ActorExited)
        assert isinstance(result.reason, kb.NoConnection)
        assert result.maybe_executed
        assert isinstance(result.reason.cause, kb.WorkerExit)
        assert shown == result.reason.cause.name
    downs = await world.two.call(Agent.once_heard, 5)
    assert ["n1"] * 5 == [reason.node for _, reason in downs]


async def test_a_ref_to_a_lost_node_answers_noconnection_and_never_reaches_a_stranger(world: World) -> None:
    victim = await world.agent("victim", "n1")
    await world.two.call(Agent.keep, victim)
    os.kill(await victim.call(Agent.pid), signal.SIGKILL)
    await victim.wait_exit(5)
    await world.tree.wait_ready()
    successor = await world.agent("successor", "n1")
    assert 1 == await successor.call(Agent.echo, 1)

    with pytest.raises(kb.ActorExited) as lost:
        await victim.call(Agent.echo, 1)
    assert isinstance(lost.value.reason, kb.NoConnection)
    assert not lost.value.maybe_executed
    error = await world.two.call(Agent.try_call, await world.two.call(Agent.give), 1)
    assert isinstance(error, kb.ActorExited)
    assert isinstance(error.reason, kb.NoConnection)


async def test_a_link_hears_of_a_lost_node(world: World) -> None:
    victim = await world.agent("victim", "n1")
    await world.two.call(Agent.trap)
    await world.two.call(Agent.tie, victim)
    os.kill(await victim.call(Agent.pid), signal.SIGKILL)

    [(kind, reason)] = await world.two.call(Agent.once_heard, 1)
    assert "exit" == kind
    assert isinstance(reason, kb.NoConnection)


async def test_crash_reports_of_a_node_reach_the_root(world: World) -> None:
    victim = await world.agent("victim", "n1")
    victim.cast(Agent.fail, "told")
    await victim.wait_exit(5)
    await world.one.call(Agent.echo, 0)

    [report] = [each for each in world.events if isinstance(each, kb.events.CrashReport)]
    assert "supervisor/victim" == report.process
    assert "Agent.fail" == report.message
    assert "in fail" in report.traceback()


async def test_a_circle_of_calls_through_three_nodes_is_refused_with_its_path(world: World) -> None:
    with pytest.raises(kb.ActorExited) as refused:
        await world.one.call(Agent.call_through, [world.two, world.home, world.one], 1)

    cause: BaseException = refused.value
    while isinstance(cause, kb.ActorExited) and isinstance(cause.reason, kb.Crashed):
        cause = cause.reason.error
    assert isinstance(cause, kb.CallCycle)
    assert 4 == len(cause.path)
    assert cause.path[0] == cause.path[-1]
    assert {"supervisor/home", "supervisor/one", "supervisor/two"} == set(cause.path)


async def test_a_circle_that_closes_locally_through_another_node_is_found(world: World) -> None:
    gate = await world.agent("gate")
    near = await world.agent("near")
    # near waits for one (elsewhere), one waits for home; then home calls near.
    first = asyncio.create_task(near.call(Agent.call_through, [world.one, world.home], 1))
    blocked = asyncio.create_task(world.home.call(Agent.call_gated, gate, near))
    await asyncio.sleep(0)
    gate.cast(Agent.note, "go")
    results = await asyncio.wait_for(asyncio.gather(first, blocked, return_exceptions=True), 4)

    assert any(isinstance(result, kb.CallError) for result in results) or results == [1, "home"]
