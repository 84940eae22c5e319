"""How a side is run: one row in one fresh process, and one line of JSON at the end.

    python -m sides.NAME ROW SIZE SECONDS

A side gives a generator (or an async generator) for each row. What it does before its first
`yield` is not measured; each `yield` hands over one finished batch of SIZE operations, which
the generator itself has timed. Batches are drawn for a fifth of SECONDS, at least one, to
warm up, and then for SECONDS, at least one; the figure is the median of the latter. With
SECONDS 0 exactly one batch is drawn and counts.

The garbage collector stays on, as in a program; it is run to the end before every batch, so
that no batch pays for another's garbage. The Erlang side keeps to the same rules.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass

WARM_SHARE = 0.2


@dataclass(frozen=True)
class Batch:
    """One finished batch: its figures in the row's unit, and what proves the work was done."""

    figures: tuple[float, ...]
    checksum: int


def rate(size: int, seconds: float, checksum: int) -> Batch:
    """A batch whose one figure is operations per second."""
    return Batch((size / seconds,), checksum)


Batches = Generator[Batch, None, None]
AsyncBatches = AsyncGenerator[Batch, None]
RowOfSide = Callable[[int], Batches | AsyncBatches]


class _Collector:
    """Which batches count, and when there are enough of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._warm = seconds == 0
        self._since = time.perf_counter()
        self._batches = 0
        self._figures: list[float] = []
        self._checksums: set[int] = set()

    def add(self, batch: Batch) -> bool:
        """Take a batch; true when it was the last one needed."""
        self._checksums.add(batch.checksum)
        now = time.perf_counter()
        if self._warm:
            self._batches += 1
            self._figures.extend(batch.figures)
            if now - self._since >= self._seconds:
                return True
        elif now - self._since >= self._seconds * WARM_SHARE:
            self._warm = True
            self._since = now
        gc.collect()
        return False

    def result(self) -> dict[str, object]:
        if not self._figures:
            raise RuntimeError("no batch was measured: a row of one batch is run with SECONDS 0")
        if len(self._checksums) != 1:
            raise RuntimeError(f"batches of one size must have one checksum, got {sorted(self._checksums)}")
        return {
            "figure": statistics.median(self._figures),
            "checksum": self._checksums.pop(),
            "batches": self._batches,
        }


async def _draw(batches: AsyncBatches, collector: _Collector) -> None:
    async with aclosing(batches) as open_batches:
        async for batch in open_batches:
            if collector.add(batch):
                return


def _with_asyncio(main: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(main())


def serve(
    rows: Mapping[str, RowOfSide],
    run: Callable[[Callable[[], Coroutine[object, object, None]]], object] = _with_asyncio,
) -> None:
    """Run the row named on the command line and print its result; `run` starts a program of the side."""
    _, name, size, seconds = sys.argv
    batches = rows[name](int(size))
    gc.collect()
    collector = _Collector(float(seconds))
    if isinstance(batches, Generator):
        with closing(batches):
            for batch in batches:
                if collector.add(batch):
                    break
    else:
        run(lambda: _draw(batches, collector))
    print(json.dumps(collector.result()), flush=True)


def resident_bytes() -> int:
    """Memory of this process that is in RAM, after a full garbage collection."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
