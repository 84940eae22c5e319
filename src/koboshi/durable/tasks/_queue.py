"""`Queue`: tasks that survive any crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ParamSpec, TypeVar

from ..._kernel._errors import UsageError
from ..._supervision._options import one_of, seconds, whole
from ..._supervision._spec import ChildSpec, child
from ..._supervision._supervisor import Supervisor
from ...workers import Pool, pool
from ..actors._key_ring import KeyRing
from ..actors._rotation import KeyRotation
from ..stores import LEASE, StoreURL
from . import _batches, _counters, _look
from ._batches import BatchInfo
from ._claim import Rate
from ._cron import Missed, Schedule
from ._desk import Desk
from ._job import Job
from ._live import Live, find_live
from ._look import Discard, Requeue, TaskInfo, TaskState
from ._options import PutOptions
from ._plan import Plan
from ._putting import Putting, checked
from ._reseal import keys_in_use, reseal
from ._runner import Runner
from ._schedule import Scheduled
from ._statistics import QueueStatistics, statistics_of
from ._task import Task

__all__ = ["CONCURRENCY", "GRACE", "MAX_BYTES", "Queue", "part_of", "parts_of"]

P = ParamSpec("P")
R = TypeVar("R")

#: Bytes that the arguments or the result of a task may take.
MAX_BYTES = 1024 * 1024
CONCURRENCY = 100
GRACE = 10.0
_STATES = ("ready", "later", "claimed", "done", "dead", "cancelled")


class Queue(Putting):
    """A queue of tasks in a store. Put its `child()` under a supervisor; the object is how tasks are put.

    What was put is there after any crash, of a worker, of the program, of the machine. Each task ends once, with a
    result or as a dead letter with its crash report.

    Args:
        name: of the queue; several queues may be in one store, and several programs may have the same one.
        store: a URL: `sqlite:///app.db`, `memory://name`, `postgresql+asyncpg://...`.
        limit: tasks that may wait in it (default None: any number); one more raises `QueueFull`.
        rate: how fast tasks may be started, by all programs together (default None: as fast as can be).
        keep_results: seconds that the result of a task is kept, and its id with it (default one day); None: for
            ever. A batch is known of for as long after its end.
        max_bytes: that the arguments or the result of one task may take (default 1 MiB).
        lease: seconds for which a program on a server's database that is not heard of keeps its tasks (default
            15.0). On SQLite they are free at the moment of its death.
        keep_dead: seconds that a dead letter is kept (default None: until it is requeued or discarded).
        keys: arguments, results and reports are encrypted with these in the store (default None: they are not).
            Names of tasks, ids, unique keys and times are not encrypted.

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        name: str,
        *,
        store: StoreURL,
        limit: int | None = None,
        rate: Rate | None = None,
        keep_results: float | None = 86_400.0,
        max_bytes: int = MAX_BYTES,
        lease: float = LEASE,
        keep_dead: float | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        self._plan = Plan(name, store, limit, rate, keep_results, max_bytes, lease, keep_dead, keys)
        self._schedules: list[Schedule] = []

    @property
    def name(self) -> str:
        """Its name."""
        return self._plan.name

    def __repr__(self) -> str:
        return f"<Queue {self._plan.name!r} in {self._plan.shown}>"

    # -- in the tree -------------------------------------------------------------------------------

    def child(
        self,
        *,
        workers: int | ChildSpec[Pool] | None = None,
        concurrency: int = CONCURRENCY,
        grace: float = GRACE,
    ) -> ChildSpec[Supervisor]:
        """Runs the queue's tasks in this program: a supervisor of its parts, with the queue's name as its id.

        Args:
            workers: OS processes for `def` tasks (default: one per core), or a `kb.pool(...)` with options.
            concurrency: coroutines of `async def` tasks that may run at once (default 100).
            grace: seconds that running tasks have when this stops (default 10.0); the rest is given back.
        """
        parts = parts_of(self._plan, workers, concurrency, grace, tuple(self._schedules))
        spec = child(Supervisor, *parts, strategy="rest_for_one")
        return spec.options(id=self._plan.name, shutdown=grace + 15.0)

    def producer(self) -> ChildSpec[Supervisor]:
        """For a program that puts tasks and waits for results, and runs none."""
        return child(Supervisor, part_of(self._plan, child(Desk, self._plan), "desk")).options(
            id=self._plan.name
        )

    def cron(
        self,
        line: str,
        task: Task[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Put a task whenever a line of a crontab says so, in UTC; see `schedule` for more options."""
        self.schedule(line).put(task, *args, **kwargs)

    def schedule(
        self,
        line: str,
        *,
        name: str | None = None,
        timezone: str = "UTC",
        missed: Missed = "fire_once",
        priority: int = 0,
    ) -> Scheduled:
        """`queue.schedule("0 3 * * *", name="nightly").put(task)`: put it at 3 o'clock. Call it before `child()`.

        Each occurrence is one task with an id made of the name and the time, so that several programs put it once.

        Args:
            line: minute, hour, day, month, day of the week; with seconds before them, if there are six.
            name: of the schedule (default: the task's name and the line).
            timezone: in which the line is meant (default "UTC").
            missed: what becomes of occurrences while no program ran: "fire_once" (default) puts the last one,
                "fire_all" puts all, "skip" none.
            priority: of the tasks.
        """
        options = PutOptions(priority=priority)
        return Scheduled(self._plan, self._schedules, line, name, timezone, missed, options)

    # -- looking and acting ------------------------------------------------------------------------

    def job(self, task: Task[P, R], id: str) -> Job[R]:
        """A task that was put before, by its id, to wait for its result or cancel it."""
        return Job(self._plan, checked(task), id, False)

    async def batch(self, id: str) -> BatchInfo | None:
        """A batch, or None if there is none with this id."""
        found = await self._live().store.read(
            lambda session: _batches.read_batches(session, [(self.name, id)])
        )
        return found[0] if found else None

    async def tasks(self, state: TaskState, *, page: int = 1_000) -> AsyncIterator[TaskInfo]:
        """All tasks in one state in the order of their ids: `async for task in queue.tasks("dead")`."""
        one_of("state", state, _STATES)
        whole("page", page, 1)
        after, vault = "", self._plan.vault
        store = self._live().store
        while found := await store.read(
            lambda session, after=after: _look.page(session, self.name, vault, state, after, page)  # type: ignore[misc]
        ):
            for each in found:
                yield each
            after = found[-1].id

    async def requeue(self, *ids: str) -> int:
        """Give dead letters all their attempts again; how many of these ids were dead letters."""
        live = self._live()
        found = await live.store.run(Requeue(self.name, ids))
        live.wake()
        return found

    async def discard(self, *ids: str) -> int:
        """Forget dead letters; how many of these ids were dead letters."""
        return await self._live().store.run(Discard(self.name, ids))

    async def rotate_keys(self, *, portion: int = 500) -> KeyRotation:
        """Seal all that the store has of this queue with the current key of `keys`, while tasks go on.

        What does not open is left as it is, logged, and named in what this returns. It may be cut off, and
        asked again.

        Args:
            portion: rows of one transaction (default 500).

        Raises:
            UsageError: the queue has no keys.
        """
        whole("portion", portion, 1)
        if not self._plan.vault.has_keys:
            raise UsageError(f"{self!r} has no keys; pass keys=kb.KeyRing(...)")
        return await reseal(self._live().store, self.name, self._plan.vault, portion)

    async def keys_in_use(self) -> dict[str | None, int]:
        """How many values that the store has of this queue each key seals: arguments, results and reports.

        None: not encrypted. A key that seals none can go from `keys`. All of the queue is read for it, in portions.
        """
        return await keys_in_use(self._live().store, self.name)

    async def pause(self) -> None:
        """Have no program begin further tasks of this queue until `resume`. Those that run go on.

        Other programs see it within a second or two; what they hold and have not begun they give back then.
        """
        await self._pause(1)
        flow = self._live().flow
        if flow is not None:
            flow.hold_back()

    async def resume(self) -> None:
        """Undo `pause`."""
        await self._pause(0)
        self._live().wake()

    async def _pause(self, value: int) -> None:
        name = _counters.paused_name(self.name)
        await self._live().store.change(lambda session: _counters.write(session, name, value))

    async def scale(self, workers: int) -> None:
        """Have so many worker processes in this program; those too many finish what they have in hand."""
        whole("workers", workers, 1)
        flow = self._live().flow
        if flow is None:
            raise UsageError(f"{self!r} runs no tasks here: its child is a producer")
        flow.scale(workers)

    async def statistics(self) -> QueueStatistics:
        """How it stands, in all programs, and what this one did since its child started."""
        return await statistics_of(self._live(), self.name)

    def _live(self) -> Live:
        return find_live(self._plan)


def parts_of(
    plan: Plan,
    workers: int | ChildSpec[Pool] | None,
    concurrency: int,
    grace: float,
    schedules: tuple[Schedule, ...],
) -> tuple[ChildSpec[Any], ...]:
    """What runs a queue's tasks, in the order in which one needs the other; see `Queue.child`."""
    whole("concurrency", concurrency, 1)
    seconds("grace", grace)
    if isinstance(workers, ChildSpec):
        spec = workers
    else:
        if workers is not None:
            whole("workers", workers, 1)
        spec = pool(size=workers)
    runner = child(Runner, plan, concurrency, grace, schedules)
    return (
        part_of(plan, child(Desk, plan), "desk"),
        part_of(plan, spec, "pool"),
        part_of(plan, runner, "runner").options(shutdown=grace + 5.0),
    )


def part_of(plan: Plan, spec: Any, name: str) -> ChildSpec[Any]:
    """A child by its name within the queue, under which the other parts find it."""
    return spec.options(id=name, name=plan.part(name))  # type: ignore[no-any-return]
