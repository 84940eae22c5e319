"""Accounts as actors: transfers that keep the sum, also when an account crashes in the middle of one.

Run it with:  .venv/bin/python examples/bank.py
"""

from __future__ import annotations

import asyncio
import logging
import random

import koboshi as kb
from koboshi import otp

logging.getLogger("koboshi").setLevel(logging.CRITICAL + 1)  # the crashes are meant

NAMES, EACH, TRANSFERS = [f"account-{n}" for n in range(10)], 1000, 500


class Books(kb.Actor):
    """What lasts: balances, and which movements have been made."""

    def __init__(self) -> None:
        self.balances = dict.fromkeys(NAMES, EACH)
        self.made: set[str] = set()

    @kb.message
    def move(self, id: str, account: str, amount: int) -> bool:
        """Change a balance once for each id; False when it would become negative."""
        if id not in self.made and self.balances[account] + amount >= 0:
            self.balances[account] += amount
            self.made.add(id)
        return id in self.made

    @kb.message
    def total(self) -> int:
        return sum(self.balances.values())


class Account(kb.Actor):
    """Moves money of one account, and crashes now and then, before or after that."""

    def __init__(self, name: str, books: kb.ActorRef[Books]) -> None:
        self.name = name
        self.books = books

    @kb.message
    async def move(self, id: str, amount: int) -> bool:
        trouble = random.random()
        if trouble < 0.05:
            raise RuntimeError("before")
        done = await self.books.call(Books.move, id, self.name, amount)
        if trouble > 0.95:
            raise RuntimeError("after")
        return done


async def surely(tree: kb.Supervisor, account: str, id: str, amount: int) -> bool:
    """Move money, again and again until there is an answer: the id makes a repetition harmless."""
    while True:
        try:
            return await tree.ref(Account, account).call(Account.move, id, amount)
        except kb.CallError:
            await tree.wait_ready()


async def transfer(tree: kb.Supervisor, number: int, between: list[str], amount: int) -> str:
    source, target = between
    if not await surely(tree, source, f"{number}-out", -amount):
        return "refused"
    try:  # once only: a transfer that does not arrive is taken back, as between two banks
        if await tree.ref(Account, target).call(Account.move, f"{number}-in", amount):
            return "made"
    except kb.CallError:
        await tree.wait_ready()
    # It may have arrived all the same: settle that, and take it out again if it is still there.
    await surely(tree, target, f"{number}-in", amount)
    if not await surely(tree, target, f"{number}-undo", -amount):
        return "made"
    await surely(tree, source, f"{number}-back", amount)
    return "taken back"


async def main() -> None:
    random.seed(7)
    async with kb.Supervisor(kb.child(Books).options(id="books"), max_restarts=10_000) as tree:
        books = tree.ref(Books, "books")
        for name in NAMES:
            await tree.start_child(kb.child(Account, name, books).options(id=name))
        tellers = otp.Bulkhead("tellers", limit=20, queue=TRANSFERS)
        jobs = [(n, random.sample(NAMES, 2), random.randint(1, 500)) for n in range(TRANSFERS)]
        results = await asyncio.gather(*(tellers.call(transfer, tree, *job) for job in jobs))
        print(f"{TRANSFERS} transfers, {(await tree.statistics()).restarts} crashes of accounts")
        print("some were", ", some ".join(sorted(set(results))))
        print("the sum is", await books.call(Books.total), "of", len(NAMES) * EACH)


if __name__ == "__main__":
    kb.run(main)
