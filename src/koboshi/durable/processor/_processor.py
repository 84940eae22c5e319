"""`TaskProcessor`: tasks from a source, through a queue and worker processes, into one total."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar, cast

from ..._kernel._errors import CallError, UsageError
from ..._kernel._message import Message
from ..._kernel._ref import ActorRef
from ..._supervision._options import whole
from ..._supervision._spec import ChildSpec, child
from ..._supervision._supervisor import Supervisor
from ...workers import Pool
from ..actors._key_ring import KeyRing
from ..stores import LEASE, StoreURL
from ..tasks import Queue, Task
from ..tasks._putting import checked
from ..tasks._queue import CONCURRENCY, GRACE, MAX_BYTES, part_of, parts_of
from ..tasks._statistics import QueueStatistics
from ._aggregator import Aggregator
from ._loader import Loader, put_pairs
from ._plan import OrderedQueue, Plan, Result, Source
from ._tally import Tally

__all__ = ["TaskProcessor"]

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")

# Seconds between two tries to reach a part that is being restarted.
_AGAIN = 0.02


class TaskProcessor(Generic[T, R, S]):
    """Runs a task on everything that a source gives, and folds the results into one total, each exactly once.

    Put `processor.child()` into a supervision tree; the object itself is how the rest of the program talks
    to it. What was accepted survives any crash: start again with the same store, and it goes on.

    Args:
        store: a URL: `sqlite:///app.db`, `postgresql+asyncpg://...`, `memory://name`.
        work: a task of one argument: what `@kb.task` makes of a function, with its retries and its timeout. It may
            run more than once for one id; only one result counts.
        fold: takes the total and one result, gives the new total (which may be the same object, changed). It is
            called in the order of the results' commits, which differs from run to run.
        initial: makes the total before the first result; called again when the total is made anew.
        source: gives (id, argument) pairs each time it is called, always from the first one on; ids that
            are known change nothing. None (default): tasks come through `put_many` only.
        name: of the queue in the store (default "tasks").
        workers: how many worker processes (default: one per core), or a `kb.pool(...)` with options.
        concurrency: coroutines that may run at once if the task is `async def` (default 100).
        ahead: tasks that may wait in the queue; the source is not read further meanwhile (default 10,000).
        grace: seconds that running tasks have when this stops (default 10.0); the rest is given back.
        lease: seconds for which a program on a server's database that is not heard of keeps its tasks (default 15.0).
        max_bytes: that an argument or a result may take (default 1 MiB).
        keys: arguments, results and reports are encrypted with these in the store (default None: they are not).

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        store: StoreURL,
        work: Callable[[T], Coroutine[Any, Any, R]] | Callable[[T], R],
        *,
        fold: Callable[[S, Result[R]], S],
        initial: Callable[[], S],
        source: Source[T] | None = None,
        name: str = "tasks",
        workers: int | ChildSpec[Pool] | None = None,
        concurrency: int = CONCURRENCY,
        ahead: int = 10_000,
        grace: float = GRACE,
        lease: float = LEASE,
        max_bytes: int = MAX_BYTES,
        keys: KeyRing | None = None,
    ) -> None:
        whole("ahead", ahead, 1)
        task = _of_one_argument(checked(work))
        for option, given in (("fold", fold), ("initial", initial), ("source", source)):
            if not callable(given) and not (option == "source" and given is None):
                raise UsageError(f"{option} takes a function, got {given!r}")
        queue = OrderedQueue(name, store=store, limit=ahead, lease=lease, max_bytes=max_bytes, keys=keys)
        self._plan = Plan(queue, task, source, fold, initial)
        self._parts = parts_of(queue.plan, workers, concurrency, grace, ())
        self._grace = grace

    def __repr__(self) -> str:
        plan = self._plan.queue.plan
        return f"<TaskProcessor {plan.name!r} in {plan.shown} work={self._plan.work.name}>"

    def child(self) -> ChildSpec[Supervisor]:
        """The spec of its supervision tree, with the queue's name as its id.

        The parts are in the order in which they need each other: when one crashes, it and all after it are
        started again.
        """
        plan, queue = self._plan, self._plan.queue.plan
        parts = (
            *self._parts,
            part_of(queue, child(Aggregator, plan), "aggregator"),
            part_of(queue, child(Tally, plan), "tally"),
            part_of(queue, child(Loader, plan), "loader"),
        )
        spec = child(Supervisor, *parts, strategy="rest_for_one")
        return spec.options(id=queue.name, shutdown=self._grace + 15.0)

    @property
    def queue(self) -> Queue:
        """The queue, to look at tasks and dead letters, to cancel, requeue, pause or scale."""
        return self._plan.queue

    @property
    def pool(self) -> ActorRef[Pool]:
        """The pool of worker processes, for its statistics."""
        return self._plan.find(Pool, "pool")

    async def put_many(self, tasks: Iterable[tuple[str, T]]) -> list[bool]:
        """Adds (id, argument) pairs beside the source's, waiting for room; for each, whether its id was new.

        They are put in portions of 256, each in one transaction.

        Raises:
            StoreClosed: the processor is not running, or is being restarted.
            PayloadTooLarge: an argument does not fit.
        """
        return await put_pairs(self._plan, tasks)

    async def total(self) -> S:
        """The total over all results that are recorded now; treat it as read-only."""
        return cast("S", await self._plan.find(Aggregator, "aggregator").call(Aggregator.total))

    async def statistics(self) -> QueueStatistics:
        """How the tasks stand, and what this program did since it was started."""
        return await self._plan.queue.statistics()

    async def wait_settled(self, tasks: int) -> None:
        """Wait until so many tasks have ended, with a result, as dead letters, or cancelled."""
        whole("tasks", tasks, 0)
        await self._wait(Tally.wait_settled, tasks)

    async def wait_finished(self) -> None:
        """Wait until the source has no more tasks and all that were put have ended."""
        await self._wait(Tally.wait_finished)

    async def _wait(self, message: Message[Tally, ..., None, object], *args: object) -> None:
        """Asks the tally, again after each of its restarts: the question outlives whom it was put to."""
        while True:
            try:
                return await self._plan.find(Tally, "tally").call(message, *args)
            except CallError:
                await asyncio.sleep(_AGAIN)


def _of_one_argument(task: Task[..., Any]) -> Task[..., Any]:
    signature = inspect.signature(task.function)
    try:
        signature.bind(None)
    except TypeError as error:
        raise UsageError(
            f"work takes a task of one argument, which is what the source gives beside the id, got "
            f"{task.name}{signature}: {error}; give it one, such as a Struct or a tuple, or defaults for the others"
        ) from None
    return task
