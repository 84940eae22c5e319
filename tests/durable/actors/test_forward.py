"""A turn that hands its reply to another actor, or its result on to one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.durable.changes import delivered

import koboshi as kb

from .test_fence import rows


class Stock(kb.DurableActor[int]):
    broken: ClassVar[bool] = False

    @kb.message
    def take(self, count: int) -> int:
        if self.broken:
            raise ValueError("no hands")
        if count > 100:
            raise kb.Refused("so many there never are")
        self.state += count
        return self.state

    @kb.query
    def taken(self) -> int:
        return self.state


class Shop(kb.DurableActor[int]):
    shops: ClassVar[kb.Durable[Shop]]
    stocks: ClassVar[kb.Durable[Stock]]

    @kb.message
    def order(self, count: int) -> int:
        self.state += 1
        return self.forward(self.stocks["s"], Stock.take, count)

    @kb.message
    def order_far(self, count: int) -> int:
        return self.forward(self.shops["other"], Shop.order, count)

    @kb.message
    def order_in_a_circle(self, far: bool) -> int:
        self.state += 1
        to = self.shops["a" if self.key == "b" else "b"]
        if far:
            return self.forward(to, Shop.order_in_a_circle, False)
        return self.forward(to, Shop.order, 1)

    @kb.message
    def forget_to_return(self) -> int:
        self.forward(self.stocks["s"], Stock.take, 1)
        return 7

    @kb.message
    def forward_a_query(self) -> int:
        return self.forward(self.stocks["s"], Stock.taken)

    @kb.message
    def sell(self, count: int) -> int:
        self.state += count
        return self.pipe(self.state, self.stocks["log"], Stock.take)

    @kb.query
    def orders(self) -> int:
        return self.state


def shop(store: str, **options: Any) -> tuple[kb.Durable[Shop], kb.Durable[Stock]]:
    Shop.stocks = kb.durable(Stock, store=store, **options)
    Shop.shops = kb.durable(Shop, store=store)
    Stock.broken = False
    return Shop.shops, Shop.stocks


async def forwarded(store: str) -> None:
    shops, stocks = shop(store)

    async with kb.Supervisor(shops.child(), stocks.child()):
        assert 5 == await shops["a"].call(Shop.order, 5)
        assert [6, 7, 8] == sorted(await asyncio.gather(*(shops[key].call(Shop.order, 1) for key in "abc")))
        # Asked again it is the same reply, also of two at once and over more than one actor.
        assert [9, 9] == await asyncio.gather(*(shops["a"].request("x").call(Shop.order, 1) for _ in "12"))
        assert 9 == await shops["a"].request("x").call(Shop.order, 1)
        for _ in range(2):
            assert 10 == await shops["far"].request("x").call(Shop.order_far, 1)
        assert 11 == await shops["a"].request("y").call(Shop.order_in_a_circle, True)

        assert 11 == await stocks["s"].call(Stock.taken)


async def test_the_reply_of_a_forwarded_turn_is_its_targets_and_is_made_once(store: str) -> None:
    await forwarded(store)


async def test_the_reply_of_a_forwarded_turn_is_its_targets_on_postgres(postgres_url: str) -> None:
    await forwarded(postgres_url)


async def test_a_forwarded_reply_is_found_by_who_asks_again_after_a_restart(url: str, file: Path) -> None:
    shops, stocks = shop(url)
    async with kb.Supervisor(shops.child(), stocks.child()):
        assert 5 == await shops["a"].request("x").call(Shop.order, 5)
    assert [] == rows(file, "SELECT source FROM kb_outbox")

    async with kb.Supervisor(shops.child(), stocks.child()):
        assert 5 == await shops["a"].request("x").call(Shop.order, 5)
        assert 1 == await shops["a"].call(Shop.orders)


async def test_what_was_forwarded_before_a_crash_is_handled_and_answers_who_asks_again(
    url: str, file: Path
) -> None:
    shops, stocks = shop(url)
    async with kb.Supervisor(shops.child()):
        # The target's kind does not run here yet.
        with pytest.raises(kb.CallTimeout):
            await shops["a"].within(0.2).request("x").call(Shop.order, 5)
    assert [("put/Stock/s/x>",)] == rows(file, "SELECT source FROM kb_outbox")

    async with kb.Supervisor(shops.child(), stocks.child()):
        assert 5 == await shops["a"].request("x").call(Shop.order, 5)
        assert 5 == await stocks["s"].call(Stock.taken)
        assert 1 == await shops["a"].call(Shop.orders)


async def test_a_target_that_refuses_or_fails_for_good_is_told_as_refused(store: str) -> None:
    shops, stocks = shop(store, max_attempts=1)

    async with kb.Supervisor(shops.child(), stocks.child()):
        with pytest.raises(kb.Refused, match="so many there never are"):
            await shops["a"].call(Shop.order, 101)
        Stock.broken = True
        with pytest.raises(kb.Refused, match="ValueError: no hands"):
            await shops["a"].call(Shop.order, 1)
        Stock.broken = False

        assert 1 == await shops["a"].call(Shop.order, 1)


async def test_a_forward_must_be_returned_and_is_no_query(store: str) -> None:
    shops, stocks = shop(store)

    async with kb.Supervisor(shops.child(), stocks.child()):
        for message, text in (
            (Shop.forget_to_return, "return what"),
            (Shop.forward_a_query, "is a query"),
        ):
            with pytest.raises(kb.ActorExited) as caught:
                await shops["a"].call(message)
            assert text in str(caught.value.__cause__)
        with pytest.raises(kb.UsageError, match="is a query"):
            await stocks["s"].put(Stock.taken)

        assert 0 == await stocks["s"].call(Stock.taken)


async def test_the_result_of_a_turn_is_piped_on_and_given_back(store: str) -> None:
    shops, stocks = shop(store)

    async with kb.Supervisor(shops.child(), stocks.child()):
        assert 3 == await shops["a"].call(Shop.sell, 3)
        await delivered(stocks)
        assert 3 == await stocks["log"].call(Stock.taken)


async def test_a_turn_cannot_send_to_an_actor_of_another_store(tmp_path: Path) -> None:
    shops, _ = shop(f"sqlite:///{tmp_path}/app.db")
    Shop.stocks = kb.durable(Stock, store=f"memory://{tmp_path.name}")

    async with kb.Supervisor(shops.child()):
        with pytest.raises(kb.ActorExited) as caught:
            await shops["a"].call(Shop.sell, 1)

        assert "both need one store" in str(caught.value.__cause__)


class Fragile(kb.DurableActor[list[Any]]):
    @kb.message
    def add(self, what: str) -> None:
        self.state = [*self.state, object() if what == "poison" else what]

    @kb.query
    def seen(self) -> list[str]:
        return self.state


async def test_a_message_whose_state_cannot_be_stored_is_a_dead_letter_and_the_next_is_handled(
    url: str, file: Path
) -> None:
    fragile = kb.durable(Fragile, store=url, max_attempts=2)

    async with kb.Supervisor(fragile.child()):
        for what in ("one", "poison", "two"):
            await fragile["f"].put(Fragile.add, what)
        await delivered(fragile)

        assert 1 == fragile.statistics().dead_letters
        assert ["one", "two"] == sorted(await fragile["f"].call(Fragile.seen))
    [(state, attempts, report)] = rows(file, "SELECT state, attempts, report FROM kb_outbox")
    assert ("dead", 2) == (state, attempts)
    assert "the state of Fragile/f cannot be stored: Encoding objects of type object" in report


class Payer(kb.DurableActor[int]):
    keys: ClassVar[list[str]]
    failures: ClassVar[int]

    @kb.message
    async def pay(self) -> None:
        self.keys.append(self.message_id)
        if len(self.keys) <= self.failures:
            raise ConnectionError("no answer")
        self.state += 1

    @kb.message
    def pay_later(self) -> None:
        self.send(payers[0][self.key], Payer.pay)

    @kb.query
    def paid(self) -> int:
        return self.state


payers: list[kb.Durable[Payer]] = []


async def test_a_message_has_the_same_id_each_time_it_is_tried(store: str) -> None:
    payers[:] = [kb.durable(Payer, store=store)]
    Payer.failures = 2

    async with kb.Supervisor(payers[0].child()):
        for send in (
            lambda ref: ref.put(Payer.pay),
            lambda ref: ref.request("x").put(Payer.pay),
            lambda ref: ref.call(Payer.pay_later),
        ):
            Payer.keys = []
            before = await payers[0]["p"].call(Payer.paid)
            await send(payers[0]["p"])
            await delivered(payers[0])

            assert before + 1 == await payers[0]["p"].call(Payer.paid)
            assert 3 == len(Payer.keys)
            assert 1 == len(set(Payer.keys))
        with pytest.raises(kb.ActorExited) as caught:
            await payers[0]["p"].call(Payer.pay)
        assert "nobody repeats it" in str(caught.value.__cause__)
