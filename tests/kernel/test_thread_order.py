from __future__ import annotations

import asyncio

import koboshi as kb


class Log(kb.Actor):
    def __init__(self) -> None:
        self.seen: list[int] = []

    @kb.message
    def add(self, number: int) -> None:
        self.seen.append(number)

    @kb.message
    def all(self) -> list[int]:
        return self.seen


async def test_calls_and_casts_of_one_thread_arrive_in_the_order_in_which_it_sent_them() -> None:
    log = await kb.start(Log)

    def send() -> None:
        futures = []
        for number in range(0, 40, 2):
            futures.append(log.threadsafe.submit(Log.add, number))
            log.threadsafe.cast(Log.add, number + 1)
        for future in futures:
            future.result()

    await asyncio.to_thread(send)
    assert await log.call(Log.all) == list(range(40))
    await log.stop()
