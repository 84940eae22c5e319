"""The two programs of the rows about recovery: one that holds all tasks until it is killed, one that finishes them.

    python -m sides.recovering holds|finishes STORE SIZE

Each prints one line: the first when all tasks run, the second when all have ended. Times are of the system's
monotonic clock, which all its processes share.
"""

from __future__ import annotations

import asyncio
import sys
import time

import koboshi as kb

_, WHAT, STORE, SIZE = sys.argv

began: list[float] = []
"""When each task began to run here."""

everybody_runs = asyncio.Event()


@kb.task(name="square")
async def square(n: int) -> int:
    began.append(time.monotonic())
    if WHAT == "holds":
        if len(began) == int(SIZE):
            everybody_runs.set()
        await asyncio.Event().wait()
    return n * n


async def main() -> None:
    size = int(SIZE)
    queue = kb.Queue("bench", store=STORE)
    async with kb.Supervisor(queue.child(workers=1, concurrency=size)):
        if WHAT == "holds":
            await queue.put_many(square, range(size), ids=str)
            await everybody_runs.wait()
            print("all run", flush=True)
            await asyncio.Event().wait()
        total = sum([await queue.job(square, str(n)).result() for n in range(size)])
        ended = time.monotonic()
        if len(began) != size:
            raise RuntimeError(f"expected {size} tasks to be run again once each, {len(began)} were")
        print(began[0], ended, total, flush=True)


kb.run(main, log_level=None)
