"""How tasks are put into a queue: checked, made into rows, and given to the store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, cast, overload

from ..._kernel._errors import UsageError
from .._failures import PayloadTooLarge, QueueFull
from . import _turn
from ._batches import PutBatch
from ._job import Job
from ._live import Live, find_live
from ._options import OPTIONS, PutOptions, WhenFull, text
from ._plan import Plan
from ._put import FULL, PutTasks
from ._rows import TaskRow, new_id
from ._task import Task

__all__ = ["Put", "Putting", "checked", "encoded", "put_in", "row_of"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Put:
    """A queue with options for the tasks that are put through it; made by `Queue.options`."""

    def __init__(self, plan: Plan, options: PutOptions) -> None:
        self._plan = plan
        self._options = options

    async def put(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """See `Queue.put`."""
        row = row_of(self._plan, task, args, kwargs, self._options)
        [job] = await _jobs(self._plan, task, [row], self._options.when_full)
        return job

    def enqueue(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """See `Queue.enqueue`."""
        row = row_of(self._plan, task, args, kwargs, self._options)
        _turn.current().rows.append(row)
        return row.id

    def row(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskRow:
        """See `Queue.row`."""
        return row_of(self._plan, task, args, kwargs, self._options)


class Putting:
    """The part of `Queue` that puts tasks."""

    _plan: Plan

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
        made = checked(task)
        own, options = _split(made, kwargs)
        row = row_of(self._plan, made, args, own, options)
        [job] = await _jobs(self._plan, made, [row], "raise")
        return job

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
        made = checked(task)
        rows: list[TaskRow] = []
        for item in items:
            own = options if ids is None else replace(options, id=_id(ids, item))
            rows.append(row_of(self._plan, made, (item,), {}, own))
        return await _jobs(self._plan, made, rows, when_full)

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
        text("id", id, none=True)
        chosen = new_id() if id is None else id
        following = f"{chosen}.then"
        text("the id of a batch with .then", following)
        plan = self._plan
        tasks = [self._own(row)._replace(batch=chosen) for row in rows]
        follower = None if then is None else self._follower(self._own(then), following)
        live = find_live(plan)
        await live.store.run(PutBatch(plan.name, chosen, tasks, follower, plan.keep_results))
        live.wake()
        return chosen

    def _own(self, row: TaskRow) -> TaskRow:
        if not isinstance(row, TaskRow):
            raise UsageError(f"a batch takes rows that queue.row(task, ...) makes, got {row!r}")
        if row.queue != self._plan.name:
            raise UsageError(f"a batch is of one queue, {self._plan.name!r}, and a task is for {row.queue!r}")
        return row

    def _follower(self, row: TaskRow, id: str) -> TaskRow:
        for option in ("run_at", "delay", "unique"):
            if getattr(row, option) is not None:
                raise UsageError(
                    f"what follows a batch is put when the batch has ended, and takes no {option}; got "
                    f"{getattr(row, option)!r}"
                )
        vault = self._plan.vault
        arguments = vault.open_arguments(row.id, row.function, row.payload)
        return row._replace(id=id, payload=vault.seal_arguments(id, row.function, arguments))


def _split(task: Task[..., Any], kwargs: dict[str, Any]) -> tuple[dict[str, Any], PutOptions]:
    """The function's own keyword arguments, and the options."""
    if not kwargs:
        return kwargs, _NO_OPTIONS
    own = task.codec.names
    given = {name: kwargs[name] for name in OPTIONS if name in kwargs and name not in own}
    return {name: value for name, value in kwargs.items() if name not in given}, PutOptions(**given)


_NO_OPTIONS = PutOptions()


def _id(ids: Callable[[Any], str], item: Any) -> str:
    id = ids(item)
    text("what ids makes of an item", id)
    return id


def checked(task: Any) -> Task[..., Any]:
    if inspect.iscoroutine(task):
        raise UsageError(
            "a queue takes tasks, got a coroutine; give the function and its arguments: put(function, 1), not "
            "put(function(1))"
        )
    if not isinstance(task, Task):
        raise UsageError(f"a queue takes tasks, got {task!r}; write @kb.task above the function")
    return cast("Task[..., Any]", task)


def encoded(plan: Plan, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The arguments, if the function takes them and they are not too large."""
    payload = task.codec.encode_arguments(args, kwargs)
    if len(payload) > plan.max_bytes:
        raise PayloadTooLarge(f"the argument list of the task {task.name}", len(payload), plan.max_bytes)
    return payload


def row_of(
    plan: Plan,
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: PutOptions,
) -> TaskRow:
    """The row of a task that is to be put: checked, encoded and sealed."""
    made = checked(task)
    payload = encoded(plan, made, args, kwargs)
    id = new_id() if options.id is None else options.id
    sealed = plan.vault.seal_arguments(id, made.name, payload)
    return TaskRow(
        plan.name, id, made.name, sealed, options.priority, options.due, options.delay, None, options.unique
    )


async def _jobs(plan: Plan, task: Task[..., R], rows: list[TaskRow], when_full: WhenFull) -> list[Job[R]]:
    live = find_live(plan)
    jobs = [Job(plan, task, id, new) for id, new in await put_in(live, plan, rows, when_full)]
    for job in jobs:
        if job.new:
            live.was_put(job)
    return jobs


async def put_in(live: Live, plan: Plan, rows: list[TaskRow], when_full: WhenFull) -> list[tuple[str, bool]]:
    """Put rows that `row_of` made, as soon as there is room or never; see `put_rows` for what it gives."""
    if plan.limit is not None and len(rows) > plan.limit:
        raise QueueFull(plan.name, plan.limit, len(rows))
    if not rows:
        return []
    while True:
        found = await live.store.run(PutTasks(rows, plan.limit))
        if found is not FULL:
            live.wake()
            return found
        if when_full == "raise":
            assert plan.limit is not None
            raise QueueFull(plan.name, plan.limit, len(rows))
        await live.wait_room()
