"""The rows of the koboshi side about queues of durable tasks."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator

import koboshi as kb
from durable_rows import PRODUCERS
from sides.postgres_server import postgres_url
from sides.protocol import AsyncBatches, Batch, RowOfSide, rate


@kb.task(name="square")
async def square(n: int) -> int:
    return n * n


async def _put(queue: kb.Queue, numbers: range) -> int:
    """Put one task after the other; the sum of what they gave."""
    jobs = [await queue.put(square, n) for n in numbers]
    return sum([await job.result() for job in jobs])


async def _tasks(store: str, size: int) -> AsyncGenerator[Batch, None]:
    """Many who put one task at a time, and the event loop that runs them."""
    queue = kb.Queue("bench", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        while True:
            began = time.perf_counter()
            shares = [range(start, size, PRODUCERS) for start in range(PRODUCERS)]
            sums = await asyncio.gather(*(_put(queue, share) for share in shares))
            yield rate(size, time.perf_counter() - began, sum(sums))


async def tasks(size: int) -> AsyncBatches:
    with tempfile.TemporaryDirectory(prefix="koboshi-bench-") as folder:
        async for batch in _tasks(f"sqlite:///{folder}/bench.db", size):
            yield batch


async def tasks_postgres(size: int) -> AsyncBatches:
    with postgres_url() as url:
        async for batch in _tasks(url, size):
            yield batch


async def _recovered(size: int) -> tuple[float, float, int]:
    """Seconds from the kill to the first task and to the end of the last one, and the sum of the results."""
    with tempfile.TemporaryDirectory(prefix="koboshi-bench-") as folder:
        store = f"sqlite:///{folder}/bench.db"
        first = await _program("holds", store, size)
        await _line(first)
        first.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        await first.wait()
        second = await _program("finishes", store, size)
        began, ended, total = (await _line(second)).split()
        await second.wait()
    return float(began) - killed, float(ended) - killed, int(total)


async def _program(what: str, store: str, size: int) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "sides.recovering", what, store, str(size))
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def _line(program: asyncio.subprocess.Process) -> str:
    assert program.stdout is not None
    line = await program.stdout.readline()
    if not line:
        raise RuntimeError(f"expected a line of the program, which ended with {await program.wait()}")
    return line.decode()


async def recover(size: int) -> AsyncBatches:
    while True:
        _, ended, total = await _recovered(size)
        yield Batch((ended,), total)


async def recover_wait(size: int) -> AsyncBatches:
    while True:
        began, _, total = await _recovered(size)
        yield Batch((began,), total)


QUEUES: dict[str, RowOfSide] = {
    "tasks": tasks,
    "tasks_postgres": tasks_postgres,
    "recover": recover,
    "recover_wait": recover_wait,
}
