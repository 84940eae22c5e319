"""Mistakes that a strict checker must refuse, each on the line that ends with `# refused`."""

from __future__ import annotations

import koboshi as kb


class Counter(kb.Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    @kb.message
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @kb.message
    async def fetch(self, url: str) -> bytes:
        return url.encode()


class Doubling(Counter):
    @kb.message
    def twice(self, n: int) -> int:
        return 2 * self.add(n)


class Other(kb.Actor):
    @kb.message
    def ping(self) -> int:
        return 1

    def hidden(self) -> int:
        return 2


async def worker(prefix: str) -> None:
    number = await kb.receive(int)
    text: str = number  # refused
    assert text + prefix


async def mistakes(hits: kb.ActorRef[Counter], other: kb.ActorRef[Other]) -> None:
    await hits.call(Counter.add, "3")  # refused
    await hits.call(Counter.add)  # refused
    await hits.call(Counter.add, 1, 2)  # refused
    await hits.call(Counter.add, m=1)  # refused
    await hits.call(Counter.fetch, "url", timeout=1.0)  # refused
    await hits.call(Other.ping)  # refused
    await hits.call(Doubling.twice, 1)  # refused
    await other.call(Other.hidden)  # refused
    await hits.call("add", 1)  # refused
    hits.cast(Counter.add, 1, 2)  # refused
    hits.cast(Other.ping)  # refused
    await hits.send(Counter.add, "3")  # refused
    hits.send_after(1.0, Counter.add)  # refused
    hits.threadsafe.cast(Counter.add, "3")  # refused
    reply: str = await hits.call(Counter.add, 3)  # refused
    fetched: str = await hits.call(Counter.fetch, "url")  # refused
    plain: str = Counter().add(1)  # refused
    total: int = hits.call(Counter.add, 3)  # refused
    subclass: kb.ActorRef[Doubling] = hits  # refused
    await hits.within("0.2").call(Counter.add, 1)  # refused
    print(reply, fetched, plain, total, subclass)


async def starts() -> None:
    kb.child(Counter, start="x")  # refused
    kb.child(Counter, begin=1)  # refused
    kb.child(Counter).options(restart="always")  # refused
    kb.child(Counter).options(restrat="transient")  # refused
    kb.child(worker)  # refused
    kb.Supervisor(kb.child(Counter), strategy="some_for_all")  # refused
    kb.Supervisor(Counter)  # refused
    await kb.start(Counter, start="x")  # refused
    kb.spawn(worker, 1)  # refused
    ref: kb.ActorRef[Other] = await kb.start(Counter)  # refused
    print(ref)
