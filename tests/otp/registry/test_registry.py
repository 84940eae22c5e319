"""Registries: one holder for a key or many, gone with their holders. Rules 65 and 66 of Elixir's registry."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.otp.registry.holders import Holder
from tests.virtual import VirtualLoop

import koboshi as kb
from koboshi import otp


def registry(**options: Any) -> kb.ChildSpec[otp.Registry]:
    return kb.child(otp.Registry, **options).options(id="reg", name="reg")


async def holders(tree: kb.Supervisor, *names: str) -> list[kb.ActorRef[Holder]]:
    specs = [kb.child(Holder).options(id=name, restart="temporary") for name in names]
    return [await tree.start_child(spec) for spec in specs]


@pytest.mark.parametrize("partitions", [1, 4])
async def test_a_unique_key_is_held_by_one_process_until_it_gives_it_up(partitions: int) -> None:
    async with kb.Supervisor(registry(partitions=partitions)) as tree:
        one, two = await holders(tree, "one", "two")
        keys = otp.registry("reg")
        assert await one.call(Holder.try_register, "k") is None
        assert one == await two.call(Holder.try_register, "k")
        assert one == await one.call(Holder.try_register, "k")
        assert [(one, None)] == [(entry.ref, entry.value) for entry in await keys.lookup("k")]
        await one.call(Holder.unregister, "k")
        assert [] == await keys.lookup("k")

        assert await two.call(Holder.try_register, "k") is None
        assert two == await keys.whereis("k")


async def test_registering_over_a_dead_holder_succeeds_at_once_and_a_lookup_never_finds_it() -> None:
    async with kb.Supervisor(registry()) as tree:
        one, two = await holders(tree, "one", "two")
        keys = otp.registry("reg")
        await one.call(Holder.register, "k")
        for turn in range(50):
            one.kill()
            await one.wait_exit()

            assert await keys.whereis("k") is None
            assert [] == await keys.lookup("k")
            assert await two.call(Holder.try_register, "k") is None
            assert [two] == [entry.ref for entry in await keys.lookup("k")]
            [three] = await holders(tree, f"h{turn}")
            one, two = two, three


async def test_a_process_can_give_up_its_own_keys_alone() -> None:
    async with kb.Supervisor(registry()) as tree:
        one, two = await holders(tree, "one", "two")
        await one.call(Holder.register, "k")
        await two.call(Holder.unregister, "k")
        await two.call(Holder.unregister, "never heard of")

        assert one == await otp.registry("reg").whereis("k")


async def test_a_duplicate_key_has_many_holders_and_giving_it_up_drops_all_entries_of_the_caller() -> None:
    async with kb.Supervisor(registry(keys="duplicate")) as tree:
        one, two = await holders(tree, "one", "two")
        keys = otp.registry("reg")
        for ref, value in ((one, 1), (two, 2), (one, 3)):
            await ref.call(Holder.register, "k", value)
        assert [(one, 1), (two, 2), (one, 3)] == [(e.ref, e.value) for e in await keys.lookup("k")]
        assert [1, 3] == await keys.values("k", one)
        await one.call(Holder.unregister, "k")

        assert [(two, 2)] == [(entry.ref, entry.value) for entry in await keys.lookup("k")]


async def test_entries_are_given_up_by_their_value() -> None:
    async with kb.Supervisor(registry(keys="duplicate")) as tree:
        one, two = await holders(tree, "one", "two")
        for ref in (one, two):
            for value in (1, 2):
                await ref.call(Holder.register, "k", value)
        await one.call(Holder.drop_values, "k", 1)
        found = await otp.registry("reg").lookup("k")

        assert [(one, 2), (two, 1), (two, 2)] == sorted(
            ((entry.ref, entry.value) for entry in found), key=lambda pair: (pair[0] != one, pair[1])
        )


async def test_a_value_is_changed_by_its_holder_alone() -> None:
    async with kb.Supervisor(registry()) as tree:
        one, two = await holders(tree, "one", "two")
        await one.call(Holder.register, "k", 10)

        assert (15, 10) == await one.call(Holder.update, "k", 5)
        assert await two.call(Holder.update, "k", 5) is None
        assert await one.call(Holder.update, "other", 5) is None
        assert [15] == [entry.value for entry in await otp.registry("reg").lookup("k")]


async def test_keys_of_a_process_are_known_and_forgotten_with_it() -> None:
    async with kb.Supervisor(registry(partitions=3)) as tree:
        [one] = await holders(tree, "one")
        for key in range(6):
            await one.call(Holder.register, key)
        keys = otp.registry("reg")
        assert set(range(6)) == set(await one.call(Holder.mine))
        assert 6 == await keys.count()
        one.kill()
        await one.wait_exit()

        assert [] == await keys.keys(one)
        assert 0 == await keys.count()


async def test_entries_are_matched_selected_and_counted() -> None:
    async with kb.Supervisor(registry(keys="duplicate", partitions=2)) as tree:
        one, two = await holders(tree, "one", "two")
        for key in ("a", "b"):
            await one.call(Holder.register, key, 1)
            await two.call(Holder.register, key, 2)
        keys = otp.registry("reg")

        assert [two] == [entry.ref for entry in await keys.match("a", lambda value: value > 1)]
        assert 1 == await keys.count_match("a", lambda value: value > 1)
        assert {"a", "b"} == {entry.key for entry in await keys.select(lambda entry: entry.ref == one)}
        assert 4 == len(await keys.select())
        seen: list[list[otp.Entry]] = []
        await keys.dispatch("a", seen.append)
        await keys.dispatch("nobody", seen.append)
        assert [2] == [len(entries) for entries in seen]


async def test_listeners_are_told_of_every_key_that_is_taken_and_given_up() -> None:
    async with kb.Supervisor(
        kb.child(Holder).options(id="ears", name="ears"), registry(listeners=["ears"])
    ) as tree:
        ears = tree.ref(Holder, "ears")
        one, two = await holders(tree, "one", "two")
        await one.call(Holder.register, "a", 1)
        await one.call(Holder.unregister, "a")
        await two.call(Holder.register, "b")
        two.kill()
        await two.wait_exit()
        await otp.registry("reg").statistics()  # behind the exit in the partition's mailbox

        assert [
            otp.Registered("reg", "a", one, 1),
            otp.Unregistered("reg", "a", one),
            otp.Registered("reg", "b", two, None),
            otp.Unregistered("reg", "b", two),
        ] == await ears.call(Holder.seen)


async def test_a_listener_that_is_not_there_costs_nobody_a_key() -> None:
    async with kb.Supervisor(registry(listeners=["nobody"])) as tree:
        [one] = await holders(tree, "one")
        await one.call(Holder.register, "k")

        assert one == await otp.registry("reg").whereis("k")


async def test_a_ref_through_the_registry_follows_the_key_to_its_next_holder() -> None:
    async with kb.Supervisor(registry()) as tree:
        one, two = await holders(tree, "one", "two")
        via = await otp.registry("reg").via(Holder, "k")
        with pytest.raises(kb.NotRunning):
            await via.call(Holder.pid)
        with pytest.raises(kb.NotRunning):
            via.tell("nobody is there")
        await one.call(Holder.register, "k")
        via.tell("to one")
        await one.call(Holder.unregister, "k")
        await two.call(Holder.register, "k")
        via.tell("to two")

        assert os.getpid() == await via.call(Holder.pid)
        assert (["to one"], ["to two"]) == (await one.call(Holder.seen), await two.call(Holder.seen))
        assert via == await otp.registry("reg").via(Holder, "k")


async def test_an_actor_that_registers_at_its_start_does_not_start_when_the_key_is_taken() -> None:
    async with kb.Supervisor(registry(), kb.child(Holder, "reg", "k").options(id="first")) as tree:
        with pytest.raises(kb.StartError) as refused:
            await tree.start_child(kb.child(Holder, "reg", "k").options(id="second"))

        assert isinstance(refused.value.__cause__, otp.AlreadyRegistered)
        assert tree.ref(Holder, "first") == refused.value.__cause__.ref or refused.value.__cause__.ref.alive


async def test_the_death_of_the_registry_ends_those_who_hold_keys_and_it_begins_anew() -> None:
    async with kb.Supervisor(registry(), max_restarts=5) as tree:
        one, two = await holders(tree, "one", "two")
        keys = otp.registry("reg")
        await one.call(Holder.register, "k")
        old = kb.whereis("reg")
        assert old is not None
        old.kill()

        assert kb.Killed() == await one.wait_exit()
        await old.wait_exit()
        await tree.wait_ready()
        assert two.alive
        assert await two.call(Holder.try_register, "k") is None
        assert two == await keys.whereis("k")


async def test_a_process_that_gave_up_its_last_key_survives_the_registry() -> None:
    async with kb.Supervisor(registry(), max_restarts=5) as tree:
        [one] = await holders(tree, "one")
        await one.call(Holder.register, "k")
        await one.call(Holder.unregister, "k")
        ref = tree.ref(otp.Registry, "reg")
        ref.kill()
        await ref.wait_exit()
        await tree.wait_ready()

        assert one.alive


async def test_a_registry_has_values_of_its_own() -> None:
    async with kb.Supervisor(registry()):
        keys = otp.registry("reg")
        assert "fallback" == await keys.meta("limit", "fallback")
        await keys.put_meta("limit", 10)
        assert 10 == await keys.meta("limit")
        await keys.delete_meta("limit")
        assert await keys.meta("limit") is None


async def test_keys_that_are_equal_are_one_key_whatever_their_types() -> None:
    async with kb.Supervisor(registry(partitions=5)) as tree:
        one, two = await holders(tree, "one", "two")
        await one.call(Holder.register, 1)

        assert one == await two.call(Holder.try_register, 1.0)
        assert one == await two.call(Holder.try_register, True)


@pytest.mark.parametrize("what", ["whereis", "via", "update"])
async def test_what_is_for_unique_keys_is_refused_with_duplicate_ones(what: str) -> None:
    async with kb.Supervisor(registry(keys="duplicate")):
        keys = otp.registry("reg")
        calls: dict[str, Callable[[], Any]] = {
            "whereis": lambda: keys.whereis("k"),
            "via": lambda: keys.via(Holder, "k"),
            "update": lambda: keys.update_value("k", str),
        }

        async def ask() -> None:
            with pytest.raises(kb.UsageError, match="for registries with unique keys"):
                await calls[what]()

        assert kb.Normal() == await kb.spawn(ask).wait_exit()


async def test_what_cannot_be_is_refused_by_name() -> None:
    for options, expected in (
        ({"keys": "some"}, "keys is one of 'unique', 'duplicate'"),
        ({"partitions": 0}, "partitions takes a whole number >= 1"),
        ({"listeners": "ears"}, "listeners takes a list"),
        ({"on": 3}, "on takes"),
    ):
        with pytest.raises(kb.UsageError, match=expected):
            otp.Registry(**options)  # type: ignore[arg-type]
    with pytest.raises(kb.NotInProcess, match="register is about the process"):
        await otp.registry("reg").register("k")
    with pytest.raises(kb.NotRunning):
        await otp.registry("nobody").lookup("k")
    with pytest.raises(kb.UsageError, match="can be hashed"):
        await otp.registry("nobody").lookup([])


def test_the_error_of_a_key_that_is_taken_keeps_its_parts_in_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(otp.AlreadyRegistered("k", None, 3)))  # type: ignore[arg-type]

    assert ("k", None, 3) == (error.key, error.ref, error.value)


@pytest.mark.slow
async def test_keys_are_held_and_found_from_every_node_and_gone_with_a_lost_one() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    placed = [
        kb.child(Holder).options(id=name, on=on, restart="temporary")
        for name, on in (("here", None), ("one", "n1"), ("two", "n2"))
    ]
    async with kb.Supervisor(nodes, registry(), *placed) as tree:
        here, one, two = (tree.ref(Holder, name) for name in ("here", "one", "two"))
        keys = otp.registry("reg")
        assert await one.call(Holder.try_register, "k") is None
        refused = await two.call(Holder.try_register, "k")
        pid = await one.call(Holder.pid)
        via = await keys.via(Holder, "k")

        assert refused == await keys.whereis("k")
        assert refused == await two.call(Holder.whereis, "k")
        assert [pid] * 4 == [
            await via.call(Holder.pid),
            await here.call(Holder.call_via, "k"),
            await two.call(Holder.call_via, "k"),
            await refused.call(Holder.pid),  # type: ignore[union-attr]
        ]
        assert ["k"] == await one.call(Holder.mine)
        os.kill(pid, 9)
        await one.wait_exit()
        assert await keys.whereis("k") is None
        assert 0 == await two.call(Holder.count)
        assert await two.call(Holder.try_register, "k") is None


@pytest.mark.slow
async def test_partitions_may_be_spread_over_nodes() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    async with kb.Supervisor(nodes, registry(partitions=2, on=kb.spread())) as tree:
        one, two = await holders(tree, "one", "two")
        for key in range(6):
            await one.call(Holder.register, key, key)
        keys = otp.registry("reg")

        assert [one] * 6 == [await keys.whereis(key) for key in range(6)]
        assert one == await two.call(Holder.try_register, 3)
        assert os.getpid() == await (await keys.via(Holder, 5)).call(Holder.pid)
        assert 6 == await keys.count()
        assert (7, 2) == await one.call(Holder.update, 2, 5)
        one.kill()
        await one.wait_exit()
        await (await keys.via(Holder, 3)).within(5).wait_exit(0)
        assert await two.call(Holder.try_register, 3) is None


class Model(RuleBasedStateMachine):
    """Any mix of registering, giving up and dying, beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.held: dict[int, int] = {}
        self.run(self.begin())

    def run(self, coro: Any) -> Any:
        return self.runner.run(coro)

    async def begin(self) -> None:
        self.tree = kb.DynamicSupervisor(max_restarts=1000)
        await self.tree.__aenter__()
        await self.tree.start_child(registry(partitions=2))
        self.refs = [
            await self.tree.start_child(kb.child(Holder).options(restart="temporary")) for _ in range(3)
        ]

    @rule(who=st.integers(0, 2), key=st.integers(0, 3))
    def register(self, who: int, key: int) -> None:
        taken = self.run(self.refs[who].call(Holder.try_register, key))
        if key in self.held:
            assert self.refs[self.held[key]] == taken
        else:
            assert taken is None
            self.held[key] = who

    @rule(who=st.integers(0, 2), key=st.integers(0, 3))
    def unregister(self, who: int, key: int) -> None:
        self.run(self.refs[who].call(Holder.unregister, key))
        if self.held.get(key) == who:
            del self.held[key]

    @rule(who=st.integers(0, 2))
    def die(self, who: int) -> None:
        async def successor() -> None:
            self.refs[who].kill()
            await self.refs[who].wait_exit()
            spec = kb.child(Holder).options(restart="temporary")
            self.refs[who] = await self.tree.start_child(spec)

        self.run(successor())
        self.held = {key: holder for key, holder in self.held.items() if holder != who}

    @invariant()
    def the_same_is_held(self) -> None:
        async def seen() -> dict[Any, kb.ActorRef[Any]]:
            return {entry.key: entry.ref for entry in await otp.registry("reg").select()}

        assert {key: self.refs[who] for key, who in self.held.items()} == self.run(seen())

    def teardown(self) -> None:
        self.run(self.tree.__aexit__(None, None, None))
        self.runner.close()


class TestModel(Model.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
