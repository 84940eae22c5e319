"""A correct program, in which both checkers must find nothing, and know each type exactly."""

from __future__ import annotations

import asyncio
from typing import assert_type

import koboshi as kb


class Counter(kb.Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    @kb.message
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @kb.message
    async def fetch(self, url: str, *, attempts: int = 1) -> bytes:
        await asyncio.sleep(0)
        return url.encode() * attempts

    @kb.message
    def reset(self) -> None:
        self.value = 0

    @kb.message
    def ask_later(self, word: str) -> str:
        reply: kb.ReplyTo[str] = kb.defer()
        reply.send(word)
        return ""

    @kb.message
    def pass_on(self, other: kb.ActorRef[Counter], n: int) -> int:
        return other.forward(Counter.add, n)

    async def on_start(self) -> None:
        self.trap_exits()

    def on_stop(self, reason: kb.ExitReason) -> None:
        assert not isinstance(reason, kb.Killed)

    def on_down(self, down: kb.Down) -> None:
        assert_type(down.reason, kb.ExitReason)

    def on_exit(self, exit: kb.Exit) -> None:
        self.stop(exit.reason)


class Doubling(Counter):
    @kb.message
    def twice(self, n: int) -> int:
        return self.add(n) + self.add(n)


async def worker(prefix: str, count: int) -> None:
    me = kb.me()
    message = await kb.receive(str)
    assert_type(message, str)
    soon = await kb.receive(int, timeout=1.0)
    assert_type(soon, int | kb.Timeout)
    me.tell(f"{prefix} {message} {count}")


def takes_counter(ref: kb.ActorRef[Counter]) -> None:
    ref.cast(Counter.add, 1)


def in_thread(ref: kb.ActorRef[Counter]) -> int:
    ref.threadsafe.cast(Counter.reset)
    return ref.threadsafe.call(Counter.add, 2)


async def main() -> None:
    async with kb.Supervisor(
        kb.child(Counter, start=10).options(id="hits", restart="transient", shutdown=2.0),
        kb.child(Doubling).options(id="twice", backoff=(0.1, 5.0)),
        kb.child(worker, "prefix", count=3),
        strategy="one_for_one",
        max_restarts=3,
        within=5.0,
    ) as tree:
        hits = tree.ref(Counter, "hits")
        assert_type(hits, kb.ActorRef[Counter])
        hits.cast(Counter.add, 1)
        await hits.send(Counter.add, 1)
        assert_type(await hits.call(Counter.add, 3), int)
        assert_type(await hits.within(0.2).call(Counter.fetch, "url", attempts=2), bytes)
        assert_type(await hits.call(Counter.reset), None)
        assert_type(await hits.call(Counter.ask_later, "word"), str)
        assert_type(await hits.call(Counter.pass_on, hits, 3), int)

        twice = tree.ref(Doubling, "twice")
        assert_type(await twice.call(Counter.add, 3), int)
        assert_type(await twice.call(Doubling.twice, 3), int)
        takes_counter(twice)

        timer = hits.send_after(1.0, Counter.add, 1)
        assert_type(timer.cancel(), float | None)
        assert_type(await asyncio.to_thread(in_thread, hits), int)

        started = await kb.start(Counter, start=3)
        assert_type(started, kb.ActorRef[Counter])
        assert_type(kb.named(Counter, "name"), kb.ActorRef[Counter])
        assert_type(await started.wait_exit(1.0), kb.ExitReason | None)

        spawned = kb.spawn(worker, "prefix", count=1)
        answer: int = await spawned.ask(lambda reply: ("question", reply))
        assert answer
        one, two = await asyncio.gather(hits.call(Counter.add, 1), hits.call(Counter.fetch, "url"))
        assert_type(one, int)
        assert_type(two, bytes)


async def without_a_runtime() -> None:
    assert_type(Counter(start=2).add(3), int)
    assert_type(await Counter().fetch("url"), bytes)


if __name__ == "__main__":
    kb.run(main)
