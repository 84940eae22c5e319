"""A correct event-sourced program: both checkers must find nothing, and know each type exactly."""

from __future__ import annotations

from typing import Any, assert_type

import msgspec

import koboshi as kb


class Cart(msgspec.Struct, frozen=True):
    cents: int = 0


class Added(msgspec.Struct, frozen=True):
    cents: int


class Shopping(kb.EventSourced[Cart]):
    @kb.message
    def add(self, cents: int) -> int:
        self.emit(Added(cents))
        assert_type(self.state, Cart)
        return self.state.cents

    @kb.event
    @staticmethod
    def added(state: Cart, event: Added) -> Cart:
        return Cart(state.cents + event.cents)


class Total(msgspec.Struct, frozen=True):
    cents: int = 0


class Revenue(kb.Projection[Total]):
    @kb.on
    def added(self, event: Added) -> None:
        self.state = Total(self.state.cents + event.cents)

    @kb.query
    def total(self) -> Total:
        return self.state


class Rows(kb.Projection[None]):
    @kb.on
    @staticmethod
    def added(tx: kb.Transaction, event: Added) -> None:
        assert_type(tx.source, kb.Source)
        assert_type(tx.execute("SELECT :cents", cents=event.cents), list[tuple[Any, ...]])


carts = kb.durable(Shopping, store="memory://")
revenue = kb.projection(Revenue, of=carts)
rows = kb.projection(Rows, of=[carts], sync=True)


async def main() -> None:
    async with kb.Supervisor(rows.child(), carts.child(), revenue.child()):
        assert_type(await carts["a"].call(Shopping.add, 5), int)
        assert_type(await carts["a"].as_of(1), Cart)
        assert_type(await carts["a"].history(), list[kb.Recorded])
        assert_type(await carts["a"].fork("b", at=1), int)
        await revenue.wait_for(carts["a"])
        assert_type(await revenue.call(Revenue.total), Total)
        assert_type(await revenue.lag(), int)
        assert_type(revenue.status(), kb.ProjectionStatus)
        assert_type(Shopping.added(Cart(), Added(1)), Cart)
