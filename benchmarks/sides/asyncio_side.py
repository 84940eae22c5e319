"""The asyncio side: an actor is a Task that reads an `asyncio.Queue`.

The queues have koboshi's default mailbox limit, and a reply is a Future: what one writes by
hand without an actor library.
"""

from __future__ import annotations

import asyncio
import time

from rows import BORROWERS, FANOUT_ACTORS, LENT, RING_ACTORS, STREAM_CONCURRENCY
from sides.protocol import AsyncBatches, Batch, rate, resident_bytes, serve

LIMIT = 65_536
WARM_IDLE = 1_000


class Counter:
    """Adds up; `reply` is None for a cast."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.queue: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue(LIMIT)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self.ready.set_result(None)
        while True:
            n, reply = await self.queue.get()
            self.value += n
            if reply is not None and not reply.done():
                reply.set_result(self.value)

    async def call(self, n: int) -> int:
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await self.queue.put((n, reply))
        return await reply


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def call(size: int) -> AsyncBatches:
    async def caller(counter: Counter) -> Batch:
        total = 0
        began = time.perf_counter()
        for _ in range(size):
            total += await counter.call(1)
        return rate(size, time.perf_counter() - began, total)

    while True:
        counter = Counter(0)
        batch = await asyncio.create_task(caller(counter))
        await _stop(counter.task)
        yield batch


async def cast(size: int) -> AsyncBatches:
    async def caster(counter: Counter) -> Batch:
        began = time.perf_counter()
        for i in range(1, size + 1):
            counter.queue.put_nowait((i, None))
        total = await counter.call(0)
        return rate(size, time.perf_counter() - began, total)

    while True:
        counter = Counter(0)
        batch = await asyncio.create_task(caster(counter))
        await _stop(counter.task)
        yield batch


async def _start(first: int, end: int) -> list[Counter]:
    started: list[Counter] = []
    for i in range(first, end):
        counter = Counter(i)
        await counter.ready
        started.append(counter)
    return started


async def start(size: int) -> AsyncBatches:
    async def starter() -> tuple[float, list[Counter]]:
        began = time.perf_counter()
        started = await _start(0, size)
        return time.perf_counter() - began, started

    while True:
        seconds, started = await asyncio.create_task(starter())
        total = sum([await counter.call(0) for counter in started])
        await _stop(*[counter.task for counter in started])
        del started
        yield rate(size, seconds, total)


async def idle_bytes(size: int) -> AsyncBatches:
    warm = await _start(0, WARM_IDLE)
    for counter in warm:
        await counter.call(1)
    before = resident_bytes()
    started = await _start(0, size)
    total = 0
    for counter in started:
        total += await counter.call(1)
    figure = (resident_bytes() - before) / size
    await _stop(*[counter.task for counter in warm + started])
    yield Batch((figure,), total)


class Node:
    """One place in the ring."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.visits = 0
        self.next = self
        self.done = done
        self.queue: asyncio.Queue[int] = asyncio.Queue(LIMIT)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            left = await self.queue.get()
            self.visits += 1
            if left == 1:
                self.done.set_result(None)
            else:
                self.next.queue.put_nowait(left - 1)


async def ring(size: int) -> AsyncBatches:
    while True:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nodes = [Node(done) for _ in range(RING_ACTORS)]
        for i, node in enumerate(nodes):
            node.next = nodes[(i + 1) % RING_ACTORS]
        await asyncio.sleep(0)
        began = time.perf_counter()
        nodes[0].queue.put_nowait(size)
        await done
        seconds = time.perf_counter() - began
        await _stop(*[node.task for node in nodes])
        yield rate(size, seconds, sum(place * node.visits for place, node in enumerate(nodes, 1)))


class Hub:
    """Sends to every leaf, waits for every answer, and begins again."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int] = asyncio.Queue(LIMIT)

    async def run(self, leaves: list[Leaf], rounds: int) -> int:
        total = 0
        for _ in range(rounds):
            for leaf in leaves:
                leaf.queue.put_nowait(1)
            for _ in leaves:
                total += await self.queue.get()
        return total


class Leaf:
    """Counts what it gets and answers with its place and its count."""

    def __init__(self, place: int, hub: Hub) -> None:
        self.place = place
        self.hub = hub
        self.queue: asyncio.Queue[int] = asyncio.Queue(LIMIT)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        count = 0
        while True:
            count += await self.queue.get()
            self.hub.queue.put_nowait(self.place + count)


async def fanout(size: int) -> AsyncBatches:
    while True:
        hub = Hub()
        leaves = [Leaf(place, hub) for place in range(FANOUT_ACTORS)]
        await asyncio.sleep(0)
        began = time.perf_counter()
        total = await asyncio.create_task(hub.run(leaves, size // (2 * FANOUT_ACTORS)))
        seconds = time.perf_counter() - began
        await _stop(*[leaf.task for leaf in leaves])
        yield rate(size, seconds, total)


async def double(n: int) -> int:
    return 2 * n


async def stream(size: int) -> AsyncBatches:
    """All tasks at once, a semaphore to let so many of them run: what one writes by hand."""

    async def streamer() -> Batch:
        places = asyncio.Semaphore(STREAM_CONCURRENCY)

        async def one(n: int) -> int:
            async with places:
                return await double(n)

        began = time.perf_counter()
        total = sum(await asyncio.gather(*[one(n) for n in range(1, size + 1)]))
        return rate(size, time.perf_counter() - began, total)

    while True:
        yield await asyncio.create_task(streamer())


async def checkout(size: int) -> AsyncBatches:
    """A queue of workers: what one writes by hand. Nobody's death gives a worker back."""
    pool: asyncio.Queue[object] = asyncio.Queue()
    for _ in range(LENT):
        pool.put_nowait(object())

    async def borrow(times: int) -> int:
        for _ in range(times):
            worker = await pool.get()
            try:
                await asyncio.sleep(0)
            finally:
                pool.put_nowait(worker)
        return times

    while True:
        began = time.perf_counter()
        total = sum(await asyncio.gather(*[borrow(size // BORROWERS) for _ in range(BORROWERS)]))
        yield rate(size, time.perf_counter() - began, total)


if __name__ == "__main__":
    serve(
        {
            "call": call,
            "cast": cast,
            "start": start,
            "idle_bytes": idle_bytes,
            "ring": ring,
            "fanout": fanout,
            "stream": stream,
            "checkout": checkout,
        }
    )
