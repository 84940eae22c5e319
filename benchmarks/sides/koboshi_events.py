"""The row of the koboshi side about event-sourced actors."""

from __future__ import annotations

import asyncio
import tempfile
import time

import msgspec

import koboshi as kb
from durable_rows import AGGREGATES
from sides.protocol import AsyncBatches, RowOfSide, rate


class Sum(msgspec.Struct, frozen=True):
    """The state of an aggregate."""

    total: int = 0


class Added(msgspec.Struct, frozen=True):
    """What happens to it."""

    n: int


class Summing(kb.EventSourced[Sum]):
    """Adds up what it is told, by events, and answers with the sum."""

    @kb.message
    def add(self, n: int) -> int:
        self.emit(Added(n))
        return self.state.total

    @kb.event
    @staticmethod
    def added(state: Sum, event: Added) -> Sum:
        return Sum(state.total + event.n)


async def events(size: int) -> AsyncBatches:
    with tempfile.TemporaryDirectory() as folder:
        sums = kb.durable(Summing, store=f"sqlite:///{folder}/events.db")
        async with kb.Supervisor(sums.child()):

            async def commands(key: str) -> int:
                ref = sums[key]
                first = last = await ref.call(Summing.add, 1)
                for _ in range(size // AGGREGATES - 1):
                    last = await ref.call(Summing.add, 1)
                return last - first + 1

            while True:
                began = time.perf_counter()
                totals = await asyncio.gather(*(commands(str(n)) for n in range(AGGREGATES)))
                yield rate(size, time.perf_counter() - began, sum(totals))


ROWS: dict[str, RowOfSide] = {"events": events}
