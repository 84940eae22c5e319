"""Events and projections on database servers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import koboshi as kb
from koboshi.durable.stores import engine_of

from .carts import Cart, CartState
from .totals import Portable, Sales, Sold


@pytest.mark.slow
class ServerContract:
    """What holds on each database server."""

    async def test_events_snapshots_and_the_past_are_kept_by_a_server(self, server: str) -> None:
        carts = kb.durable(Cart, store=server, snapshot_every_events=3)
        async with kb.Supervisor(carts.child()):
            for item in "abcd":
                await carts["x"].call(Cart.add, item, 1)
            await carts["x"].call(Cart.add_all, ["m"] * 3)
            assert await carts["x"].fork("y", at=2) == 2
        async with kb.Supervisor(carts.child()):
            assert CartState((*"abcd", "m", "m", "m"), 7) == await carts["x"].call(Cart.look)
            assert CartState(("a", "b"), 2) == await carts["y"].call(Cart.look)
            assert CartState(tuple("abcd"), 4) == await carts["x"].as_of(4)
            with pytest.raises(kb.ActorExists):
                await carts["x"].fork("y")

    async def test_projections_follow_and_are_made_again_on_a_server(self, server: str) -> None:
        carts = kb.durable(Cart, store=server)
        cents = kb.projection(Portable, of=carts, batch=2)
        sales = kb.projection(Sales, of=carts)
        async with kb.Supervisor(carts.child(), cents.child(), sales.child()):
            for key in "aab":
                await carts[key].call(Cart.add, "tea", 300)
            for _ in range(2):
                await cents.wait_for()
                await sales.wait_for()
                found: Any = await cents._kind("a test").store.read(
                    lambda session: session.execute("SELECT cart, cents FROM cart_cents ORDER BY cart", {})
                )
                assert [("a", 600), ("b", 300)] == [tuple(row) for row in found]
                assert await sales.call(Sales.sold) == Sold(3, 900)
                await cents.rebuild()
                await sales.rebuild()

    async def test_of_two_programs_that_rebuild_at_once_one_does_on_a_server(self, server: str) -> None:
        programs = []
        for _ in range(2):
            carts = kb.durable(Cart, store=lambda: engine_of(server))
            programs.append((carts, kb.projection(Portable, of=carts, poll=0.02, batch=2)))
        (carts, one), (others, other) = programs
        async with kb.Supervisor(carts.child(), one.child()), kb.Supervisor(others.child(), other.child()):
            await carts["a"].call(Cart.add_all, list("abcde"))
            for count in range(5, 8):
                await asyncio.gather(*(each.wait_for(carts["a"], timeout=30.0) for each in (one, other)))
                found = await asyncio.gather(one.rebuild(), other.rebuild(), return_exceptions=True)
                assert None in found
                for each in found:
                    assert each is None or "another program has begun to make the projection" in str(each)
                rows: Any = await one._kind("a test").store.read(
                    lambda session: session.execute("SELECT cart, cents FROM cart_cents", {})
                )
                assert [("a", count)] == [tuple(row) for row in rows]
                await carts["a"].call(Cart.add, "more", 1)

    async def test_a_synchronous_projection_is_in_the_turn_on_a_server(self, server: str) -> None:
        carts = kb.durable(Cart, store=server)
        cents = kb.projection(Portable, of=carts, sync=True)
        async with kb.Supervisor(cents.child(), carts.child()):
            for total in (300, 600):
                await carts["a"].call(Cart.add, "tea", 300)
                found: Any = await cents._kind("a test").store.read(
                    lambda session: session.execute("SELECT cart, cents FROM cart_cents", {})
                )
                assert [("a", total)] == [tuple(row) for row in found]


class TestPostgres(ServerContract):
    @pytest.fixture
    def server(self, postgres_url: str) -> str:
        return postgres_url


class TestMariadb(ServerContract):
    @pytest.fixture
    def server(self, mariadb_url: str) -> str:
        return mariadb_url
