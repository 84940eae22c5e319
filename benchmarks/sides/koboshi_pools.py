"""The rows of the koboshi side about worker processes that have much to do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

import koboshi as kb
from sides.large_jobs import digest, make_array, total
from sides.protocol import AsyncBatches, Batch, RowOfSide, rate
from sides.tiny_job import WORKERS, square


async def pool_array(size: int) -> AsyncBatches:
    array = make_array()
    async with kb.Supervisor(kb.pool(size=WORKERS).options(id="pool")) as tree:
        jobs = kb.jobs(tree.ref(kb.Pool, "pool"))
        while True:
            added = 0
            began = time.perf_counter()
            async for result in jobs.map_unordered(total, (array for _ in range(size))):
                added += result
            yield rate(size, time.perf_counter() - began, added)


async def _digests(workers: int, size: int) -> AsyncBatches:
    async with kb.Supervisor(kb.pool(size=workers).options(id="pool")) as tree:
        jobs = kb.jobs(tree.ref(kb.Pool, "pool"))
        while True:
            added = 0
            began = time.perf_counter()
            async for result in jobs.map_unordered(digest, range(size)):
                added += result
            yield rate(size, time.perf_counter() - began, added)


async def _wait_whole(pool: kb.ActorRef[kb.Pool], spares: int, restarts: int) -> int:
    """The pid of the one worker, once it and the spares are ready after so many restarts."""
    while True:
        await pool.within(10).call(kb.Pool.wait_ready)
        seen = await pool.call(kb.Pool.statistics)
        [worker] = seen.workers
        if worker.pid is not None and seen.spares == spares and seen.restarts >= restarts:
            return worker.pid


async def _downtimes(spares: int, size: int) -> AsyncBatches:
    """Kill the one worker at rest, and have a job done; the job may be started again."""
    spec = kb.pool(size=1, spares=spares, max_restarts=1_000_000, within=1.0).options(id="pool")
    async with kb.Supervisor(spec) as tree:
        pool = tree.ref(kb.Pool, "pool")
        jobs = kb.jobs(pool).options(retries=1)
        restarts = 0
        while True:
            added, seconds = 0, list[float]()
            for number in range(size):
                pid = await _wait_whole(pool, spares, restarts)
                began = time.perf_counter()
                os.kill(pid, signal.SIGKILL)
                added += await jobs.call(square, number)
                seconds.append(time.perf_counter() - began)
                restarts += 1
            yield Batch(tuple(seconds), added)


def _row(batches: Callable[[int, int], AsyncBatches], first: int) -> RowOfSide:
    return partial(batches, first)


ROWS: dict[str, RowOfSide] = {
    "pool_array": pool_array,
    "pool_cpu": _row(_digests, WORKERS),
    "scale_1": _row(_digests, 1),
    "scale_2": _row(_digests, 2),
    "scale_4": _row(_digests, 4),
    "downtime": _row(_downtimes, 1),
    "downtime_cold": _row(_downtimes, 0),
}
