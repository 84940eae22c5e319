"""The demo's supervision tree, and what can be seen of it while it runs.

demo [one_for_one]
 +- demo [rest_for_one]    the task processor: desk, pool, runner, aggregator, tally, loader
 +- killer                 kills a random worker process every now and then
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import deque
from dataclasses import dataclass

import koboshi as kb
from koboshi.durable import TaskDied, TaskProcessor, TaskRetried

from . import _aggregate
from ._aggregate import Totals
from ._options import Options
from ._source import Passes, path_of
from ._work import measure

__all__ = ["QUEUE", "Crashes", "Killer", "Processor", "Snapshot", "demo_tree", "make_processor"]

#: The queue's name in the store.
QUEUE = "demo"

Processor = TaskProcessor[str, str, Totals]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the views show, at one moment.

    Attributes:
        seconds: since the start.
        passes: how many were begun.
        files: of one pass.
        settled: files that have a result or are dead letters, in all passes.
        rate: files per second in this run.
    """

    seconds: float
    passes: int
    files: int
    settled: int
    dead: int
    rate: float
    workers: tuple[kb.WorkerInfo, ...]
    kills: int
    crashes: tuple[str, ...]

    @property
    def restarts(self) -> int:
        """How often a worker process was replaced."""
        return sum(worker.restarts for worker in self.workers)


class Killer(kb.Actor):
    """Kills a random worker process with SIGKILL every `every` seconds, each process once."""

    def __init__(self, processor: Processor, every: float) -> None:
        self._processor = processor
        self._every = every
        # A process that was killed is listed until the pool has noticed; a second kill would hit nobody.
        self._victims: set[int] = set()
        self._kills = 0

    def on_start(self) -> None:
        if self._every > 0:
            self.me.send_interval(self._every, Killer.strike)

    @kb.message
    async def strike(self) -> None:
        """Kill one."""
        if self._every <= 0:
            return
        pool = await self._processor.pool.call(kb.Pool.statistics)
        alive = {worker.pid for worker in pool.workers if worker.pid is not None}
        self._victims &= alive
        if candidates := sorted(alive - self._victims):
            victim = random.choice(candidates)
            os.kill(victim, signal.SIGKILL)
            self._victims.add(victim)
            self._kills += 1

    @kb.message
    def cease(self) -> int:
        """Kill no more; how many it were."""
        self._every = 0.0
        return self._kills

    @kb.message
    def kills(self) -> int:
        """How many were killed so far."""
        return self._kills


class Crashes:
    """An instrument that keeps the last crashes as lines."""

    def __init__(self, keep: int = 5) -> None:
        self.lines: deque[str] = deque(maxlen=keep)

    def __call__(self, event: kb.events.Event, /) -> None:
        if isinstance(event, TaskRetried | TaskDied):
            self._add(f"{path_of(event.task)}: {event.report.partition(chr(10))[0]}")
        elif isinstance(event, kb.events.CrashReport):
            self._add(" ".join(str(event.error).split()))

    def _add(self, text: str) -> None:
        self.lines.append(f"{time.strftime('%H:%M:%S')} {text}")


def make_processor(options: Options, store: str, passes: Passes) -> Processor:
    """The task processor of the demo."""
    # Deaths are the point here, so the pool may not take them for a reason to give up.
    pool = kb.pool(size=options.workers, max_restarts=1_000_000)
    return TaskProcessor(
        store,
        measure,
        fold=_aggregate.fold,
        initial=dict,
        source=passes.source,
        workers=pool,
        name=QUEUE,
    )


def demo_tree(processor: Processor, options: Options) -> kb.Supervisor:
    """The whole tree; use it as an `async with`."""
    return kb.Supervisor(
        processor.child(),
        kb.child(Killer, processor, options.kill_every).options(id="killer"),
    )
