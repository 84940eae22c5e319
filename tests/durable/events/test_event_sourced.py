"""Event-sourced actors: events are the truth, states follow."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import msgspec
import pytest

import koboshi as kb

from .carts import Added, Cart, CartState, Cleared


async def test_the_state_follows_from_events_and_outlives_the_actor(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        assert await carts["a"].call(Cart.add, "tea", 300) == 300
        assert await carts["a"].call(Cart.add, "pot", 200) == 500
        await carts["a"].call(Cart.clear)
        await carts["a"].call(Cart.add, "cup", 50)

        events = [each.event for each in await carts["a"].history()]
        assert [Added("tea", 300), Added("pot", 200), Cleared(), Added("cup", 50)] == events


async def test_a_woken_actor_has_the_state_of_its_events(path: str) -> None:
    carts = kb.durable(Cart, store=f"sqlite:///{path}")
    async with kb.Supervisor(carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        await carts["a"].call(Cart.add_all, ["x", "y"])
    async with kb.Supervisor(carts.child()):
        assert CartState(("tea", "x", "y"), 302) == await carts["a"].call(Cart.look)


async def test_a_turn_that_is_refused_or_raises_has_emitted_nothing(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        await carts["a"].call(Cart.add_all, [str(n) for n in range(500)])
        with pytest.raises(kb.Refused, match="full"):
            await carts["a"].call(Cart.add, "tea", 1)
        assert len((await carts["a"].call(Cart.look)).items) == 500
        with pytest.raises(kb.ActorExited, match="boom"):
            await carts["a"].call(Cart.boom)
        assert len((await carts["a"].call(Cart.look)).items) == 500
        assert await carts["a"].call(Cart.add_all, []) == 500


async def test_an_event_with_a_field_of_another_type_is_refused_and_the_actor_can_still_be_woken(
    store: str,
) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        with pytest.raises(
            kb.ActorExited, match="event Added of Cart/a does not fit Added: Expected `int`, got `float`"
        ):
            await carts["a"].call(Cart.add, "pot", cast("Any", 0.5))

        assert CartState(("tea",), 300) == await carts["a"].call(Cart.look)


async def test_a_handler_that_assigns_the_state_is_told_to_emit(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        with pytest.raises(kb.ActorExited, match=r"self\.emit"):
            await carts["a"].call(Cart.assign)


async def test_a_query_that_emits_is_a_mistake_and_changes_nothing(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        with pytest.raises(kb.ActorExited, match=r"marked @kb\.query"):
            await carts["a"].call(Cart.peek)
        assert await carts["a"].call(Cart.add, "pot", 1) == 301
        assert len(await carts["a"].history()) == 2


async def test_as_of_gives_the_state_at_each_revision_and_wakes_nobody(store: str) -> None:
    carts = kb.durable(Cart, store=store, snapshot_every_events=2)
    async with kb.Supervisor(carts.child()):
        for item in "abcde":
            await carts["x"].call(Cart.add, item, 1)
        active = carts.statistics().activated
        states = [await carts["x"].as_of(revision) for revision in range(6)]

        assert [CartState(tuple("abcde"[:n]), n) for n in range(6)] == states
        assert active == carts.statistics().activated
        with pytest.raises(kb.NoSuchRevision, match="0 to 5"):
            await carts["x"].as_of(6)


async def test_a_fork_has_the_events_up_to_its_revision_and_goes_its_own_way(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        for item in "abc":
            await carts["x"].call(Cart.add, item, 1)
        assert await carts["x"].fork("y", at=2) == 2
        assert await carts["y"].call(Cart.add, "z", 5) == 7
        assert ("a", "b", "z") == (await carts["y"].call(Cart.look)).items
        assert ("a", "b", "c") == (await carts["x"].call(Cart.look)).items
        with pytest.raises(kb.ActorExists, match="Cart/y"):
            await carts["x"].fork("y")


async def test_a_reply_under_a_request_id_takes_a_revision_without_an_event(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        assert await carts["a"].request("r").call(Cart.nothing) == "nothing"
        await carts["a"].call(Cart.add, "tea", 1)
        assert [(2, Added("tea", 1))] == [(each.revision, each.event) for each in await carts["a"].history()]


class Counting(kb.DurableActor[int]):
    @kb.message
    def add(self, n: int) -> int:
        self.state += n
        return self.state


async def test_a_plain_actor_keeps_its_states_with_history(store: str) -> None:
    counters = kb.durable(Counting, store=store, history=True)
    async with kb.Supervisor(counters.child()):
        for n in (1, 10, 100):
            await counters["c"].call(Counting.add, n)
        assert [0, 1, 11, 111] == [await counters["c"].as_of(n) for n in range(4)]
        assert await counters["c"].fork("d", at=2) == 2
        assert await counters["d"].call(Counting.add, 5) == 16
        assert [1, 11, 16] == [each.event for each in await counters["d"].history()]


class Forking(kb.DurableActor[int]):
    kinds: ClassVar[list[kb.Durable[Any]]]

    @kb.message
    async def add(self, n: int, to: str = "", fails: bool = False) -> int:
        self.state += n
        found = await self.kinds[0][self.key].fork(to) if to else self.state
        if fails:
            raise kb.Refused("no")
        return found

    @kb.query
    def total(self) -> int:
        return self.state


async def test_a_fork_within_a_turn_is_of_what_was_committed_before_and_stays_when_that_fails(
    store: str,
) -> None:
    kind = kb.durable(Forking, store=store, history=True)
    Forking.kinds = [kind]
    async with kb.Supervisor(kind.child()):
        assert 1 == await kind["c"].call(Forking.add, 1)
        assert 1 == await kind["c"].call(Forking.add, 10, "d")
        with pytest.raises(kb.Refused):
            await kind["c"].call(Forking.add, 100, "e", True)

        assert [11, 1, 11] == [await kind[key].call(Forking.total) for key in "cde"]


async def test_a_past_beyond_all_numbers_is_empty_and_of_all_is_all(store: str) -> None:
    counters = kb.durable(Counting, store=store, history=True)
    async with kb.Supervisor(counters.child()):
        await counters["c"].call(Counting.add, 1)
        assert [] == await counters["c"].history(after=2**70)
        assert 1 == len(await counters["c"].history(limit=2**70))
        with pytest.raises(kb.NoSuchRevision, match="0 to 1"):
            await counters["c"].as_of(2**70)


async def test_a_plain_actor_without_history_says_what_to_do(store: str) -> None:
    counters = kb.durable(Counting, store=store)
    async with kb.Supervisor(counters.child()):
        with pytest.raises(kb.UsageError, match="history=True"):
            await counters["c"].as_of(0)


class Listed(kb.EventSourced[list[str]]):
    @kb.message
    def add(self, word: str) -> list[str]:
        self.emit(Added(word, 0))
        if word == "no":
            raise kb.Refused("no")
        return self.state

    @kb.message
    def cheat(self) -> None:
        self.state.append("cheat")

    @kb.event
    @staticmethod
    def added(state: list[str], event: Added) -> list[str]:
        state.append(event.item)
        return state


async def test_a_state_that_can_be_changed_in_place_goes_back_when_refused(store: str) -> None:
    lists = kb.durable(Listed, store=store)
    async with kb.Supervisor(lists.child()):
        await lists["a"].call(Listed.add, "yes")
        with pytest.raises(kb.Refused):
            await lists["a"].call(Listed.add, "no")
        assert ["yes", "more"] == await lists["a"].call(Listed.add, "more")
        with pytest.raises(kb.ActorExited, match="emit an event instead"):
            await lists["a"].call(Listed.cheat)


def test_without_a_runtime_it_is_an_ordinary_object() -> None:
    assert Cart().add("tea", 300) == 300
    assert CartState(("tea",), 300) == Cart.added(CartState(), Added("tea", 300))


def test_folds_are_checked_when_the_class_is_made() -> None:
    with pytest.raises(kb.UsageError, match="both for the event Added"):

        class Two(kb.EventSourced[CartState]):
            one = Cart.__dict__["added"]

            @kb.event
            @staticmethod
            def other(state: CartState, event: Added) -> CartState:
                return state

    with pytest.raises(kb.UsageError, match=r"a msgspec\.Struct or a dataclass"):

        class NoEvent(kb.EventSourced[CartState]):
            @kb.event
            @staticmethod
            def one(state: CartState, event: int) -> CartState:
                return state

    with pytest.raises(kb.UsageError, match="the state of"):

        class OtherState(kb.EventSourced[CartState]):
            @kb.event
            @staticmethod
            def one(state: Added, event: Added) -> Added:
                return state


def test_an_event_without_a_fold_is_refused() -> None:
    class Unknown(msgspec.Struct):
        pass

    with pytest.raises(kb.UsageError, match="no fold for"):
        Cart().emit(Unknown())


def test_kinds_that_cannot_be_are_refused() -> None:
    class Empty(kb.EventSourced[CartState]):
        pass

    with pytest.raises(kb.UsageError, match="has no events"):
        kb.durable(Empty, store="memory://")
    with pytest.raises(kb.UsageError, match="durability"):
        kb.durable(Cart, store="memory://", durability="snapshot")
    with pytest.raises(kb.UsageError, match="leave history away"):
        kb.durable(Cart, store="memory://", history=True)
