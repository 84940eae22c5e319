"""A pool of worker processes for plain asyncio code: the dispatcher, joined to processes."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from ..wire import DEFAULT_FRAME_LIMIT
from ._dispatch import Batch, Dispatcher, DispatchStatistics
from ._errors import PoolClosed, WorkerCrashed, WorkerError, WorkerStartFailed
from ._jobs import FunctionRef, FunctionTable, encode_arguments
from ._outcomes import Failure
from ._process import WorkerDeath, WorkerProcess
from ._spawner import ForkServer
from ._takers import CallTaker, MapTaker, Results

__all__ = ["PoolStatistics", "ProcessPool"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_CALLS_PER_BATCH = 256
_EARLY_DEATHS = 10


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment: size wanted, pids alive, deaths so far, and its jobs."""

    size: int
    pids: tuple[int, ...]
    deaths: int
    jobs: DispatchStatistics


class ProcessPool:
    """Runs plain functions in `size` worker processes (default: one per core).

    A worker that dies, by whatever cause, costs the job it was running and is replaced;
    jobs that it had not begun run elsewhere.

    Args:
        size: worker processes.
        queue_limit: jobs that may wait or run at a time; more raise JobQueueFull.
        frame_limit: bytes that one argument list or result may take.
        preload: modules that workers start with.
        on_exit: told of each worker's unasked end, after its jobs were settled.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        queue_limit: int = 65_536,
        frame_limit: int = DEFAULT_FRAME_LIMIT,
        preload: Sequence[str] = (),
        on_exit: Callable[[WorkerDeath], None] | None = None,
    ) -> None:
        self.size = os.cpu_count() or 1 if size is None else size
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self._limit = frame_limit
        self._server = ForkServer(preload=preload, frame_limit=frame_limit)
        self._functions = FunctionTable()
        self._dispatcher: Dispatcher[WorkerProcess] = Dispatcher(queue_limit)
        self._workers: set[WorkerProcess] = set()
        self._on_exit = on_exit
        self._calls = CallTaker()
        self._maps: weakref.WeakSet[MapTaker[Any]] = weakref.WeakSet()
        # Calls of this loop turn, by function and retries: each becomes one batch.
        self._open: dict[tuple[FunctionRef, int], Batch] = {}
        self._starts: set[asyncio.Task[None]] = set()
        self._deaths = 0
        # Deaths in a row of workers that had done nothing: the environment is broken.
        self._early_deaths = 0
        self._state = "new"
        self._error: WorkerError = PoolClosed("the pool is not open: use `async with ProcessPool() as pool:`")

    def __repr__(self) -> str:
        alive, jobs = len(self._workers), self._dispatcher.load
        return f"<ProcessPool {self._state} size={self.size} alive={alive} jobs={jobs}>"

    def statistics(self) -> PoolStatistics:
        """Return a snapshot."""
        pids = tuple(sorted(worker.pid for worker in self._workers))
        return PoolStatistics(self.size, pids, self._deaths, self._dispatcher.statistics())

    async def __aenter__(self) -> Self:
        self._state = "open"
        self._loop = asyncio.get_running_loop()
        try:
            starts = (self._start_worker() for _ in range(self.size))
            for outcome in await asyncio.gather(*starts, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        except BaseException:
            await self.aclose(timeout=0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self, timeout: float = 5.0) -> None:
        """Fail what has no result with PoolClosed; end every worker, by force after `timeout` seconds."""
        if self._state != "closed":
            self._fail_everything("closed", PoolClosed("the pool was closed before this job had a result"))
        for task in list(self._starts):
            task.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        await asyncio.gather(*(worker.stop(timeout) for worker in list(self._workers)))
        await self._server.aclose()

    async def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function(*args, **kwargs)` in a worker and return its result.

        Raises:
            Exception: what the function raised, its remote traceback as `__cause__`.
            WorkerCrashed: the worker died while it ran this.
            NotPicklable, FrameTooLarge: it cannot be sent.
            JobQueueFull, PoolClosed: it was not accepted.
        """
        return await self._call(0, function, args, kwargs)

    async def call_with_retries(
        self, retries: int, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Like `call`, started again up to `retries` times when a worker dies in it.

        Only for functions that may safely run more than once.
        """
        return await self._call(retries, function, args, kwargs)

    def map_unordered(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        /,
        *,
        retries: int = 0,
        ahead: int | None = None,
    ) -> Results[R]:
        """Run `function(item)` for each item; iterate over results as they come.

        A failed job raises from the iterator at its place, which can then be continued.
        At most `ahead` jobs are submitted and not consumed yet (default 2,048 per worker).
        """
        self._check_open()
        ref = self._functions.ref(function, self._limit)
        limit = min(ahead or 2048 * self.size, self._dispatcher.limit)
        taker: MapTaker[R] = MapTaker(
            ref, iter(items), self._limit, limit, retries, self._submit_map, self._room
        )
        self._maps.add(taker)
        taker.refill()
        return Results(taker)

    # Submission

    def _check_open(self) -> None:
        if self._state != "open":
            raise self._error

    async def _call(
        self, retries: int, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R:
        self._check_open()
        ref = self._functions.ref(function, self._limit)
        entry = encode_arguments(ref, args, kwargs, self._limit)
        future: asyncio.Future[R] = self._loop.create_future()
        batch = self._open.get((ref, retries))
        if batch is None or len(batch.entries) >= _CALLS_PER_BATCH:
            if not self._open:
                self._loop.call_soon(self._pump)
            batch = Batch(ref, [], self._calls, [], retries)
            self._dispatcher.enqueue(batch)
            self._open[ref, retries] = batch
        self._dispatcher.extend(batch, entry, future)
        try:
            return await future
        except asyncio.CancelledError:
            # If it runs already it goes on; its outcome then has no taker.
            self._dispatcher.cancel(self._calls, future)
            raise

    def _submit_map(self, batch: Batch) -> None:
        self._dispatcher.enqueue(batch)
        self._loop.call_soon(self._pump)

    def _room(self) -> int:
        return self._dispatcher.limit - self._dispatcher.load

    def _pump(self) -> None:
        self._open.clear()
        for assignment in self._dispatcher.assign(self._loop.time()):
            batch = assignment.batch
            assignment.worker.submit(batch.function, batch.entries, assignment.size)

    # Workers

    async def _start_worker(self) -> None:
        worker = await WorkerProcess.start(
            self._server, on_outcomes=self._on_outcomes, on_death=self._on_death
        )
        self._workers.add(worker)
        if self._state != "open":
            worker.kill()
            await worker.wait_ended()
            return
        self._dispatcher.add_worker(worker)
        self._pump()

    def _on_outcomes(self, worker: WorkerProcess, outcomes: Sequence[Any]) -> None:
        if self._state != "open":
            # Everybody has been told that there will be no result.
            return
        if outcomes:
            self._early_deaths = 0
        for batch, part in self._dispatcher.settle(worker, outcomes, self._loop.time()):
            batch.taker.deliver(batch, part)
        self._refill()
        self._dispatcher.set_congested(worker, worker.congested)
        self._pump()

    def _on_death(self, worker: WorkerProcess, death: WorkerDeath) -> None:
        self._workers.discard(worker)
        hit = self._dispatcher.remove_worker(worker, running=death.running)
        if hit is not None:
            hit.taker.deliver(hit, [Failure(WorkerCrashed(hit.function.name, death.exit))])
        if self._state != "open":
            return
        self._deaths += 1
        did_nothing = not death.running and worker.statistics().done == 0
        self._early_deaths = self._early_deaths + 1 if did_nothing else 0
        if self._on_exit is not None:
            self._on_exit(death)
        if self._early_deaths >= _EARLY_DEATHS:
            text = f"{_EARLY_DEATHS} workers in a row died before their first job: {death.exit}"
            self._fail_everything("failed", WorkerStartFailed(text))
            return
        task = self._loop.create_task(self._replace())
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)
        self._refill()
        self._pump()

    async def _replace(self) -> None:
        try:
            await self._start_worker()
        except WorkerStartFailed as error:
            if not self._workers:
                self._fail_everything("failed", error)

    def _refill(self) -> None:
        for taker in list(self._maps):
            taker.refill()

    def _fail_everything(self, state: str, error: WorkerError) -> None:
        self._state = state
        self._error = error
        self._open.clear()
        for batch in self._dispatcher.clear():
            batch.taker.deliver(batch, [Failure(error)] * len(batch.entries))
        for taker in list(self._maps):
            taker.close(error)
        self._maps.clear()
