"""Orders: a saga over an inventory and a payment service that fails.

Run it with:  .venv/bin/python examples/orders.py
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import ClassVar

import msgspec

import koboshi as kb


class Order(msgspec.Struct, frozen=True):
    count: int
    cents: int


class Stock(msgspec.Struct):
    left: int = 10
    orders: dict[str, int] = {}


class Inventory(kb.DurableActor[Stock]):
    @kb.message
    def reserve(self, order: str, count: int) -> str:
        if count > self.state.left:
            raise kb.Refused(f"{self.state.left} {self.key} are left, not {count}")
        self.state.left, self.state.orders[order] = self.state.left - count, count
        return order

    @kb.message
    def put_back(self, order: str) -> None:
        self.state.left += self.state.orders.pop(order)

    @kb.query
    def left(self) -> int:
        return self.state.left


class Provider:
    """Loses every second answer, and charges once for a key."""

    calls = 0
    charged: ClassVar[dict[str, int]] = {}

    def charge(self, cents: int) -> str:
        if cents > 5_000:
            raise kb.Refused("the card was declined")
        self.charged.setdefault(kb.step_key(), cents)  # the same key on every retry
        self.calls += 1
        if self.calls % 2:
            raise ConnectionError("the answer got lost")
        return f"{cents} cents"


provider = Provider()


async def put_back(order: str) -> None:
    await inventory["tea"].request(kb.step_key()).call(Inventory.put_back, order)


class Checkout(kb.Saga[Order, str]):
    errors = (kb.Refused,)  # answers, and no failures: not asked again

    async def run(self, order: Order) -> str:
        reserve = kb.exactly_once(inventory["tea"], Inventory.reserve)
        await self.step("reserve", reserve, self.id, order.count, undo=put_back)
        soon = kb.Backoff(0.05, 9.0)
        paid = await self.step("charge", provider.charge, order.cents, retries=3, backoff=soon)
        return f"{order.count} tea for {paid}"


inventory: kb.Durable[Inventory]
ORDERS = {"o-1": Order(3, 900), "o-2": Order(9, 2_700), "o-3": Order(2, 9_000)}


async def main(store: str) -> None:
    checkouts = kb.sagas(Checkout, store=store)
    async with kb.Supervisor(inventory.child(), checkouts.child()):
        for id, order in ORDERS.items():
            saga = await checkouts.start(order, id=id)
            try:
                print(f"{id}: {await saga.result(timeout=30.0)}")
            except kb.SagaFailed as failed:
                print(f"{id}: {failed.detail}")
        print(f"{await inventory['tea'].call(Inventory.left)} tea left; the provider was called", end=" ")
        print(f"{provider.calls} times and charged {sum(provider.charged.values())} cents")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/shop.db"
        inventory = kb.durable(Inventory, store=url)
        asyncio.run(main(url))
