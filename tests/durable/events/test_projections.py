"""Projections: in the turn's transaction, or after it by the order of commits, each event once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import koboshi as kb
from koboshi.durable.stores import SqliteEngine

from .carts import Added, Cart, CartState
from .totals import Sales, Sold, Totals

Rows = list[tuple[str, int, int]]


async def rows_of(totals: kb.Projecting[Totals], table: str = "cart_totals") -> Rows:
    """What is in the table, as the program's own store sees it."""
    text = f"SELECT cart, cents, events FROM {table} ORDER BY cart"
    found: Any = await totals._kind("a test").store.read(lambda session: session.execute(text, {}))
    return [tuple(row) for row in found]


async def test_a_synchronous_projection_is_there_when_the_reply_is(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    totals = kb.projection(Totals, of=carts, sync=True)
    async with kb.Supervisor(totals.child(), carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        assert await rows_of(totals) == [("a", 300, 1)]
        await carts["a"].call(Cart.add_all, ["x", "y"])
        assert await rows_of(totals) == [("a", 302, 3)]
        assert await totals.lag() == 0


async def test_an_event_that_a_synchronous_projection_cannot_take_is_not_recorded(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    totals = kb.projection(Totals, of=carts, sync=True)
    async with kb.Supervisor(totals.child(), carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        with pytest.raises(ValueError, match="cannot take poison"):
            await carts["a"].call(Cart.add, "poison", 1)
        assert CartState(("tea",), 300) == await carts["a"].call(Cart.look)
        assert await rows_of(totals) == [("a", 300, 1)]


async def test_an_asynchronous_projection_follows_and_a_reader_can_wait_for_its_own_write(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    totals = kb.projection(Totals, of=carts, poll=60.0)
    sales = kb.projection(Sales, of=[carts], poll=60.0)
    async with kb.Supervisor(carts.child(), totals.child(), sales.child()):
        for key in "abc":
            await carts[key].call(Cart.add, "tea", 300)
        await carts["b"].call(Cart.clear)
        await totals.wait_for(carts["b"])
        await sales.wait_for(await carts["b"].place())

        assert await rows_of(totals) == [("a", 300, 1), ("b", 0, 2), ("c", 300, 1)]
        assert await sales.call(Sales.sold) == Sold(3, 900)
        assert await totals.lag() == 0


async def test_it_goes_on_where_it_was_when_it_is_started_again(path: str) -> None:
    carts = kb.durable(Cart, store=f"sqlite:///{path}")
    totals = kb.projection(Totals, of=carts, batch=2)
    sales = kb.projection(Sales, of=carts, batch=3)
    for total in range(1, 4):
        async with kb.Supervisor(carts.child()):
            await carts["a"].call(Cart.add_all, list("abcde"))
        async with kb.Supervisor(carts.child(), totals.child(), sales.child()):
            await totals.wait_for()
            await sales.wait_for()
            assert await rows_of(totals) == [("a", 5 * total, 5 * total)]
            assert await sales.call(Sales.sold) == Sold(5 * total, 5 * total)


async def test_a_poison_event_stops_its_projection_only_and_can_be_skipped(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    totals = kb.projection(Totals, of=carts, max_attempts=2, backoff=0.001, poll=0.01)
    sales = kb.projection(Sales, of=carts)
    async with kb.Supervisor(carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        await carts["a"].call(Cart.add, "poison", 1)
        place = await carts["a"].place()
        await carts["b"].call(Cart.add, "pot", 20)
        async with kb.Supervisor(totals.child(), sales.child()):
            await sales.wait_for()
            with pytest.raises(TimeoutError):
                await totals.wait_for(timeout=0.3)
            status = totals.status()
            assert ("stopped", place, 2) == (status.state, status.stopped_at, status.attempts)
            assert "cannot take poison" in str(status.report)
            assert await rows_of(totals) == [("a", 300, 1)]
            assert await sales.call(Sales.sold) == Sold(3, 321)
            assert await totals.skip() is True
            await totals.wait_for()
            assert await rows_of(totals) == [("a", 300, 1), ("b", 20, 1)]
            assert await totals.skip() is False


@pytest.mark.parametrize("sync", [False, True])
async def test_a_rebuild_takes_the_place_of_what_was_there(store: str, sync: bool) -> None:
    carts = kb.durable(Cart, store=store)
    totals = kb.projection(Totals, of=carts, sync=sync, batch=2)
    async with kb.Supervisor(totals.child(), carts.child()):
        await carts["a"].call(Cart.add_all, list("abcde"))
        await carts["b"].call(Cart.add, "tea", 300)
        await totals.wait_for()
        text = "UPDATE cart_totals SET cents = -1"
        await totals._kind("a test").store.change(lambda session: session.execute(text, {}))
        await totals.rebuild()
        assert await rows_of(totals) == [("a", 5, 5), ("b", 300, 1)]

        await carts["b"].call(Cart.add, "pot", 20)
        await totals.wait_for()
        assert await rows_of(totals) == [("a", 5, 5), ("b", 320, 2)]
        await totals.rebuild()
        assert await rows_of(totals) == [("a", 5, 5), ("b", 320, 2)]


async def test_a_rebuild_makes_a_state_again(path: str, sql: Callable[..., Any]) -> None:
    carts = kb.durable(Cart, store=f"sqlite:///{path}")
    sales = kb.projection(Sales, of=carts)
    async with kb.Supervisor(carts.child(), sales.child()):
        await carts["a"].call(Cart.add_all, list("abcde"))
        await sales.wait_for()
        await sales.rebuild()
        assert await sales.call(Sales.sold) == Sold(5, 5)
        await carts["a"].call(Cart.add, "tea", 300)
        await sales.wait_for()
        assert await sales.call(Sales.sold) == Sold(6, 305)
    async with kb.Supervisor(carts.child(), sales.child()):
        assert await sales.call(Sales.sold) == Sold(6, 305)


async def test_an_event_that_cannot_be_applied_ends_the_rebuild_and_the_old_one_stays(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    totals = kb.projection(Totals, of=carts, max_attempts=1, backoff=0.001, poll=0.01)
    async with kb.Supervisor(carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        async with kb.Supervisor(totals.child()):
            await totals.wait_for()
            await carts["a"].call(Cart.add, "poison", 1)
            with pytest.raises(kb.UsageError, match="cannot take poison"):
                await totals.rebuild()
            assert await rows_of(totals) == [("a", 300, 1)]


def test_projections_that_cannot_be_are_refused() -> None:
    carts = kb.durable(Cart, store="memory://")
    with pytest.raises(kb.UsageError, match="changes a state of its own"):
        kb.projection(Sales, of=carts, sync=True)

    class Nothing(kb.Projection[None]):
        pass

    with pytest.raises(kb.UsageError, match="handles no event"):
        kb.projection(Nothing, of=carts)
    with pytest.raises(kb.UsageError, match="both for Added"):

        class Twice(kb.Projection[None]):
            @kb.on
            def one(self, event: Added) -> None: ...

            @kb.on
            def two(self, event: Added) -> None: ...


@pytest.mark.slow
async def test_a_program_that_does_not_run_it_sees_how_far_it_is_and_can_have_it_made_again(
    path: str,
) -> None:
    programs = []
    for _ in range(2):
        carts = kb.durable(Cart, store=lambda: SqliteEngine(path))
        programs.append((carts, kb.projection(Totals, of=carts, poll=0.02)))
    (carts, totals), (others, elsewhere) = programs
    async with kb.Supervisor(totals.child(), carts.child()):
        await carts["a"].call(Cart.add, "tea", 300)
        await totals.wait_for()
        async with kb.Supervisor(elsewhere.child(), others.child()):
            await others["b"].call(Cart.add, "pot", 20)
            await elsewhere.wait_for(others["b"], timeout=30.0)
            await totals.wait_for(others["b"], timeout=30.0)
            assert [("a", 300, 1), ("b", 20, 1)] == await rows_of(elsewhere)

            text = "UPDATE cart_totals SET cents = -1"
            await totals._kind("a test").store.change(lambda session: session.execute(text, {}))
            # One that it has to apply while the first program has it.
            await others["b"].call(Cart.add, "pot", 20)
            async with asyncio.timeout(30.0):
                await elsewhere.rebuild()
            await others["b"].call(Cart.add, "pot", 20)
            await elsewhere.wait_for(others["b"], timeout=30.0)
            assert [("a", 300, 1), ("b", 60, 3)] == await rows_of(totals)


def program(path: str) -> tuple[kb.Durable[Cart], kb.Projecting[Any], kb.Projecting[Any]]:
    carts = kb.durable(Cart, store=lambda: SqliteEngine(path))
    return (
        carts,
        kb.projection(Totals, of=carts, poll=0.02, batch=2),
        kb.projection(Sales, of=carts, poll=0.02),
    )


async def test_two_rebuilds_in_one_program_follow_each_other(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    sales, totals = kb.projection(Sales, of=carts), kb.projection(Totals, of=carts, batch=2)
    async with kb.Supervisor(carts.child(), sales.child(), totals.child()):
        await carts["a"].call(Cart.add_all, list("abcde"))
        await asyncio.gather(*(each.rebuild() for each in (sales, totals, sales, totals)))
        assert [("a", 5, 5)] == await rows_of(totals)
        assert Sold(5, 5) == await sales.call(Sales.sold)


async def rebuilt(projection: kb.Projecting[Any]) -> str:
    """What a rebuild comes to."""
    try:
        await projection.rebuild()
    except kb.UsageError as error:
        return str(error)
    return "done"


def before(patch: pytest.MonkeyPatch, store: Any, number: int, do: Callable[[], Any]) -> Callable[[], bool]:
    """Have something done before the n-th thing that this task asks a store for; whether it was done."""
    here, count = asyncio.current_task(), 0

    def counted(ask: Callable[..., Any]) -> Callable[..., Any]:
        async def asked(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += asyncio.current_task() is here
            if count == number:
                count += 1
                await do()
            return await ask(*args, **options)

        return asked

    for name in ("change", "read"):
        patch.setattr(store, name, counted(getattr(store, name)))
    return lambda: count > number


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("which", ["totals", "sales"])
async def test_of_two_programs_that_rebuild_the_one_that_began_first_is_told_of_the_other(
    path: str, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """The second one does all of it before the n-th thing that the first one asks its store for."""
    (carts, *mine), (others, *theirs) = program(path), program(path)
    first, second = (each[which == "sales"] for each in (mine, theirs))
    outcomes: list[str] = []
    async with kb.Supervisor(carts.child(), first.child()), kb.Supervisor(others.child(), second.child()):
        await carts["a"].call(Cart.add_all, list("abcde"))
        await first.wait_for(carts["a"], timeout=30.0)
        for number in range(1, 100):
            with monkeypatch.context() as patch:
                was_done = before(patch, first._kind("a test").store, number, second.rebuild)
                outcomes.append(await rebuilt(first))
            await carts["a"].call(Cart.add, "more", 1)
            for each in (first, second):
                await each.wait_for(carts["a"], timeout=30.0)
            count = 5 + number
            if which == "totals":
                assert [("a", count, count)] == await rows_of(first)
            else:
                [owner] = [each for each in (first, second) if "live" in each._kind("a test").active]
                assert Sold(count, count) == await owner.call(Sales.sold)
            if not was_done():
                break

    # Before it has begun, and after it has ended, the other one is in nobody's way.
    assert "done" == outcomes[0] == outcomes[-1]
    replaced = {each for each in outcomes if each != "done"}
    assert 1 == len(replaced)
    assert "another program has begun to make the projection" in replaced.pop()
