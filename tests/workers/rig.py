"""A supervised pool for tests, and what its supervisor reports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import koboshi as kb
from koboshi.workers import Jobs, PoolStatistics, Results, WorkerCrashed

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Rig:
    """A tree with one pool in it."""

    def __init__(self, tree: kb.Supervisor) -> None:
        self.tree = tree
        self.ref = tree.ref(kb.Pool, "pool")
        self.jobs: Jobs = kb.jobs(self.ref)
        # Ends of worker processes that nobody asked for, in order.
        self.deaths: asyncio.Queue[WorkerCrashed] = asyncio.Queue()
        self.events: list[kb.events.Event] = []

    def __call__(self, event: kb.events.Event) -> None:
        self.events.append(event)
        if isinstance(event, kb.events.CrashReport) and isinstance(event.error, WorkerCrashed):
            self.deaths.put_nowait(event.error)

    async def death(self) -> WorkerCrashed:
        async with asyncio.timeout(10):
            return await self.deaths.get()

    async def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.jobs.call(fn, *args, **kwargs)

    def map_unordered(self, fn: Callable[[T], R], items: Any, /, *, ahead: int | None = None) -> Results[R]:
        return self.jobs.map_unordered(fn, items, ahead=ahead)

    async def statistics(self) -> PoolStatistics:
        return await self.ref.call(kb.Pool.statistics)

    async def pids(self) -> list[int]:
        return sorted(worker.pid for worker in (await self.statistics()).workers if worker.pid is not None)

    async def whole(self) -> list[int]:
        """Wait until every worker is up, as far as its supervisor knows; their pids."""
        while True:
            await self.ref.within(10).call(kb.Pool.wait_ready)
            pids = await self.pids()
            if len(pids) == (await self.statistics()).size:
                return pids


async def read_line(path: Path | str) -> str:
    """What a worker writes into a named pipe."""
    return await asyncio.to_thread(lambda: Path(path).read_text().strip())


@asynccontextmanager
async def pool_of(size: int, **options: Any) -> AsyncIterator[Rig]:
    """A supervisor with a pool for functions under the id "pool"."""
    async with kb.Supervisor(kb.pool(size=size, **options).options(id="pool")) as tree:
        rig = Rig(tree)
        stop = kb.listen(rig)
        try:
            yield rig
        finally:
            stop()


@asynccontextmanager
async def elastic_pool(least: int, most: int, **options: Any) -> AsyncIterator[Rig]:
    """The same with a pool whose size changes."""
    async with kb.Supervisor(kb.pool(min=least, max=most, **options).options(id="pool")) as tree:
        rig = Rig(tree)
        stop = kb.listen(rig)
        try:
            yield rig
        finally:
            stop()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
