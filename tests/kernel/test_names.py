"""Names: whoever holds one now, free before anybody hears of its owner's end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel._bonds import NameElsewhere
from koboshi._kernel._node import this_node


class Keeper(kb.Actor):
    """Holds a name and answers with its number."""

    def __init__(self, number: int = 0, name: Any = None) -> None:
        self.number = number
        if name is not None:
            kb.register(name)

    @kb.message
    def which(self) -> int:
        return self.number


class Watcher(kb.Actor):
    """Looks a name up at the moment when it hears of its owner's end."""

    def __init__(self, name: Any) -> None:
        self.name = name
        self.seen: list[Any] = []
        self.heard = asyncio.Event()

    @kb.message
    def watch(self, ref: kb.ActorRef[Any]) -> None:
        kb.monitor(ref)

    def on_down(self, down: kb.Down) -> None:
        self.seen.append(kb.whereis(self.name))
        kb.register(self.name)
        self.heard.set()


async def test_a_name_finds_its_holder() -> None:
    ref = await kb.start(Keeper, 7, "keeper")

    assert ref == kb.whereis("keeper")
    assert 7 == await kb.named(Keeper, "keeper").call(Keeper.which)
    assert ("keeper",) == kb.info(ref).names
    assert kb.whereis("nobody") is None


async def test_a_named_ref_goes_to_whoever_holds_the_name_at_each_send() -> None:
    named = kb.named(Keeper, "post")
    one, two = await kb.start(Keeper, 1), await kb.start(Keeper, 2)
    kb.register("post", one)
    assert 1 == await named.call(Keeper.which)

    assert kb.unregister("post")
    kb.register("post", two)
    assert 2 == await named.call(Keeper.which)

    assert kb.unregister("post")
    with pytest.raises(kb.NotRunning, match="'post'"):
        await named.call(Keeper.which)
    assert not kb.unregister("post")


async def test_a_taken_name_is_refused_and_says_who_holds_it() -> None:
    one = await kb.start(Keeper, 1, "taken")
    two = await kb.start(Keeper, 2)

    with pytest.raises(kb.NameTaken, match="'taken'") as caught:
        kb.register("taken", two)
    assert one == caught.value.owner
    assert "taken" == caught.value.name
    kb.register("taken", one)  # its own name again changes nothing
    assert one == kb.whereis("taken")


async def test_a_name_is_free_before_anybody_hears_of_the_end() -> None:
    for _ in range(50):
        owner = await kb.start(Keeper, 1, "contested")
        watcher = await kb.start(Watcher, "contested")
        actor: Watcher = watcher._cell.actor
        await watcher.call(Watcher.watch, owner)
        owner.kill()
        await actor.heard.wait()

        assert [None] == actor.seen
        assert watcher == kb.whereis("contested")
        await watcher.stop()


async def test_a_name_can_be_taken_again_as_soon_as_a_call_has_failed() -> None:
    class Fragile(Keeper):
        @kb.message
        def crash(self) -> None:
            raise ValueError("torn")

    for number in range(20):
        ref = await kb.start(Fragile, number, "again")
        with pytest.raises(kb.ActorExited):
            await ref.call(Fragile.crash)


async def test_one_process_may_hold_many_names_and_loses_them_all_at_its_end() -> None:
    ref = await kb.start(Keeper)
    names: list[Any] = ["a", ("room", 7), 42, frozenset({"x"})]
    for name in names:
        kb.register(name, ref)
    assert tuple(names) == kb.info(ref).names

    await ref.stop()
    assert [None] * 4 == [kb.whereis(name) for name in names]


async def test_one_and_one_point_zero_and_true_are_one_name() -> None:
    ref = await kb.start(Keeper, 1, 1)

    assert ref == kb.whereis(1.0) == kb.whereis(True)
    with pytest.raises(kb.NameTaken):
        await kb.start(Keeper, 2, True)


async def test_an_unhashable_name_is_refused() -> None:
    ref = await kb.start(Keeper)
    with pytest.raises(kb.UsageError, match=r"a name must be hashable.*\['x'\]"):
        kb.register(["x"], ref)


async def test_a_dead_process_gets_no_name() -> None:
    ref = await kb.start(Keeper)
    await ref.stop()

    with pytest.raises(kb.ActorExited):
        kb.register("late", ref)
    assert kb.whereis("late") is None


async def test_a_name_that_is_free_again_is_held_by_nothing() -> None:
    class Name:
        pass

    name = Name()
    ref = await kb.start(Keeper, 1, name)
    await ref.stop()
    seen = weakref.ref(name)
    # Only what the runtime itself might keep is looked at; the argument above is ours.
    del name
    gc.collect()

    assert seen() is None
    assert {} == this_node().names


class Elsewhere(NameElsewhere):
    """A name that a test keeps itself, for one cell."""

    def __init__(self) -> None:
        self.holder: Any = None

    def register(self, cell: Any) -> None:
        if self.holder is not None:
            raise kb.NameTaken("elsewhere", None)
        self.holder = cell


async def test_a_name_that_is_kept_elsewhere_gets_the_child_before_its_code_runs() -> None:
    name = Elsewhere()
    async with kb.Supervisor() as tree:
        child = await tree.start_child(kb.child(Keeper, 7).options(name=name))

        assert child == kb.ActorRef(name.holder)
        assert () == kb.info(child).names
        with pytest.raises(kb.NameTaken):
            await tree.start_child(kb.child(Keeper, 8).options(id="late", name=name))
        assert 7 == await child.call(Keeper.which)
        assert 1 == (await tree.count_children()).specs
