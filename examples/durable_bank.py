"""Accounts that survive kill -9: a bank is killed again and again, and no cent is made or lost.

Run it with:  .venv/bin/python examples/durable_bank.py

A transfer is a turn of the account that pays: its new balance and the message to the other account are one
transaction. The bank is a program of its own; this one kills it at random moments and counts at the end.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

import koboshi as kb

KEYS = [f"account-{number}" for number in range(10)]


class Balance(msgspec.Struct, frozen=True):
    cents: int = 1_000
    payments: int = 0


class Account(kb.DurableActor[Balance]):
    @kb.message
    def receive(self, cents: int) -> None:
        self.state = Balance(self.state.cents + cents, self.state.payments)

    @kb.message
    def pay(self, to: str, cents: int) -> int:
        if cents > self.state.cents:
            raise kb.Refused(f"{self.key} holds {self.state.cents} cents, not {cents}")
        self.state = Balance(self.state.cents - cents, self.state.payments + 1)
        self.send(accounts[to], Account.receive, cents)
        return self.state.payments

    @kb.query
    def balance(self) -> Balance:
        return self.state


accounts: kb.Durable[Account]


async def bank() -> None:
    async def customer(key: str) -> None:
        while True:
            with suppress(kb.Refused):
                print(key, await accounts[key].call(Account.pay, random.choice(KEYS), 7), flush=True)

    async with kb.Supervisor(accounts.child()), asyncio.TaskGroup() as group:
        for key in KEYS:
            group.create_task(customer(key))


async def killed(store: str, payments: int, seen: dict[str, int]) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, __file__, store, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    while line := await program.stdout.readline():
        if line.endswith(b"\n"):
            key, count = line.decode().split()
            seen[key], payments = int(count), payments - 1
        if payments == 0:
            program.send_signal(signal.SIGKILL)
    await program.wait()


async def main(store: str) -> None:
    seen: dict[str, int] = {}
    for _ in range(5):
        await killed(store, random.randrange(50, 300), seen)
    async with kb.Supervisor(accounts.child()):
        total = 0
        while total != 1_000 * len(KEYS):  # payments that were on their way are delivered now
            await asyncio.sleep(0.05)
            found = {key: await accounts[key].call(Account.balance) for key in KEYS}
            total = sum(balance.cents for balance in found.values())
    lost = sum(max(0, seen.get(key, 0) - found[key].payments) for key in KEYS)
    print(f"5 kills, {sum(seen.values())} payments acknowledged, {lost} lost, the sum is {total} of {total}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        accounts = kb.durable(Account, store=sys.argv[1])
        asyncio.run(bank())
    else:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder)}/bank.db"
            accounts = kb.durable(Account, store=url)
            asyncio.run(main(url))
