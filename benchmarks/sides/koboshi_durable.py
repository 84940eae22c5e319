"""The rows of the koboshi side about durable actors, on SQLite with full fsync."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

import koboshi as kb
from durable_rows import DURABLE_ACTORS, DURABLE_CALLERS
from sides.postgres_server import postgres_url
from sides.protocol import AsyncBatches, Batch, RowOfSide, rate


class Total(msgspec.Struct, frozen=True):
    amount: int = 0


class Counter(kb.DurableActor[Total]):
    """Adds up what it is sent."""

    @kb.message
    def add(self, amount: int) -> int:
        self.state = Total(self.state.amount + amount)
        return self.state.amount

    @kb.query
    def total(self) -> int:
        return self.state.amount


@asynccontextmanager
async def _in_file() -> AsyncGenerator[kb.Durable[Counter], None]:
    """Counters in a new file."""
    with tempfile.TemporaryDirectory(prefix="koboshi-bench-") as folder:
        yield _counters(f"sqlite:///{folder}/bench.db")


def _counters(store: str) -> kb.Durable[Counter]:
    return kb.durable(Counter, store=store, deactivate_after=None)


async def turns_one(size: int) -> AsyncBatches:
    """One actor, one caller, one call at a time."""
    number = 0
    async with _in_file() as counters, kb.Supervisor(counters.child()):
        while True:
            number += 1
            counter = counters[f"c{number}"]
            await counter.call(Counter.total)
            began = time.perf_counter()
            for _ in range(size):
                total = await counter.call(Counter.add, 1)
            yield rate(size, time.perf_counter() - began, total)


async def _add(counter: kb.DurableRef[Counter], turns: int) -> None:
    for _ in range(turns):
        await counter.call(Counter.add, 1)


async def turns_many(size: int) -> AsyncBatches:
    """Many actors, each with callers of its own."""
    async with _in_file() as counters:
        async for batch in _turns_many(counters, size):
            yield batch


async def turns_many_postgres(size: int) -> AsyncBatches:
    """The same on a server."""
    with postgres_url() as url:
        async for batch in _turns_many(_counters(url), size):
            yield batch


async def _turns_many(counters: kb.Durable[Counter], size: int) -> AsyncGenerator[Batch, None]:
    async with kb.Supervisor(counters.child()):
        refs = [counters[f"c{number}"].within(60.0) for number in range(DURABLE_ACTORS)]
        before = 0
        for ref in refs:
            await ref.call(Counter.total)
        while True:
            turns = size // (DURABLE_ACTORS * DURABLE_CALLERS)
            began = time.perf_counter()
            await asyncio.gather(*(_add(ref, turns) for ref in refs for _ in range(DURABLE_CALLERS)))
            seconds = time.perf_counter() - began
            after = sum([await ref.call(Counter.total) for ref in refs])
            yield rate(size, seconds, after - before)
            before = after


async def _wake(counters: kb.Durable[Counter], keys: range) -> int:
    return sum([await counters[f"c{key}"].within(60.0).call(Counter.total) for key in keys])


async def activate(size: int) -> AsyncBatches:
    """Actors that have a state and are asleep, woken by a query each, 500 callers at a time."""
    async with _in_file() as counters:
        async with kb.Supervisor(counters.child()):
            await asyncio.gather(*(_add(counters[f"c{key}"].within(60.0), 1) for key in range(size)))
        while True:
            async with kb.Supervisor(counters.child()):
                began = time.perf_counter()
                found = await asyncio.gather(*(_wake(counters, range(at, size, 500)) for at in range(500)))
                yield rate(size, time.perf_counter() - began, sum(found))


DURABLE: dict[str, RowOfSide] = {
    "turns_one": turns_one,
    "turns_many": turns_many,
    "turns_many_postgres": turns_many_postgres,
    "activate": activate,
}
