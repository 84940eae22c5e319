"""A kind on worker nodes: its actors are called from all nodes, and outlive the kill of any."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fifo import fifo
from tests.waiting import ask

import koboshi as kb

from . import node_bank
from .node_bank import Account, Overdrawn, Teller
from .test_restarts import kind_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("fork_server"),
]  # two OS processes are started for each


@asynccontextmanager
async def world(url: str, *on: str | None) -> AsyncIterator[tuple[kb.Durable[Account], Any, Any]]:
    """Two nodes with a teller each, and the kind on those that are named, None being the root."""
    bank = node_bank.bank_at(url)
    tellers = [kb.child(Teller, url).options(id=f"teller {node}", on=node) for node in ("n1", "n2")]
    kinds = [bank.child().options(id=f"bank {node}", on=node) for node in on]
    nodes = [kb.node("n1"), kb.node("n2")]
    async with kb.Supervisor(*nodes, *tellers, *kinds, max_restarts=100) as tree:
        yield bank, tree.ref(Teller, "teller n1"), tree.ref(Teller, "teller n2")


async def has(bank: kb.Durable[Account], **cents: int) -> bool:
    """Whether the accounts have so much by now."""
    return cents == {key: await bank[key].call(Account.balance) for key in cents}


async def has_dead(bank: kb.Durable[Account], count: int) -> bool:
    return count == len([each async for each in bank.dead_letters("a")])


async def test_a_kind_on_one_node_is_called_from_all_others(url: str) -> None:
    async with world(url, "n1") as (bank, one, two):
        there = await one.call(Teller.pid)

        assert 5 == await bank["a"].call(Account.deposit, 5)
        assert 6 == await two.call(Teller.ask, "a", "deposit", 1)
        assert 7 == await one.call(Teller.ask, "a", "deposit", 1)
        assert there == await bank["a"].call(Account.pid) == await two.call(Teller.ask, "a", "pid")
        assert [8, 8] == [await bank["a"].request("x").call(Account.deposit, 1) for _ in "12"]
        with pytest.raises(Overdrawn, match="more than there are"):
            await bank["a"].call(Account.withdraw, 100)
        with pytest.raises(kb.ActorExited) as caught:
            await bank["a"].call(Account.crash)
        assert "broken" in str(caught.value.__cause__)

        bank["a"].cast(Account.deposit, 1)
        await bank["a"].put(Account.deposit, 1)
        await two.call(Teller.put, "a", 1)
        await ask(lambda: has(bank, a=11), "messages that a node is handling")
        assert 0 < await bank["a"].erase()
        assert 0 == await bank["a"].call(Account.balance)


async def test_dead_letters_are_made_ready_and_forgotten_where_the_kind_does_not_run(url: str) -> None:
    async with world(url, "n1") as (bank, _, _):
        for cents in (1, 2):
            await bank["a"].request(f"r{cents}").put(Account.withdraw, cents)
        await ask(lambda: has_dead(bank, 2), "messages that a node refuses")
        one, two = [each async for each in bank.dead_letters()]
        assert "Overdrawn: 1 are more than there are" in one.report
        await bank["a"].call(Account.deposit, 5)
        assert 1 == await bank.discard(two)
        assert 1 == await bank.requeue(one, two)
        await ask(lambda: has(bank, a=4), "a message that a node is handling")


async def test_an_activation_on_another_node_is_monitored(url: str) -> None:
    down: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    class Watcher(kb.Actor):
        @kb.message
        async def watch(self, bank: Any) -> None:
            kb.monitor(await bank[0]["a"].awake())

        def on_down(self, found: kb.Down) -> None:
            down.set_result(found.reason)

    async with world(url, "n1") as (bank, one, _), kb.Supervisor(kb.child(Watcher)) as tree:
        await tree.ref(Watcher, "Watcher").call(Watcher.watch, [bank])
        os.kill(await one.call(Teller.pid), signal.SIGKILL)

        assert isinstance(await down, kb.NoConnection)


async def test_each_node_keeps_the_actors_that_it_has_woken_and_is_asked_for_them(url: str) -> None:
    async with world(url, None, "n1", "n2") as (bank, one, two):
        here, first, second = os.getpid(), await one.call(Teller.pid), await two.call(Teller.pid)
        await one.call(Teller.ask, "a", "deposit", 10)
        await two.call(Teller.ask, "b", "deposit", 10)
        await bank["c"].call(Account.deposit, 10)

        for key, where in (("a", first), ("b", second), ("c", here)):
            assert where == await bank[key].call(Account.pid)
            assert where == await one.call(Teller.ask, key, "pid")
            assert where == await two.call(Teller.ask, key, "pid")
        # Who keeps it is asked of the store once, and not with each call.
        before = kind_of(bank).store.statistics().operations
        for _ in range(50):
            await bank["a"].call(Account.balance)
        assert kind_of(bank).store.statistics().operations - before < 25
        # What a turn sends finds its target on whatever node it is.
        await bank["c"].call(Account.transfer, "a", 3)
        await one.call(Teller.ask, "a", "transfer", "b", 1)
        await ask(lambda: has(bank, a=12, b=11, c=7), "messages that nodes are handling")
        # One that is erased here answers nobody where it is awake, not even its own node.
        assert 0 < await bank["a"].erase()
        assert 0 == await one.call(Teller.ask, "a", "balance")


async def test_keys_are_looked_up_from_nodes_without_the_kind(url: str) -> None:
    async with world(url, "n1") as (bank, one, two):
        for key, city in (("a", "Oslo"), ("b", "Rome"), ("c", "Oslo")):
            await bank[key].call(Account.move, city)

        for keys, where in ((bank.keys(), bank.where(city="Oslo")), _asked(one), _asked(two)):
            assert ["a", "b", "c"] == await keys
            assert ["a", "c"] == await where
        assert ["c"] == await bank.keys(after="b", limit=5)
        with pytest.raises(kb.UsageError, match="limit"):
            await bank.keys(limit=0)


def _asked(teller: Any) -> tuple[Any, Any]:
    return teller.call(Teller.keys), teller.call(Teller.where, "Oslo")


async def test_what_is_sent_to_an_actor_that_another_node_has_awake_is_not_waited_for(url: str) -> None:
    async with world(url, None, "n1") as (bank, one, two):
        await one.call(Teller.ask, "a", "deposit", 1)
        await bank["c"].call(Account.deposit, 100)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for sent in range(1, 13):
            if sent % 3 == 0:
                await bank["c"].call(Account.transfer, "a", 1)
            else:  # by a node with the kind, and by one without it
                await (bank["a"].put(Account.deposit, 1) if sent % 3 == 1 else two.call(Teller.put, "a", 1))
            await ask(lambda sent=sent: has(bank, a=1 + sent), "messages that a node is handling")  # type: ignore[misc]

        # A look for what others have recorded is made once in a second.
        assert loop.time() - began < 6.0


async def test_a_killed_nodes_actors_are_taken_over_and_a_request_is_handled_once(
    url: str, tmp_path: Path
) -> None:
    async with world(url, None, "n1") as (bank, one, two):
        for key in "ab":
            await one.call(Teller.ask, key, "deposit", 10)
        assert 11 == await bank["a"].request("x").call(Account.deposit, 1)
        with fifo(tmp_path / "begun") as begun:
            call = bank["b"].within(30.0).call(Account.deposit_slowly, 1, str(begun.path))
            waiting = asyncio.ensure_future(call)
            assert "begun" == await begun.line()
        killed = await one.call(Teller.pid)
        os.kill(killed, signal.SIGKILL)

        # It may have been handled, and nobody can tell; with an id it is asked again by itself.
        with pytest.raises(kb.HostLost):
            await waiting
        assert 11 == await bank["a"].within(30.0).request("x").call(Account.deposit, 1)
        assert 12 == await bank["a"].within(30.0).request("y").call(Account.deposit, 1)
        assert killed != await bank["a"].within(30.0).call(Account.pid)
        assert 10 == await two.call(Teller.ask, "b", "balance")


async def test_a_kind_that_the_node_cannot_know_says_what_to_do(url: str) -> None:
    unknown = kb.durable(Account, store=url, type="NobodyKnowsIt")

    async with kb.Supervisor(kb.node("n1")) as tree:
        with pytest.raises(kb.StartError) as caught:
            await tree.start_child(unknown.child().options(on="n1"))

        assert "at the top of the module" in str(caught.value) + str(caught.value.__cause__)
