"""A program with durable accounts that is killed by the tests: `python bank_program.py URL ACCOUNTS`.

It prints a line for each transfer whose reply it got, and `up` when it can be killed.
"""

from __future__ import annotations

import asyncio
import random
import sys

import msgspec

import koboshi as kb


class Balance(msgspec.Struct, frozen=True):
    cents: int = 1_000
    done: int = 0


class Account(kb.DurableActor[Balance]):
    @kb.message
    def credit(self, cents: int) -> None:
        self.state = Balance(self.state.cents + cents, self.state.done)

    @kb.message
    def transfer(self, to: str, cents: int) -> int:
        if cents > self.state.cents:
            raise kb.Refused("not enough")
        self.state = Balance(self.state.cents - cents, self.state.done + 1)
        self.send(accounts[to], Account.credit, cents)
        return self.state.done

    @kb.query
    def balance(self) -> Balance:
        return self.state


accounts: kb.Durable[Account]


async def main(count: int) -> None:
    keys = [f"k{number}" for number in range(count)]
    chance = random.Random()

    async def one(key: str) -> None:
        while True:
            try:
                done = await accounts[key].call(Account.transfer, chance.choice(keys), chance.randrange(50))
            except kb.Refused:
                continue
            print(key, done, flush=True)

    async with kb.Supervisor(accounts.child()), asyncio.TaskGroup() as group:
        print("up", flush=True)
        for key in keys:
            group.create_task(one(key))


if __name__ == "__main__":
    accounts = kb.durable(Account, store=sys.argv[1])
    asyncio.run(main(int(sys.argv[2])))
