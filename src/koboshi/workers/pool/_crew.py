"""`Crew`: one worker of a pool and the processes that it is made of."""

from __future__ import annotations

from collections.abc import Callable

from ..process._process import WorkerProcess

__all__ = ["Crew", "nobody"]


def nobody(error: object) -> None:
    """A process ended before its `Worker` was told of it; `Engine.employ` will find out."""


class Crew:
    """One worker of a pool, from its start to its end, and what its owner wants to hear of it."""

    __slots__ = ("closing", "died", "done", "lane", "leaving", "name", "process")

    def __init__(self, name: str, done: int = 0, lane: int = 0) -> None:
        self.name = name
        # Its place among the workers of the pool.
        self.lane = lane
        # Called once, when `process` has ended and its jobs have been seen to.
        self.died: Callable[[Exception], None] = nobody
        # The process that takes jobs.
        self.process: WorkerProcess | None = None
        # Those that were replaced and still have jobs.
        self.leaving: set[WorkerProcess] = set()
        # Jobs with an outcome, those of the workers before it included.
        self.done = done
        # Its owner is ending: it is not to get another process.
        self.closing = False

    @property
    def processes(self) -> list[WorkerProcess]:
        """All that live."""
        both = self.leaving if self.process is None else self.leaving | {self.process}
        return [process for process in both if process.alive]
