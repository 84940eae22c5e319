"""The pykka side: `ThreadingActor`, `ask` and `tell`.

References and `on_receive` are used, not proxies: they are pykka's faster way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Protocol
from typing import cast as typed

import pykka

from rows import FANOUT_ACTORS, RING_ACTORS
from sides.protocol import Batch, Batches, rate, resident_bytes, serve

WARM_IDLE = 50


class Counter(pykka.ThreadingActor):
    """Adds up and answers with the sum."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def on_receive(self, message: object) -> int:
        self.value += typed(int, message)
        return self.value


CounterRef = pykka.ActorRef[Counter]


class Caller(pykka.ThreadingActor):
    """Asks as often as it is told to."""

    def __init__(self, counter: CounterRef) -> None:
        super().__init__()
        self.counter = counter

    def on_receive(self, message: object) -> Batch:
        size = typed(int, message)
        ask = self.counter.ask
        total = 0
        began = time.perf_counter()
        for _ in range(size):
            total += typed(int, ask(1))
        return rate(size, time.perf_counter() - began, total)


class Caster(Caller):
    """Tells as often as it is told to, and asks for the sum at the end."""

    def on_receive(self, message: object) -> Batch:
        size = typed(int, message)
        tell = self.counter.tell
        began = time.perf_counter()
        for i in range(1, size + 1):
            tell(i)
        total = typed(int, self.counter.ask(0))
        return rate(size, time.perf_counter() - began, total)


def _between_two(caller: type[Caller], size: int) -> Batches:
    while True:
        counter = Counter.start(0)
        ref = caller.start(counter)
        batch = typed(Batch, ref.ask(size))
        _stop([ref, counter])
        yield batch


def call(size: int) -> Batches:
    return _between_two(Caller, size)


def cast(size: int) -> Batches:
    return _between_two(Caster, size)


class Starter(pykka.ThreadingActor):
    """Starts counters. `start` returns when `__init__` has run."""

    def on_receive(self, message: object) -> tuple[float, list[CounterRef]]:
        began = time.perf_counter()
        started = [Counter.start(i) for i in range(typed(int, message))]
        return time.perf_counter() - began, started


def start(size: int) -> Batches:
    while True:
        starter = Starter.start()
        seconds, started = typed("tuple[float, list[CounterRef]]", starter.ask(size))
        total = sum(typed(int, ref.ask(0)) for ref in started)
        _stop([starter, *started])
        yield rate(size, seconds, total)


def idle_bytes(size: int) -> Batches:
    warm = [Counter.start(i) for i in range(WARM_IDLE)]
    for ref in warm:
        ref.ask(1)
    before = resident_bytes()
    started = [Counter.start(i) for i in range(size)]
    total = sum(typed(int, ref.ask(1)) for ref in started)
    figure = (resident_bytes() - before) / size
    _stop([*warm, *started])
    yield Batch((figure,), total)


class Node(pykka.ThreadingActor):
    """One place in the ring. The first message is the next actor, the others are the token."""

    def __init__(self, done: threading.Event) -> None:
        super().__init__()
        self.visits = 0
        self.done = done
        self.next: pykka.ActorRef[Node] | None = None

    def on_receive(self, message: object) -> int | None:
        match message:
            case int(left):
                self.visits += 1
                if left == 1:
                    self.done.set()
                elif self.next is not None:
                    self.next.tell(left - 1)
                return None
            case pykka.ActorRef():
                self.next = typed("pykka.ActorRef[Node]", message)
                return None
            case _:
                return self.visits


def ring(size: int) -> Batches:
    while True:
        done = threading.Event()
        nodes = [Node.start(done) for _ in range(RING_ACTORS)]
        for i, node in enumerate(nodes):
            node.ask(nodes[(i + 1) % RING_ACTORS])
        began = time.perf_counter()
        nodes[0].tell(size)
        done.wait()
        seconds = time.perf_counter() - began
        total = sum(place * typed(int, node.ask("visits")) for place, node in enumerate(nodes, 1))
        _stop(nodes)
        yield rate(size, seconds, total)


class Leaf(pykka.ThreadingActor):
    """Counts what it gets and answers the sender with its place and its count."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place
        self.count = 0

    def on_receive(self, message: object) -> None:
        self.count += 1
        typed("pykka.ActorRef[Hub]", message).tell(self.place + self.count)


class Hub(pykka.ThreadingActor):
    """Sends to every leaf, waits for every answer, and begins again."""

    def __init__(self, leaves: list[pykka.ActorRef[Leaf]], done: threading.Event) -> None:
        super().__init__()
        self.leaves = leaves
        self.done = done
        self.rounds = 0
        self.missing = 0
        self.total = 0

    def on_receive(self, message: object) -> int | None:
        match message:
            case int(answer):
                self.total += answer
                self.missing -= 1
                if self.missing == 0:
                    self._next_round()
                return None
            case ("go", int(rounds)):
                self.rounds = rounds
                self._next_round()
                return None
            case _:
                return self.total

    def _next_round(self) -> None:
        if self.rounds == 0:
            self.done.set()
            return
        self.rounds -= 1
        self.missing = len(self.leaves)
        for leaf in self.leaves:
            leaf.tell(self.actor_ref)


def fanout(size: int) -> Batches:
    while True:
        done = threading.Event()
        leaves = [Leaf.start(place) for place in range(FANOUT_ACTORS)]
        hub = Hub.start(leaves, done)
        began = time.perf_counter()
        hub.tell(("go", size // (2 * FANOUT_ACTORS)))
        done.wait()
        seconds = time.perf_counter() - began
        total = typed(int, hub.ask("total"))
        _stop([hub, *leaves])
        yield rate(size, seconds, total)


class _Stoppable(Protocol):
    def stop(self) -> object: ...


def _stop(refs: Iterable[_Stoppable]) -> None:
    for ref in refs:
        ref.stop()


if __name__ == "__main__":
    serve(
        {
            "call": call,
            "cast": cast,
            "start": start,
            "idle_bytes": idle_bytes,
            "ring": ring,
            "fanout": fanout,
        }
    )
