"""Routers over actors on worker nodes, and on worker nodes."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.otp.routers.callers import Caller
from tests.otp.routers.routees import Worker

import koboshi as kb
from koboshi import otp

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def test_a_router_reaches_children_on_a_node_and_passes_over_them_when_it_is_lost() -> None:
    async with kb.Supervisor(
        kb.node("n1").options(restart="temporary"),
        kb.child(Worker, "far").options(id="far", on="n1", restart="temporary"),
        kb.child(Worker, "near").options(id="near"),
        max_restarts=100,
    ) as tree:
        for strategy in ("round_robin", "least_busy", "smallest_mailbox"):
            router = otp.router(tree, Worker, strategy=strategy)
            assert {"far", "near"} == {await router.call(Worker.who) for _ in range(4)}
        far = tree.ref(Worker, "far")
        pid = await far.call(Worker.pid)
        assert pid != os.getpid()
        call = asyncio.ensure_future(far.call(Worker.hold))
        await far.call(Worker.who)  # behind the call, so that has arrived
        os.kill(pid, 9)
        with pytest.raises(kb.ActorExited):
            await call

        assert {"near"} == {await router.call(Worker.who) for _ in range(4)}


async def test_a_pickled_router_routes_from_the_other_node() -> None:
    async with kb.Supervisor(kb.node("n1")) as tree:
        refs = [await tree.start_child(kb.child(Worker, name).options(id=name)) for name in "ab"]
        caller = await tree.start_child(kb.child(Caller).options(id="caller", on="n1"))
        router = otp.router(refs, limit=3).within(2.0)

        assert list("abab") == await caller.call(Caller.who, router, 4)


async def test_a_router_over_a_supervisor_on_another_node_asks_it_for_its_children() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.DynamicSupervisor()) as tree:
        caller = await tree.start_child(kb.child(Caller).options(id="caller", on="n1"))
        children = await tree.start_child(kb.child(kb.DynamicSupervisor).options(id="children"))
        router = otp.router(children, Worker)
        assert kb.NotRunning is type(await caller.call(Caller.failure, router))
        await children.call(kb.DynamicSupervisor.start_child, kb.child(Worker, "a"))

        assert ["a", "a"] == await caller.call(Caller.who, router, 2)
