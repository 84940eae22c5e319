"""The koboshi side: actors, supervisors and the process pool, with their defaults."""

from __future__ import annotations

import asyncio
import logging
import os
import time

import koboshi as kb
from koboshi import otp
from rows import CALLERS, FANOUT_ACTORS, KEYS, RING_ACTORS, ROUTEES, STREAM_CONCURRENCY
from sides.koboshi_durable import DURABLE
from sides.koboshi_events import ROWS as EVENTS
from sides.koboshi_otp import ROWS as BEHAVIOURS
from sides.koboshi_pools import ROWS as POOLS
from sides.koboshi_queue import QUEUES
from sides.protocol import AsyncBatches, Batch, rate, resident_bytes, serve
from sides.tiny_job import WORKERS, square

WARM_IDLE = 1_000
PRODUCERS = 256
CLAIMED_AT_ONCE = 256


class Counter(kb.Actor):
    """Adds up and answers with the sum."""

    def __init__(self, value: int) -> None:
        self.value = value

    @kb.message
    def add(self, n: int) -> int:
        self.value += n
        return self.value


class Driver(kb.Actor):
    """The actor that calls, casts to and starts others, and times it."""

    @kb.message
    async def call(self, counter: kb.ActorRef[Counter], size: int) -> tuple[float, int]:
        total = 0
        began = time.perf_counter()
        for _ in range(size):
            total += await counter.call(Counter.add, 1)
        return time.perf_counter() - began, total

    @kb.message
    async def route(self, router: otp.Router[Counter], size: int) -> tuple[float, int]:
        total = 0
        began = time.perf_counter()
        for _ in range(size):
            total += await router.call(Counter.add, 1)
        return time.perf_counter() - began, total

    @kb.message
    async def cast(self, counter: kb.ActorRef[Counter], size: int) -> tuple[float, int]:
        began = time.perf_counter()
        for i in range(1, size + 1):
            counter.cast(Counter.add, i)
        total = await counter.call(Counter.add, 0)
        return time.perf_counter() - began, total

    @kb.message
    async def start(self, size: int) -> tuple[float, list[kb.ActorRef[Counter]]]:
        began = time.perf_counter()
        started = [await kb.start(Counter, i) for i in range(size)]
        return time.perf_counter() - began, started


class Finder(kb.Actor):
    """The actor that looks up, and times it."""

    @kb.message
    async def find(self, rooms: otp.RegistryHandle, size: int) -> tuple[float, int]:
        total = 0
        began = time.perf_counter()
        for done in range(size):
            (found,) = await rooms.lookup(done % KEYS + 1)
            total += found.value
        return time.perf_counter() - began, total


async def _hold(rooms: otp.RegistryHandle, key: int) -> None:
    await rooms.register(key, key)
    await kb.receive()


async def registry_lookup(size: int) -> AsyncBatches:
    async with kb.Supervisor(kb.child(otp.Registry)) as tree:
        rooms = otp.registry(tree.ref(otp.Registry, "Registry"))
        for key in range(1, KEYS + 1):
            kb.spawn(_hold, rooms, key)
        finder = await kb.start(Finder)  # its first turn comes behind theirs
        while True:
            seconds, total = await finder.within(None).call(Finder.find, rooms, size)
            yield rate(size, seconds, total)


async def call(size: int) -> AsyncBatches:
    while True:
        counter, driver = await kb.start(Counter, 0), await kb.start(Driver)
        seconds, total = await driver.within(None).call(Driver.call, counter, size)
        await driver.stop()
        await counter.stop()
        yield rate(size, seconds, total)


async def router(size: int) -> AsyncBatches:
    while True:
        counters, driver = [await kb.start(Counter, 0) for _ in range(ROUTEES)], await kb.start(Driver)
        routed = otp.router(counters, strategy="least_busy")
        seconds, total = await driver.within(None).call(Driver.route, routed, size)
        for each in (driver, *counters):
            await each.stop()
        yield rate(size, seconds, total)


async def cast(size: int) -> AsyncBatches:
    while True:
        counter, driver = await kb.start(Counter, 0), await kb.start(Driver)
        seconds, total = await driver.within(None).call(Driver.cast, counter, size)
        await driver.stop()
        await counter.stop()
        yield rate(size, seconds, total)


def _elsewhere(value: int) -> kb.ChildSpec[Counter]:
    return kb.child(Counter, value).options(id="counter", on="process")


async def xcall(size: int) -> AsyncBatches:
    async with kb.Supervisor(kb.child(Driver), _elsewhere(0)) as tree:
        counter, driver = tree.ref(Counter, "counter"), tree.ref(Driver, "Driver").within(None)
        while True:
            seconds, total = await driver.call(Driver.call, counter, size)
            await counter.call(Counter.add, -size)  # from 0 again
            yield rate(size, seconds, total)


class Caller(kb.Actor):
    """Calls one after the other, as many others do at the same time."""

    @kb.message
    async def call(self, counter: kb.ActorRef[Counter], calls: int) -> int:
        total = 0
        for _ in range(calls):
            total += await counter.call(Counter.add, 1)
        return total


async def xcall_many(size: int) -> AsyncBatches:
    callers = [(await kb.start(Caller)).within(None) for _ in range(CALLERS)]
    async with kb.Supervisor(_elsewhere(0)) as tree:
        counter = tree.ref(Counter, "counter")
        while True:
            began = time.perf_counter()
            totals = await asyncio.gather(
                *(caller.call(Caller.call, counter, size // CALLERS) for caller in callers)
            )
            seconds = time.perf_counter() - began
            await counter.call(Counter.add, -size)
            yield rate(size, seconds, sum(totals))


async def xcast(size: int) -> AsyncBatches:
    async with kb.Supervisor(kb.child(Driver), _elsewhere(0)) as tree:
        counter, driver = tree.ref(Counter, "counter"), tree.ref(Driver, "Driver").within(None)
        while True:
            seconds, total = await driver.call(Driver.cast, counter, size)
            await counter.call(Counter.add, -total)
            yield rate(size, seconds, total)


async def many(size: int) -> AsyncBatches:
    async with kb.Supervisor(
        kb.node("one"), kb.node("two"), kb.child(kb.DynamicSupervisor).options(id="many")
    ) as tree:
        while True:
            began = time.perf_counter()
            supervisor = await tree.start_child(kb.child(kb.DynamicSupervisor).options(id="counters"))
            refs = await asyncio.gather(
                *(
                    supervisor.within(None).call(
                        kb.DynamicSupervisor.start_child,
                        kb.child(Counter, value).options(
                            on="two" if value % 2 else "one", restart="temporary"
                        ),
                    )
                    for value in range(size)
                )
            )
            values = await asyncio.gather(*(ref.within(None).call(Counter.add, 0) for ref in refs))
            seconds = time.perf_counter() - began
            await tree.terminate_child("counters")
            await tree.delete_child("counters")
            yield rate(size, seconds, sum(values))


async def double(n: int) -> int:
    return 2 * n


class Streamer(kb.Actor):
    """Streams tasks in its handler."""

    @kb.message
    async def stream(self, size: int) -> tuple[float, int]:
        total = 0
        began = time.perf_counter()
        async for outcome in otp.task_stream(range(1, size + 1), double, max_concurrency=STREAM_CONCURRENCY):
            total += outcome.unwrap()
        return time.perf_counter() - began, total


async def stream(size: int) -> AsyncBatches:
    while True:
        streamer = await kb.start(Streamer)
        seconds, total = await streamer.within(None).call(Streamer.stream, size)
        await streamer.stop()
        yield rate(size, seconds, total)


async def start(size: int) -> AsyncBatches:
    while True:
        driver = await kb.start(Driver)
        seconds, started = await driver.within(None).call(Driver.start, size)
        total = await _sum_of_replies(started, 0)
        await driver.stop()
        for ref in started:
            await ref.stop()
        del started
        yield rate(size, seconds, total)


async def _sum_of_replies(counters: list[kb.ActorRef[Counter]], n: int) -> int:
    return sum([await counter.call(Counter.add, n) for counter in counters])


async def idle_bytes(size: int) -> AsyncBatches:
    warm = [await kb.start(Counter, i) for i in range(WARM_IDLE)]
    await _sum_of_replies(warm, 1)
    before = resident_bytes()
    started = [await kb.start(Counter, i) for i in range(size)]
    total = 0
    for counter in started:
        total += await counter.call(Counter.add, 1)
    figure = (resident_bytes() - before) / size
    for ref in warm + started:
        await ref.stop()
    yield Batch((figure,), total)


class Node(kb.Actor):
    """One place in the ring."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.next: kb.ActorRef[Node] | None = None
        self.visits = 0

    @kb.message
    def follow(self, next_node: kb.ActorRef[Node]) -> None:
        self.next = next_node

    @kb.message
    def token(self, left: int) -> None:
        self.visits += 1
        if left == 1:
            self.done.set_result(None)
        elif self.next is not None:
            self.next.cast(Node.token, left - 1)

    @kb.message
    def count(self) -> int:
        return self.visits


async def ring(size: int) -> AsyncBatches:
    while True:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nodes = [await kb.start(Node, done) for _ in range(RING_ACTORS)]
        for i, node in enumerate(nodes):
            await node.call(Node.follow, nodes[(i + 1) % RING_ACTORS])
        began = time.perf_counter()
        nodes[0].cast(Node.token, size)
        await done
        seconds = time.perf_counter() - began
        total = sum([place * await node.call(Node.count) for place, node in enumerate(nodes, 1)])
        for node in nodes:
            await node.stop()
        yield rate(size, seconds, total)


class Leaf(kb.Actor):
    """Counts what it gets and answers the sender with its place and its count."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.count = 0

    @kb.message
    def hit(self, hub: kb.ActorRef[Hub]) -> None:
        self.count += 1
        hub.cast(Hub.answer, self.place + self.count)


class Hub(kb.Actor):
    """Sends to every leaf, waits for every answer, and begins again."""

    def __init__(self, leaves: list[kb.ActorRef[Leaf]], rounds: int, done: asyncio.Future[int]) -> None:
        self.leaves = leaves
        self.rounds = rounds
        self.done = done
        self.missing = 0
        self.total = 0

    @kb.message
    def next_round(self) -> None:
        if self.rounds == 0:
            self.done.set_result(self.total)
            return
        self.rounds -= 1
        self.missing = len(self.leaves)
        hub = self.me
        for leaf in self.leaves:
            leaf.cast(Leaf.hit, hub)

    @kb.message
    def answer(self, n: int) -> None:
        self.total += n
        self.missing -= 1
        if self.missing == 0:
            self.next_round()


async def fanout(size: int) -> AsyncBatches:
    while True:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        leaves = [await kb.start(Leaf, place) for place in range(FANOUT_ACTORS)]
        hub = await kb.start(Hub, leaves, size // (2 * FANOUT_ACTORS), done)
        began = time.perf_counter()
        hub.cast(Hub.next_round)
        total = await done
        seconds = time.perf_counter() - began
        await hub.stop()
        for leaf in leaves:
            await leaf.stop()
        yield rate(size, seconds, total)


class Up:
    """What a supervised counter sends when it has started."""


class Watched(Counter):
    """A counter that tells of each of its incarnations, and crashes when told to."""

    def __init__(self, watcher: kb.ActorRef[kb.Process]) -> None:
        super().__init__(0)
        self.watcher = watcher

    def on_start(self) -> None:
        self.watcher.tell(Up())

    @kb.message
    def crash(self) -> None:
        raise RuntimeError("asked to crash")


async def _restart_batch(size: int, done: asyncio.Future[Batch]) -> None:
    """A bare process, so that it can wait for `Up` the way OTP's side does."""
    figures: list[float] = []
    total = 0
    async with kb.Supervisor(
        kb.child(Watched, kb.me()).options(id="watched"), max_restarts=1_000, within=1.0
    ) as tree:
        watched = tree.ref(Watched, "watched")
        await kb.receive(Up)
        for i in range(1, size + 1):
            began = time.perf_counter()
            watched.cast(Watched.crash)
            await kb.receive(Up)
            total += await watched.call(Watched.add, i)
            figures.append(time.perf_counter() - began)
    done.set_result(Batch(tuple(figures), total))


async def _restarts(size: int) -> AsyncBatches:
    while True:
        done: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
        driver = kb.spawn(_restart_batch, size, done)
        reason = await driver.wait_exit()
        if not done.done():
            raise RuntimeError(f"the process that drives the row ended early: {reason}")
        yield done.result()


async def restart(size: int) -> AsyncBatches:
    logging.basicConfig(
        filename=os.devnull, format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO
    )
    async for batch in _restarts(size):
        yield batch


async def restart_quiet(size: int) -> AsyncBatches:
    logging.getLogger("koboshi").setLevel(logging.CRITICAL + 1)
    async for batch in _restarts(size):
        yield batch


async def pool_tiny(size: int) -> AsyncBatches:
    async with kb.Supervisor(kb.pool(size=WORKERS).options(id="pool")) as tree:
        jobs = kb.jobs(tree.ref(kb.Pool, "pool"))
        while True:
            total = 0
            began = time.perf_counter()
            async for result in jobs.map_unordered(square, range(size)):
                total += result
            yield rate(size, time.perf_counter() - began, total)


if __name__ == "__main__":
    serve(
        {
            "call": call,
            "router": router,
            "cast": cast,
            "start": start,
            "idle_bytes": idle_bytes,
            "ring": ring,
            "fanout": fanout,
            "restart": restart,
            "restart_quiet": restart_quiet,
            "registry_lookup": registry_lookup,
            "pool_tiny": pool_tiny,
            "xcall": xcall,
            "xcall_many": xcall_many,
            "xcast": xcast,
            "many": many,
            "stream": stream,
            **BEHAVIOURS,
            **DURABLE,
            **EVENTS,
            **POOLS,
            **QUEUES,
        },
        lambda main: kb.run(main, log_level=None),
    )
