"""Messages that are called as methods, and events that are given as classes: the error says what to write."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

import koboshi as kb


class Counter(kb.Actor):
    def __init__(self) -> None:
        self.count = 0

    @kb.message
    def add(self, by: int) -> int:
        self.count += by
        return self.count


class Account(kb.DurableActor[int]):
    @kb.message
    def deposit(self, cents: int) -> int:
        self.state += cents
        return self.state


class Paid(msgspec.Struct, frozen=True):
    cents: int = 0


class Till(kb.EventSourced[int]):
    @kb.event
    def paid(state: int, event: Paid) -> int:
        return state + event.cents

    @kb.message
    def pay(self, event: Any) -> None:
        self.emit(event)


def said(address: Any, name: str) -> str:
    with pytest.raises(AttributeError) as caught:
        getattr(address, name)
    assert name == caught.value.name
    return str(caught.value)


async def test_a_message_is_no_method_of_an_address() -> None:
    async with kb.Supervisor(kb.child(Counter)) as tree:
        ref = tree.ref(Counter, "Counter")
        assert "Counter.add is a message, call it by that: await ref.call(Counter.add, ...)" == said(
            ref, "add"
        )
        assert "'ActorRef' object has no attribute 'ad'" == said(ref, "ad")
        assert not hasattr(ref, "add")
        assert 1 == await ref.call(Counter.add, 1)


async def test_a_message_is_no_method_of_a_durable_address() -> None:
    accounts = kb.durable(Account, store="memory://")
    ref = accounts["a"]
    text = "Account.deposit is a message, call it by that: await ref.call(Account.deposit, ...)"
    assert text == said(ref, "deposit")
    assert text == said(ref.request("x"), "deposit")
    assert "'DurableRef' object has no attribute 'sum'" == said(ref, "sum")
    assert ref == copy.copy(ref)


async def test_a_kind_is_no_address() -> None:
    accounts = kb.durable(Account, store="memory://")
    for name in ("call", "put", "within"):
        text = f"<Durable Account> has no {name}, an actor of it has: kind['key'].{name}(...)"
        assert text == said(accounts, name)
    text = "Account.deposit is a message, call it by that: await kind['key'].call(Account.deposit, ...)"
    assert text == said(accounts, "deposit")
    assert "'Durable' object has no attribute 'sum'" == said(accounts, "sum")
    pooled = kb.durable(Account, store="memory://", type="Clerk", pooled=2)
    assert "<Durable Clerk> has no call, an actor of it has: kind.any.call(...)" == said(pooled, "call")
    assert accounts["a"] == copy.copy(accounts)["a"]


async def test_the_class_of_an_event_is_no_event() -> None:
    tills = kb.durable(Till, store="memory://tills")
    async with kb.Supervisor(tills.child()):
        with pytest.raises(kb.ActorExited) as caught:
            await tills["a"].call(Till.pay, Paid)
        assert isinstance(caught.value.__cause__, kb.UsageError)
        assert "emit an event, Paid(...), not the class" == str(caught.value.__cause__)
        await tills["a"].call(Till.pay, Paid(5))
