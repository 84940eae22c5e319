"""The client of a run: asks the hosts for transfers and reminders, and writes down what it hears."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.chaos.checker import is_settled
from tests.chaos.fleet import Fleet, Host, HostGone, NoReply
from tests.chaos.history import Entry, History, Kept, Operation

__all__ = ["Client"]

OPENED = 1_000
# Seconds after the last fault in which all must have come to rest.
LIVENESS = 40.0


class Client:
    """One round: accounts of its own, and one worker for each.

    Args:
        chance: of what the workers ask for.
    """

    def __init__(self, fleet: Fleet, name: str, accounts: int, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self.accounts = [f"{name}-{number}" for number in range(accounts)]
        self.history = History()
        # Who answered for an account the last time.
        self._homes: dict[str, Host] = {}
        self._over = False
        self._hopeless = False

    async def run(self, faults: Any) -> None:
        """Ask, until the faults are over and every reply that must come has come."""
        workers = [asyncio.create_task(self._work(name)) for name in self.accounts]
        try:
            await faults
            self._over = True
            _, late = await asyncio.wait(workers, timeout=LIVENESS)
            self._hopeless = bool(late)
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def observe(self) -> dict[str, Kept]:
        """What the accounts are when nothing is under way any more, or when it is too late for that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LIVENESS
        while True:
            kept = {name: await self._kept(name, deadline) for name in self.accounts}
            if is_settled(kept) or loop.time() > deadline:
                return kept
            await asyncio.sleep(0.2)

    async def _kept(self, name: str, deadline: float) -> Kept:
        while True:
            reply = await self.ask(name, {"do": "look"})
            if reply is not None and "ok" in reply:
                cents, revision, entries = reply["ok"]
                return Kept(cents, revision, tuple(Entry(*each) for each in entries))
            if asyncio.get_running_loop().time() > deadline:
                self.history.stuck.add(f"a look at {name}")
                return Kept(0, 0, ())
            await asyncio.sleep(0.05)

    # -- one account -------------------------------------------------------------------------------

    async def _work(self, name: str) -> None:
        number = 0
        opening = Operation(f"{name}.open", name, "open", cents=OPENED)
        await self._perform(opening, "request")
        while not self._over:
            number += 1
            operation, how = self._next(name, f"{name}.{number}")
            await self._perform(operation, how)
            await asyncio.sleep(self._chance.random() * 0.02)

    def _next(self, name: str, id: str) -> tuple[Operation, str]:
        kind = self._chance.random()
        if kind < 0.1:
            how = self._chance.choice(("put", "request", "call"))
            return Operation(id, name, "note", posted=how == "put"), how
        other = self._chance.choice([each for each in self.accounts if each != name])
        # Now and then more than anybody has.
        cents = 10 * OPENED * len(self.accounts) if kind > 0.98 else self._chance.randrange(1, 50)
        return Operation(id, name, "out", other, cents), "call" if kind < 0.3 else "request"

    async def _perform(self, operation: Operation, how: str) -> None:
        """Ask until there is an answer; what has no id can be asked for only once."""
        history, attempts = self.history, 0
        history.ask(operation)
        command = {
            "do": operation.what,
            "how": how,
            "id": operation.id,
            "other": operation.other,
            "cents": operation.cents,
        }
        while True:
            reply = await self.ask(operation.account, command)
            attempts += 1
            if reply is not None and "ok" in reply:
                history.acknowledge(operation.id, reply["ok"])
                return
            certain = reply is not None and reply["certain"]
            is_over = how == "call" or (reply is not None and reply["error"] == "Refused")
            if is_over and certain and attempts == 1:
                history.refused.add(operation.id)
            if is_over:
                return
            if self._hopeless:
                history.stuck.add(operation.id)
                return
            await asyncio.sleep(0.02)

    async def ask(self, account: str, command: dict[str, Any]) -> dict[str, Any] | None:
        """Ask one host, the one that answered last if there is one; None without a reply."""
        up = self._fleet.up
        if not up:
            await asyncio.sleep(0.05)
            return None
        home = self._homes.get(account)
        host = home if home in up and home is not None else self._chance.choice(up)
        try:
            reply = await host.ask({"account": account, **command})
        except (HostGone, NoReply):
            self._homes.pop(account, None)
            return None
        if "ok" in reply or reply["error"] == "Refused":
            self._homes[account] = host
        else:
            self._homes.pop(account, None)
        return reply
