"""Durable accounts whose kind runs on several nodes of one program, and tellers on each that call them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import koboshi as kb


class Overdrawn(kb.Refused):
    """The account does not hold so much."""


class Account(kb.DurableActor[int]):
    @kb.message
    def deposit(self, cents: int) -> int:
        self.state += cents
        return self.state

    @kb.message
    def withdraw(self, cents: int) -> int:
        if cents > self.state:
            raise Overdrawn(f"{cents} are more than there are")
        self.state -= cents
        return self.state

    @kb.message
    async def deposit_slowly(self, cents: int, begun: str) -> int:
        Path(begun).write_text("begun\n")  # noqa: ASYNC240 - a line into a pipe
        await asyncio.Event().wait()
        return cents

    @kb.message
    def transfer(self, to: str, cents: int) -> None:
        self.state -= cents
        self.send(made[-1][to], Account.deposit, cents)

    @kb.message
    def move(self, city: str) -> None:
        self.tag(city=city)

    @kb.message
    def crash(self) -> None:
        raise ValueError("broken")

    @kb.query
    def balance(self) -> int:
        return self.state

    @kb.query
    def pid(self) -> int:
        return os.getpid()


# The newest is the one in use: each test has a store of its own.
made: list[kb.Durable[Account]] = []


def bank_at(url: str) -> kb.Durable[Account]:
    made.append(kb.durable(Account, store=url))
    return made[-1]


class Teller(kb.Actor):
    """Calls accounts from the node that it is on; the first one there makes them known."""

    def __init__(self, url: str) -> None:
        self.bank = bank_at(url)

    @kb.message
    async def ask(self, key: str, message: str, *args: Any) -> Any:
        return await self.bank[key].call(getattr(Account, message), *args)

    @kb.message
    async def keys(self) -> list[str]:
        return await self.bank.keys()

    @kb.message
    async def where(self, city: str) -> list[str]:
        return await self.bank.where(city=city)

    @kb.message
    async def put(self, key: str, cents: int) -> None:
        await self.bank[key].put(Account.deposit, cents)

    @kb.message
    def pid(self) -> int:
        return os.getpid()
