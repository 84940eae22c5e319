"""Inference: a model is loaded once per worker, each client has its worker, and any worker may be killed.

Run it with:  .venv/bin/python examples/inference.py [REQUESTS]      (2000 by default)
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import sys
from collections import Counter

import koboshi as kb

FEATURES, HIDDEN, LABELS = 16, 32, ("cat", "dog", "owl")


class Model(kb.Actor):
    """A small network. Its constructor stands for minutes of loading; it runs once in each worker."""

    def __init__(self, seed: int) -> None:
        weights = random.Random(seed)
        self.inner = [[weights.gauss(0, 1) for _ in range(FEATURES)] for _ in range(HIDDEN)]
        self.outer = [[weights.gauss(0, 1) for _ in range(HIDDEN)] for _ in LABELS]
        # Stands for what is kept of a conversation: it is of use only in the worker that has it.
        self.known: Counter[str] = Counter()

    @kb.message
    def predict(self, client: str, features: list[float]) -> tuple[str, int, int]:
        """The label, how many requests of this client came here before, and the process."""
        if len(features) != FEATURES:
            raise ValueError(f"expected {FEATURES} features, got {len(features)}")
        hidden = [math.tanh(dot(row, features)) for row in self.inner]
        scores = [math.exp(dot(row, hidden)) for row in self.outer]
        best = max(range(len(LABELS)), key=scores.__getitem__)
        self.known[client] += 1
        return LABELS[best], self.known[client] - 1, os.getpid()


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    # A prediction has no effects, so one whose worker dies may be made again by another. A spare has the
    # model loaded already and takes the place of the dead worker at once. The key is a message's first
    # argument, so each client's requests go to one worker, in order.
    pool = kb.pool(kb.child(Model, seed=7), size=2, retries=2, spares=1, strategy="by_key")
    async with kb.Supervisor(pool.options(id="model")) as tree:
        model = tree.ref(Model, "model")
        data = random.Random(1)
        labels, workers, found = Counter[str](), Counter[int](), 0

        async def ask(number: int) -> None:
            nonlocal found
            features = [data.gauss(0, 1) for _ in range(FEATURES)]
            label, before, pid = await model.call(Model.predict, f"client {number % 10}", features)
            labels[label] += 1
            workers[pid] += 1
            found += before > 0
            if number == requests // 2:
                os.kill(pid, signal.SIGKILL)

        for first in range(0, requests, 100):  # a hundred clients at a time
            async with asyncio.TaskGroup() as group:
                for number in range(first, min(first + 100, requests)):
                    group.create_task(ask(number))
        print(f"{labels.total()} of {requests} answered, most of them {labels.most_common(1)[0][0]}")
        print(f"one worker was killed, and {len(workers)} have answered in all")
        print(f"{found * 100 // requests} % went to the worker that knew their client")

        try:
            await model.call(Model.predict, "client 1", [1.0])
        except kb.ActorExited as exited:
            print("a bad request costs itself alone:", exited.__cause__)


if __name__ == "__main__":
    kb.run(main, log_level=None)
