"""`Queue`: tasks that survive any crash."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, cast, overload

from ..._kernel._errors import UsageError
from ..._supervision._options import seconds, whole
from ..._supervision._spec import ChildSpec, child
from ..._supervision._supervisor import Supervisor
from ...workers import Pool, pool
from .._failures import PayloadTooLarge, QueueFull
from ..stores import LEASE, StoreURL
from . import _batches, _counters, _look, _turn
from ._batches import BatchInfo, PutBatch
from ._claim import Rate
from ._cron import Missed, Schedule
from ._desk import Desk
from ._job import Job
from ._live import Live, find_live
from ._look import Requeue, TaskInfo, TaskState
from ._options import PutOptions, WhenFull, text
from ._plan import Plan
from ._put import FULL, PutTasks
from ._rows import TaskRow, new_id
from ._runner import Runner
from ._task import Task

__all__ = ["MAX_BYTES", "Put", "Queue", "QueueStatistics"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Bytes that the arguments or the result of a task may take.
MAX_BYTES = 1024 * 1024
CONCURRENCY = 100
GRACE = 10.0


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """A queue at one moment: its tasks in all programs, and what this program did since its child started.

    Attributes:
        waiting: ready, and for their time.
        claimed: in the hands of programs.
        running_here: those of them in this one's.
        done_here, retried_here, interrupted_here, died_here: attempts of this one, by what they came to.
    """

    waiting: int
    claimed: int
    done: int
    dead: int
    cancelled: int
    paused: bool
    running_here: int = 0
    done_here: int = 0
    retried_here: int = 0
    interrupted_here: int = 0
    died_here: int = 0


class Put:
    """A queue with options for the tasks that are put through it; made by `Queue.options`."""

    def __init__(self, plan: Plan, options: PutOptions) -> None:
        self._plan = plan
        self._options = options

    async def put(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """See `Queue.put`."""
        row = _row(self._plan, task, args, kwargs, self._options)
        [(id, new)] = await _put(self._plan, [row], self._options.when_full)
        return Job(self._plan, task, id, new)

    def enqueue(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """See `Queue.enqueue`."""
        row = _row(self._plan, task, args, kwargs, self._options)
        _turn.current().rows.append(row)
        return row.id

    def row(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskRow:
        """See `Queue.row`."""
        return _row(self._plan, task, args, kwargs, self._options)


class Queue:
    """A queue of tasks in a store. Put its `child()` under a supervisor; the object is how tasks are put.

    What was put is there after any crash, of a worker, of the program, of the machine. Each task ends once, with a
    result or as a dead letter with its crash report.

    Args:
        name: of the queue; several queues may be in one store, and several programs may have the same one.
        store: a URL: `sqlite:///app.db`, `memory://name`, `postgresql+asyncpg://...`.
        limit: tasks that may wait in it (default None: any number); one more raises `QueueFull`.
        rate: how fast tasks may be started, by all programs together (default None: as fast as can be).
        keep_results: seconds that the result of a task is kept, and its id with it (default one day); None: for
            ever. Dead letters are kept until they are requeued.
        max_bytes: that the arguments or the result of one task may take (default 1 MiB).
        lease: seconds for which a program on a server's database that is not heard of keeps its tasks (default
            15.0). On SQLite they are free at the moment of its death.

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
    ) -> None:
        self._plan = Plan(name, store, limit, rate, keep_results, max_bytes, lease)
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
        whole("concurrency", concurrency, 1)
        seconds("grace", grace)
        plan = self._plan
        if isinstance(workers, ChildSpec):
            spec = workers
        else:
            if workers is not None:
                whole("workers", workers, 1)
            spec = pool(size=workers)
        runner = child(Runner, plan, concurrency, grace, tuple(self._schedules))
        parts = (
            _part(child(Desk, plan), plan, "desk"),
            _part(spec, plan, "pool"),
            _part(runner, plan, "runner").options(shutdown=grace + 5.0),
        )
        return child(Supervisor, *parts, strategy="rest_for_one").options(id=plan.name, shutdown=grace + 15.0)

    def producer(self) -> ChildSpec[Supervisor]:
        """For a program that puts tasks and waits for results, and runs none."""
        return child(Supervisor, _part(child(Desk, self._plan), self._plan, "desk")).options(
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
        text("name", name)
        return Scheduled(self._plan, self._schedules, line, name, timezone, missed, options)

    # -- putting -----------------------------------------------------------------------------------

    @overload
    async def put(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    async def put(
        self,
        task: Callable[[*Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        id: str | None = None,
        priority: int = 0,
        run_at: datetime | float | None = None,
        delay: float | None = None,
        unique: str | None = None,
    ) -> Job[R]: ...
    @overload
    async def put(
        self,
        task: Callable[[*Ts], R],
        /,
        *args: *Ts,
        id: str | None = None,
        priority: int = 0,
        run_at: datetime | float | None = None,
        delay: float | None = None,
        unique: str | None = None,
    ) -> Job[R]: ...
    async def put(self, task: Any, /, *args: Any, **kwargs: Any) -> Job[Any]:  # type: ignore[misc]  # see `_split`
        """Put a task; returns after the commit.

        The options stand beside the arguments here, unless the function has a parameter of that name:
        `options(...)` is for these, and for arguments that are given by name together with options.

        Args:
            id: of the task (default: a new one). If the queue has a task with this id, none is put, and the job is
                that one; `job.new` tells.
            priority: higher ones are run first (default 0).
            run_at: not before this, a datetime with a time zone or seconds since the epoch.
            delay: seconds from now, in place of `run_at`.
            unique: none is put while another task with this key waits or runs; the job is that one.

        Raises:
            UsageError: the function does not take these arguments, or an option has no such value.
            PayloadTooLarge: the arguments take more than `max_bytes`.
            QueueFull: as many tasks wait as `limit` says.
            StoreClosed: the queue's child is not up on this event loop.
            StoreUnavailable, OutcomeUnknown: the store could not take it; with the same id it can be put again.
        """
        made = _checked(task)
        own, options = _split(made, kwargs)
        row = _row(self._plan, made, args, own, options)
        [(id, new)] = await _put(self._plan, [row], "raise")
        return Job(self._plan, made, id, new)

    @overload
    async def put_many(
        self,
        task: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T],
        /,
        *,
        ids: Callable[[T], str] | None = None,
        priority: int = 0,
        delay: float | None = None,
        when_full: WhenFull = "raise",
    ) -> list[Job[R]]: ...
    @overload
    async def put_many(
        self,
        task: Callable[[T], R],
        items: Iterable[T],
        /,
        *,
        ids: Callable[[T], str] | None = None,
        priority: int = 0,
        delay: float | None = None,
        when_full: WhenFull = "raise",
    ) -> list[Job[R]]: ...
    async def put_many(
        self,
        task: Any,
        items: Iterable[Any],
        /,
        *,
        ids: Callable[[Any], str] | None = None,
        priority: int = 0,
        delay: float | None = None,
        when_full: WhenFull = "raise",
    ) -> list[Job[Any]]:
        """Put a task for each item, all in one transaction or none. The task takes one argument.

        Args:
            ids: makes the id of each task from its item (default: new ones).
            when_full: what is done while the queue has no room for all: "raise" (default) or "wait".
        """
        options = PutOptions(priority=priority, delay=delay, when_full=when_full)
        made = _checked(task)
        rows: list[TaskRow] = []
        for item in items:
            row = _row(self._plan, made, (item,), {}, options)
            if ids is not None:
                id = ids(item)
                text("ids", id)
                row = row._replace(id=id)
            rows.append(row)
        found = await _put(self._plan, rows, when_full)
        return [Job(self._plan, made, id, new) for id, new in found]

    def options(
        self,
        *,
        id: str | None = None,
        priority: int = 0,
        run_at: datetime | float | None = None,
        delay: float | None = None,
        unique: str | None = None,
        when_full: WhenFull = "raise",
    ) -> Put:
        """The same queue with options for what is put: `queue.options(priority=5).put(task, name="x")`.

        Args:
            when_full: what `put` does while the queue has as many tasks as `limit` says: "raise" (default) raises
                `QueueFull`, "wait" waits for room.
        """
        return Put(self._plan, PutOptions(id, priority, run_at, delay, unique, when_full))

    def enqueue(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Inside a task: put another one in the transaction that records this one as done; its id.

        Raises:
            UsageError: it is called outside of a task.
        """
        return Put(self._plan, PutOptions()).enqueue(task, *args, **kwargs)

    def row(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskRow:
        """The task as `put_rows` takes it, for a transaction of one's own on the same store."""
        return Put(self._plan, PutOptions()).row(task, *args, **kwargs)

    async def put_batch(
        self, rows: Iterable[TaskRow], *, id: str | None = None, then: TaskRow | None = None
    ) -> str:
        """Put tasks that belong together, in one transaction; the id of the batch.

        Args:
            rows: made by `row`.
            id: of the batch (default: a new one). If there is one with this id, nothing is put.
            then: a task that is put, exactly once, in the transaction in which the last of the others ends, with a
                result, as a dead letter, or cancelled. Its id is the batch's with ".then".
        """
        text("id", id)
        chosen = new_id() if id is None else id
        text("id", f"{chosen}.then")
        tasks = [self._own(row)._replace(batch=chosen) for row in rows]
        live = self._live()
        await live.store.run(PutBatch(self.name, chosen, tasks, None if then is None else self._own(then)))
        live.wake()
        return chosen

    def _own(self, row: TaskRow) -> TaskRow:
        if row.queue != self.name:
            raise UsageError(f"a batch is of one queue, {self.name!r}, and a task is for {row.queue!r}")
        return row

    # -- looking and acting ------------------------------------------------------------------------

    def job(self, task: Task[P, R], id: str) -> Job[R]:
        """A task that was put before, by its id, to wait for its result or cancel it."""
        return Job(self._plan, _checked(task), id, False)

    async def batch(self, id: str) -> BatchInfo | None:
        """A batch, or None if there is none with this id."""
        found = await self._live().store.read(
            lambda session: _batches.read_batches(session, [(self.name, id)])
        )
        return found[0] if found else None

    async def tasks(self, state: TaskState, *, page: int = 1_000) -> AsyncIterator[TaskInfo]:
        """All tasks in one state in the order of their ids: `async for task in queue.tasks("dead")`."""
        after = ""
        store = self._live().store
        while found := await store.read(
            lambda session, after=after: _look.page(session, self.name, state, after, page)  # type: ignore[misc]
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

    async def pause(self) -> None:
        """Have no program begin further tasks of this queue until `resume`. Those that run go on."""
        await self._pause(1)

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
        """How it stands, in all programs."""
        live = self._live()
        name = _counters.paused_name(self.name)
        counts, numbers = await live.store.read(
            lambda session: (_look.count(session, self.name), _counters.read(session, [name]))
        )
        found = QueueStatistics(
            waiting=counts.get("ready", 0) + counts.get("later", 0),
            claimed=counts.get("claimed", 0),
            done=counts.get("done", 0),
            dead=counts.get("dead", 0),
            cancelled=counts.get("cancelled", 0),
            paused=bool(numbers.get(name)),
        )
        flow = live.flow
        if flow is None:
            return found
        return replace(
            found,
            running_here=len(flow.held),
            done_here=flow.done,
            retried_here=flow.failed,
            interrupted_here=flow.interrupted,
            died_here=flow.died,
        )

    def _live(self) -> Live:
        return find_live(self._plan.key, self._plan.shown)


class Scheduled:
    """A line of a crontab that has no task yet; made by `Queue.schedule`."""

    def __init__(
        self,
        plan: Plan,
        schedules: list[Schedule],
        line: str,
        name: str | None,
        timezone: str,
        missed: Missed,
        options: PutOptions,
    ) -> None:
        self._plan = plan
        self._schedules = schedules
        self._line = line
        self._name = name
        self._timezone = timezone
        self._missed: Missed = missed
        self._options = options

    def put(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Say what is put at these times."""
        row = _row(self._plan, task, args, kwargs, self._options)
        name = f"{task.name} {self._line}" if self._name is None else self._name
        if any(each.name == name for each in self._schedules):
            raise UsageError(f"there is a schedule named {name!r} already; give this one another name")
        self._schedules.append(
            Schedule(name, self._line, self._timezone, self._missed, row.function, row.payload, row.priority)
        )


_OPTIONS = ("id", "priority", "run_at", "delay", "unique")


def _split(task: Task[..., Any], kwargs: dict[str, Any]) -> tuple[dict[str, Any], PutOptions]:
    """The function's own keyword arguments, and the options."""
    if not kwargs:
        return kwargs, _NO_OPTIONS
    own = task.codec.names
    given = {name: kwargs[name] for name in _OPTIONS if name in kwargs and name not in own}
    return {name: value for name, value in kwargs.items() if name not in given}, PutOptions(**given)


_NO_OPTIONS = PutOptions()


def _checked(task: Any) -> Task[..., Any]:
    if not isinstance(task, Task):
        raise UsageError(f"a queue takes tasks, got {task!r}; write @kb.task above the function")
    return cast("Task[..., Any]", task)


def _row(
    plan: Plan, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: PutOptions
) -> TaskRow:
    made = _checked(task)
    payload = made.codec.encode_arguments(args, kwargs)
    if len(payload) > plan.max_bytes:
        raise PayloadTooLarge(f"the argument list of the task {made.name}", len(payload), plan.max_bytes)
    return TaskRow(
        plan.name,
        new_id() if options.id is None else options.id,
        made.name,
        payload,
        options.priority,
        options.due,
        options.delay,
        None,
        options.unique,
    )


async def _put(plan: Plan, rows: list[TaskRow], when_full: WhenFull) -> list[tuple[str, bool]]:
    live = find_live(plan.key, plan.shown)
    if plan.limit is not None and len(rows) > plan.limit:
        raise QueueFull(plan.name, plan.limit)
    if not rows:
        return []
    while True:
        found = await live.store.run(PutTasks(rows, plan.limit))
        if found is not FULL:
            live.wake()
            return found
        if when_full == "raise":
            assert plan.limit is not None
            raise QueueFull(plan.name, plan.limit)
        await live.wait_room()


def _part(spec: Any, plan: Plan, name: str) -> ChildSpec[Any]:
    return spec.options(id=name, name=plan.part(name))  # type: ignore[no-any-return]
