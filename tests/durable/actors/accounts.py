"""The durable actors that most of these tests use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

import koboshi as kb


class Balance(msgspec.Struct, frozen=True):
    cents: int = 0


class Overdrawn(kb.Refused):
    """The account does not hold so much."""


class Account(kb.DurableActor[Balance]):
    """A balance; `bank` is the kind that it belongs to."""

    def __init__(self, bank: Bank | None = None) -> None:
        self.bank = bank

    @kb.message
    def deposit(self, cents: int) -> int:
        self.state = Balance(self.state.cents + cents)
        return self.state.cents

    @kb.message
    def withdraw(self, cents: int) -> int:
        self.state = Balance(self.state.cents - cents)
        if self.state.cents < 0:
            raise Overdrawn(f"{cents} cents are more than there are")
        return self.state.cents

    @kb.message
    def transfer(self, to: str, cents: int) -> None:
        assert self.bank is not None
        self.withdraw(cents)
        self.send(self.bank[to], Account.deposit, cents)

    @kb.message
    async def deposit_slowly(self, cents: int, until: asyncio.Event) -> int:
        self.state = Balance(self.state.cents + cents)
        await until.wait()
        return self.state.cents

    @kb.message
    def break_after(self, cents: int) -> None:
        self.state = Balance(self.state.cents + cents)
        raise ValueError("broken")

    @kb.query
    def balance(self) -> int:
        return self.state.cents

    @kb.query
    def wrong_query(self) -> int:
        self.state = Balance(7)
        return 7

    @kb.message
    def label(self, city: str) -> None:
        self.tag(city=city)


Bank = kb.Durable[Account]


def bank_of(store: Any, **options: Any) -> Bank:
    """A bank whose accounts can send to each other."""
    spec: kb.ChildSpec[Account] = kb.child(Account)
    bank = kb.durable(spec, store=store, **options)
    bank._definition.kwargs["bank"] = bank
    return bank


@dataclass
class Notes:
    """A state that is changed in place."""

    lines: list[str] = field(default_factory=list)


class Diary(kb.DurableActor[Notes]):
    @kb.message
    def add(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)

    @kb.message
    def add_and_break(self, line: str) -> int:
        self.state.lines.append(line)
        raise ValueError("broken")

    @kb.message
    def add_and_refuse(self, line: str) -> int:
        self.state.lines.append(line)
        raise kb.Refused("no")

    @kb.query
    def lines(self) -> list[str]:
        return self.state.lines
