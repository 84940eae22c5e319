"""`TaskProcessor`: jobs from a source, through a ledger and worker processes, into one total."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from .._kernel._errors import CallError
from .._kernel._message import Message
from .._kernel._ref import ActorRef
from .._supervision._dynamic import DynamicSupervisor
from .._supervision._spec import ChildSpec, child
from .._supervision._supervisor import Supervisor
from ..workers import Pool, pool
from ._aggregator import Aggregator
from ._backoff import Backoff
from ._feeder import Feeder, FeederStatistics
from ._jobs import Counts, Result
from ._keeper import Keeper
from ._ledger import Ledger
from ._loader import Loader
from ._plan import Plan, Source, Work

__all__ = ["ProcessorStatistics", "TaskProcessor"]

S = TypeVar("S")

# Seconds between two tries to reach a part that is being restarted.
_AGAIN = 0.02


@dataclass(frozen=True, slots=True)
class ProcessorStatistics:
    """A task processor at one moment: the ledger's jobs, and its task actors since they were last started."""

    jobs: Counts
    tasks: FeederStatistics


class TaskProcessor(Generic[S]):
    """Runs `work` on every job of `source` in worker processes and folds the results, each exactly once.

    Put `processor.child()` into a supervision tree; the object itself is how the rest of the program talks
    to it. What was accepted survives any crash: start again with the same store, and it goes on.

    Args:
        store: the ledger's SQLite file, created if missing; one processor at a time.
        work: payload in, result out; a plain function that can be imported, run in a worker process. What
            it raises fails the attempt. It may run more than once for a job; only one result counts.
        fold: takes the total and one result, gives the new total (which may be the same object, changed).
        initial: makes the total before the first result; called again when the total is rebuilt.
        source: gives (id, payload) pairs each time it is called, always from the first one on; ids that
            are known change nothing. None (default): jobs come through `put_many` only.
        workers: how many worker processes (default: one per core), or a `kb.pool(...)` with options.
        in_flight: task actors at a time (default 256), and so what a crash of the program can interrupt.
        ahead: the source is not read further while so many jobs wait (default 10,000).
        lease: seconds that a claim lasts unless renewed; it is renewed while its task lives (default 60.0).
        max_attempts: a job that raised so often is a dead letter (default 3).
        max_interruptions: a job is a dead letter if it loses its worker more often than this (default 5):
            then it is probably what kills them. Fewer do not count as attempts.
        backoff: how long a failed job waits (default 1 s, doubling, up to 300 s, half of it random).
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        work: Work,
        *,
        fold: Callable[[S, Result], S],
        initial: Callable[[], S],
        source: Source | None = None,
        workers: int | ChildSpec[Pool] | None = None,
        in_flight: int = 256,
        ahead: int = 10_000,
        lease: float = 60.0,
        max_attempts: int = 3,
        max_interruptions: int = 5,
        backoff: Backoff | None = None,
    ) -> None:
        counted = {"in_flight": in_flight, "ahead": ahead, "max_attempts": max_attempts}
        for name, value in counted.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        if max_interruptions < 0:
            raise ValueError(f"max_interruptions must be at least 0, got {max_interruptions!r}")
        if not 0.0 < lease < float("inf"):
            raise ValueError(f"lease must be a positive number of seconds, got {lease!r}")
        self._plan = Plan(
            store=os.path.abspath(store),
            work=work,
            source=source,
            fold=fold,
            initial=initial,
            pool=workers if isinstance(workers, ChildSpec) else pool(size=workers),
            in_flight=in_flight,
            ahead=ahead,
            lease=lease,
            max_attempts=max_attempts,
            max_interruptions=max_interruptions,
            backoff=Backoff() if backoff is None else backoff,
        )

    def __repr__(self) -> str:
        return f"<TaskProcessor {self._plan.store!r} work={self._plan.work.__qualname__}>"

    def child(self) -> ChildSpec[Supervisor]:
        """The spec of its supervision tree, id "tasks"; add `.options(id=...)` for another.

        The parts are in the order in which they need each other: when one crashes, it and all after it are
        started again.
        """
        plan = self._plan
        left_open: list[Ledger] = []
        parts = (
            _part(child(Keeper, plan, left_open), plan, "store"),
            _part(plan.pool, plan, "pool"),
            _part(child(Aggregator, plan), plan, "aggregator"),
            _part(child(Feeder, plan), plan, "feeder"),
            _part(child(DynamicSupervisor, max_children=plan.in_flight), plan, "tasks"),
            _part(child(Loader, plan), plan, "loader"),
        )
        return child(Supervisor, *parts, strategy="rest_for_one").options(id="tasks")

    @property
    def pool(self) -> ActorRef[Pool]:
        """The pool of worker processes, for its statistics."""
        return self._plan.find(Pool, "pool")

    async def put_many(self, jobs: Iterable[tuple[str, bytes]]) -> list[bool]:
        """Adds jobs beside the source's; returns after the commit. For each, whether its id was new.

        Raises:
            NotRunning, ActorExited: the processor is not running, or is being restarted.
        """
        ledger = await self.ledger()
        added = await ledger.put_many(jobs)
        self._plan.find(Feeder, "feeder").cast(Feeder.loaded)
        return added

    async def ledger(self) -> Ledger:
        """The ledger as it is open now, to look at jobs and dead letters. Do not close it."""
        return await self._plan.find(Keeper, "store").call(Keeper.ledger)

    async def total(self) -> S:
        """The total over all results that are committed now; treat it as read-only."""
        return cast("S", await self._plan.find(Aggregator, "aggregator").call(Aggregator.total))

    async def statistics(self) -> ProcessorStatistics:
        """Figures now."""
        ledger = await self.ledger()
        tasks = await self._plan.find(Feeder, "feeder").call(Feeder.statistics)
        return ProcessorStatistics(await ledger.counts(), tasks)

    async def wait_settled(self, jobs: int) -> None:
        """Wait until so many jobs of the ledger have ended, with a result or as dead letters."""
        await self._wait(Feeder.wait_settled, jobs)

    async def wait_finished(self) -> None:
        """Wait until the source has no more jobs and all that were put have ended."""
        await self._wait(Feeder.wait_finished)

    async def _wait(self, message: Message[Feeder, ..., None, object], *args: object) -> None:
        """Asks the feeder, again after each of its restarts: the question outlives whom it was put to."""
        while True:
            try:
                return await self._plan.find(Feeder, "feeder").call(message, *args)
            except CallError:
                await asyncio.sleep(_AGAIN)


P = TypeVar("P", bound=ChildSpec)  # type: ignore[type-arg]


def _part(spec: P, plan: Plan, name: str) -> P:
    return cast("P", spec.options(id=name, name=plan.name(name)))
