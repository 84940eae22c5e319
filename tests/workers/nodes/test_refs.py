"""Refs that travel: they lead to the same actor wherever they are, and compare as at home."""

from __future__ import annotations

import gc
import os
import signal

import pytest
from tests.workers.nodes.agents import Agent
from tests.workers.nodes.conftest import World

import koboshi as kb

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def test_a_ref_that_comes_back_is_the_same_ref(world: World) -> None:
    assert world.one == await world.one.call(Agent.me_ref)
    assert world.home == await world.one.call(Agent.echo, world.home)
    assert world.two == await world.one.call(Agent.echo, world.two)
    assert hash(world.two) == hash(await world.one.call(Agent.echo, world.two))


async def test_two_nodes_agree_on_who_is_who(world: World) -> None:
    await world.two.call(Agent.keep, world.one)

    assert await world.two.call(Agent.is_kept, await world.one.call(Agent.me_ref))
    assert not await world.two.call(Agent.is_kept, world.home)


async def test_a_ref_keeps_its_deadline_on_the_way(world: World) -> None:
    ref = await world.one.call(Agent.echo, world.two.within(0.05))
    world.two.suspend()

    with pytest.raises(kb.CallTimeout):
        await ref.call(Agent.echo, 1)


async def test_a_stable_ref_held_elsewhere_survives_restarts(world: World) -> None:
    await world.tree.start_child(kb.child(Agent, "phoenix").options(id="phoenix"))
    stable = world.tree.ref(Agent, "phoenix")
    await world.one.call(Agent.keep, stable)
    held = await world.one.call(Agent.give)
    assert 1 == await world.one.call(Agent.call, stable, 1)
    with pytest.raises(kb.ActorExited):
        await stable.call(Agent.fail, "crash")
    await world.tree.wait_ready()

    assert held == stable
    assert 2 == await world.one.call(Agent.call, await world.one.call(Agent.give), 2)


async def test_a_stable_ref_to_a_remote_child_works_from_a_third_node(world: World) -> None:
    await world.tree.start_child(kb.child(Agent, "phoenix").options(id="phoenix", on="n2"))
    stable = world.tree.ref(Agent, "phoenix")
    await world.one.call(Agent.keep, stable)
    pid = await stable.call(Agent.pid)
    os.kill(pid, signal.SIGKILL)
    while True:
        try:
            if await stable.call(Agent.pid) != pid:
                break
        except kb.CallError:
            await world.tree.wait_ready()

    assert 3 == await world.one.call(Agent.call, await world.one.call(Agent.give), 3)


async def test_a_stable_ref_to_nobody_says_so_from_elsewhere(world: World) -> None:
    await world.tree.start_child(kb.child(Agent, "gone").options(id="gone", restart="transient"))
    stable = world.tree.ref(Agent, "gone")
    await world.one.call(Agent.keep, stable)
    await world.tree.terminate_child("gone")

    assert isinstance(await world.one.call(Agent.try_call, stable, 1), kb.NotRunning)


async def test_a_ref_to_an_actor_that_has_ended_fails_at_once(world: World) -> None:
    ref = await world.agent("short", "n1")
    await ref.call(Agent.end)
    await ref.wait_exit(5)

    with pytest.raises(kb.NotRunning):
        await ref.call(Agent.echo, 1)
    assert isinstance(await world.two.call(Agent.try_call, ref, 1), kb.NotRunning)
    ref.cast(Agent.note, 1)  # silently lost
    assert not ref.alive


async def test_names_are_known_on_every_node(world: World) -> None:
    await world.one.call(Agent.take_name, ("service", 1))
    await world.one.call(Agent.call, world.two, 0)

    assert 5 == await world.two.call(Agent.name_call, ("service", 1), 5)
    assert world.one == kb.whereis(("service", 1))
    assert 6 == await kb.named(Agent, ("service", 1)).call(Agent.echo, 6)


async def test_a_name_of_the_root_is_known_on_nodes_that_come_later(world: World) -> None:
    kb.register("early", world.home)
    await world.tree.start_child(kb.node("n3"))
    late = await world.agent("late", "n3")

    assert 5 == await late.call(Agent.name_call, "early", 5)
    kb.unregister("early")


async def test_a_name_taken_elsewhere_is_refused_where_that_is_known(world: World) -> None:
    await world.one.call(Agent.take_name, "mine")
    await world.one.call(Agent.call, world.two, 0)

    with pytest.raises(kb.NameTaken):
        kb.register("mine", world.home)
    with pytest.raises(kb.ActorExited) as crash:
        await world.two.call(Agent.take_name, "mine")
    assert isinstance(crash.value.__cause__, kb.NameTaken)


async def test_a_name_is_free_everywhere_before_an_end_is_heard_of(world: World) -> None:
    for _ in range(50):
        holder = await world.agent("holder", "n1")
        await holder.call(Agent.take_name, "hot")
        await world.home.call(Agent.watch, holder)
        heard = len(await world.home.call(Agent.heard_so_far))
        holder.cast(Agent.end)
        await world.home.call(Agent.once_heard, heard + 1)

        assert kb.whereis("hot") is None
    assert not await world.two.call(Agent.knows, "hot")


async def test_a_named_child_on_a_node_can_be_found_and_restarted(world: World) -> None:
    spec = kb.child(Agent, "boss").options(id="boss", name="boss", on="n1")
    await world.tree.start_child(spec)
    boss = kb.named(Agent, "boss")
    assert 1 == await boss.call(Agent.echo, 1)
    with pytest.raises(kb.ActorExited):
        await boss.call(Agent.fail, "x")
    await world.tree.wait_ready()

    assert 2 == await boss.call(Agent.echo, 2)


async def test_refs_to_many_short_lived_actors_are_forgotten(world: World) -> None:
    mesh = kb.start.__globals__["this_node"]().route
    for number in range(50):
        ref = await world.agent(f"short{number}", "n1")
        assert number == await ref.call(Agent.echo, number)
        await ref.stop()
    del ref
    await world.one.call(Agent.echo, 0)
    gc.collect()

    assert len(mesh.stubs) <= 4
    assert 0 == len(mesh.pending)


async def test_monitors_that_come_and_go_leave_one_watch_behind(world: World) -> None:
    for _ in range(5):
        await world.one.call(Agent.watch, world.home)
        await world.one.call(Agent.unwatch)
        await world.one.call(Agent.keep, None)
    bonds = world.home._cell.bonds

    assert bonds is not None
    assert 1 == len(bonds.watched_by or ())
