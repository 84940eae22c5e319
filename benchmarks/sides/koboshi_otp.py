"""The rows of the koboshi side about OTP's behaviours: a state machine, a table, a checkout pool."""

from __future__ import annotations

import asyncio
import time
from enum import Enum

import koboshi as kb
from koboshi import otp
from rows import BORROWERS, LENT
from sides.protocol import AsyncBatches, RowOfSide, rate


class Switch(otp.StateMachine):
    """Off and on; says how it was switched."""

    class State(Enum):
        OFF = 0
        ON = 1

    initial = State.OFF

    @otp.event
    def flip(self) -> int:
        return self.unexpected()

    @otp.when(State.OFF, flip, to=State.ON)
    def turn_on(self) -> int:
        return 1

    @otp.when(State.ON, flip, to=State.OFF)
    def turn_off(self) -> int:
        return 0


class Driver(kb.Actor):
    """Does what the rows are about, and times it."""

    @kb.message
    async def flip(self, switch: kb.ActorRef[Switch], size: int) -> tuple[float, int]:
        total = 0
        began = time.perf_counter()
        for _ in range(size):
            total += await switch.call(Switch.flip)
        return time.perf_counter() - began, total

    @kb.message
    def count(self, name: str, size: int) -> tuple[float, int]:
        table, value = otp.named_table(name), 0
        began = time.perf_counter()
        for _ in range(size):
            value = table.update_counter("hits", 1)
        return time.perf_counter() - began, value


class Worker(kb.Actor):
    """Is lent, and need do nothing."""


class Borrower(kb.Actor):
    """Borrows again and again, and lets others have their turn in between."""

    @kb.message
    async def borrow(self, times: int) -> int:
        pool = otp.checkout_pool("pool", Worker)
        for _ in range(times):
            async with pool.checkout(timeout=None):
                await asyncio.sleep(0)
        return times


async def statemachine(size: int) -> AsyncBatches:
    while True:
        switch, driver = await kb.start(Switch), await kb.start(Driver)
        seconds, total = await driver.within(None).call(Driver.flip, switch, size)
        await driver.stop()
        await switch.stop()
        yield rate(size, seconds, total)


async def table_counter(size: int) -> AsyncBatches:
    owner = kb.child(otp.TableOwner, otp.TableSpec("counters", named=True))
    async with kb.Supervisor(owner, kb.child(Driver)) as tree:
        driver = tree.ref(Driver, "Driver").within(None)
        while True:
            otp.named_table("counters").insert(("hits", 0))
            seconds, total = await driver.call(Driver.count, "counters", size)
            yield rate(size, seconds, total)


async def checkout(size: int) -> AsyncBatches:
    pool = kb.child(otp.CheckoutPool, kb.child(Worker), size=LENT, overflow=0).options(name="pool")
    async with kb.Supervisor(pool):
        borrowers = [(await kb.start(Borrower)).within(None) for _ in range(BORROWERS)]
        while True:
            began = time.perf_counter()
            times = [each.call(Borrower.borrow, size // BORROWERS) for each in borrowers]
            total = sum(await asyncio.gather(*times))
            yield rate(size, time.perf_counter() - began, total)


ROWS: dict[str, RowOfSide] = {
    "statemachine": statemachine,
    "table_counter": table_counter,
    "checkout": checkout,
}
