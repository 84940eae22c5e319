"""The xoscar side: an actor in the main process of a pool, and one in its second process."""

from __future__ import annotations

import time

import xoscar  # type: ignore[import-not-found, unused-ignore]  # no part of the development install

from sides.protocol import AsyncBatches, rate, serve


class Counter(xoscar.Actor):  # type: ignore[misc, unused-ignore]
    """Adds up and answers with the sum."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def add(self, n: int) -> int:
        self.value += n
        return self.value


class Caller(xoscar.Actor):  # type: ignore[misc, unused-ignore]
    """Calls one after the other."""

    async def call(self, counter: xoscar.ActorRefType[Counter], size: int) -> tuple[float, int]:
        total = 0
        began = time.perf_counter()
        for _ in range(size):
            total += await counter.add(1)
        return time.perf_counter() - began, total


async def xcall(size: int) -> AsyncBatches:
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=1)
    async with pool:
        here = pool.external_address
        beside = xoscar.allocate_strategy.ProcessIndex(1)
        caller = await xoscar.create_actor(Caller, uid="caller", address=here)
        counter = await xoscar.create_actor(Counter, 0, uid="counter", address=here, allocate_strategy=beside)
        while True:
            seconds, total = await caller.call(counter, size)
            await counter.add(-size)  # from 0 again
            yield rate(size, seconds, total)


if __name__ == "__main__":
    serve({"xcall": xcall})
