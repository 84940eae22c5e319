"""The jobs of one pool: queued, given to worker processes, and their outcomes to whoever waits.

It starts worker processes and uses them; what is to follow when one ends is its owner's affair. All of
it runs on the event loop between two turns of actors, so jobs cost no message to the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..._kernel._errors import CallError, CallTimeout
from .._errors import JobQueueFull, JobTimeout, Quarantined, WorkerCrashed
from ..process._jobs import Entry, FunctionRef, FunctionTable, encode_arguments
from ..process._outcomes import Failure, is_failure
from ..process._process import WorkerDeath, WorkerProcess
from ..process._spawner import ForkServer
from ._batch import Batch
from ._boot import Boot
from ._cancelling import Cancelling
from ._crew import Crew
from ._deadlines import Deadlines
from ._dispatch import Dispatcher
from ._maps import Maps
from ._quarantine import verdict
from ._recycle import Recycling
from ._room import Room
from ._sizing import Elastic, Sizing
from ._spares import Spares
from ._stream import StreamTaker
from ._takers import CallTaker, MapTaker
from ._terms import Terms

__all__ = ["Engine", "Refusal"]

R = TypeVar("R")
K = TypeVar("K", bound=MapTaker[Any])

_CALLS_PER_BATCH = 256
_AHEAD_PER_WORKER = 2048

# Makes the error for a job that gets no outcome because the pool has ended: its name, whether it had begun.
Refusal = Callable[[str, bool], CallError]


class Engine:
    """Queue, dispatch and outcomes of one pool."""

    def __init__(
        self,
        label: Callable[[], str],
        sizing: Sizing,
        queue: int,
        frame_limit: int,
        terms: Terms,
        grace: float,
        no_spare: Callable[[Exception], None],
        resize: Callable[[int], None],
    ) -> None:
        self.label = label
        self.frame_limit = frame_limit
        self.functions = FunctionTable()
        self.dispatcher: Dispatcher[WorkerProcess] = Dispatcher(
            queue, terms.quarantine, in_turn=terms.strategy == "round_robin", most=terms.max_concurrency
        )
        self.failed = 0
        self.crashed = 0
        self.overdue = 0
        self.quarantined = 0
        # Where a worker has other jobs in hand, one that is to end is cancelled before its worker is killed.
        ender = Deadlines if terms.max_concurrency == 1 else Cancelling
        self._deadlines: Deadlines | Cancelling = ender(terms.timeout, self.dispatcher)
        self.elastic = Elastic(sizing, self.dispatcher, resize) if sizing.elastic else None
        self.calls = CallTaker()
        self._ahead = _AHEAD_PER_WORKER * sizing.most
        self._size = sizing.most
        self._terms = terms
        # Every process, those that are not ready and the spares included.
        self._crews: dict[WorkerProcess, Crew] = {}
        self.recycling = Recycling(terms, self.dispatcher, self._next, self._swap, grace)
        self.spares = Spares(terms.spares, self._boot_spare, self._warm, no_spare)
        # How many functions the spares have imported.
        self._warmed = 0
        self._maps = Maps(frame_limit, self._submit_map, self.dispatcher.room, self._withdraw)
        # Jobs of this loop turn, by function, taker, retries and lane: each becomes one batch.
        self._open: dict[tuple[FunctionRef, Any, int, int | None], Batch] = {}
        self._room = Room(self.dispatcher.room)
        # Set once the pool ends.
        self._refusal: Refusal | None = None
        self._loop = asyncio.get_running_loop()

    # -- jobs ----------------------------------------------------------------------------------

    def check_open(self, name: str) -> None:
        """Raise what callers get once the pool ends."""
        if self._refusal is not None:
            raise self._refusal(name, False)

    @property
    def keyed(self) -> bool:
        """Whether jobs may have keys."""
        return self._terms.strategy == "by_key"

    def lane(self, key: int | None) -> int | None:
        """The place of the worker for jobs with the number `key`; None for any worker."""
        return None if key is None else key % self._size

    def submit(
        self,
        ref: FunctionRef,
        entry: Entry,
        taker: Any,
        tag: object,
        retries: int,
        key: int | None = None,
    ) -> None:
        """Queue one job; those of a loop turn leave together.

        Raises:
            JobQueueFull: there is no room for it.
        """
        lane = self.lane(key)
        kind = (ref, taker, retries, lane)
        batch = self._open.get(kind)
        try:
            if batch is None or len(batch.entries) >= _CALLS_PER_BATCH:
                if not self._open:
                    self._loop.call_soon(self._pump)
                batch = Batch(ref, [], taker, [], retries, lane=lane)
                self.dispatcher.enqueue(batch)
                self._open[kind] = batch
            self.dispatcher.extend(batch, entry, tag)
        except JobQueueFull:
            raise JobQueueFull(self.dispatcher.limit, pool=self.label(), function=ref.name) from None

    async def call(
        self,
        function: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        retries: int,
        wait: bool,
        deadline: float | None,
        kill: bool,
        key: int | None = None,
    ) -> R:
        """Run one job; `deadline` is in loop time, and `kill` ends the worker that is still on it then."""
        began = self._loop.time()
        ref = self.functions.ref(function, self.frame_limit)
        self.check_open(ref.name)
        entry = encode_arguments(ref, args, kwargs, self.frame_limit)
        future: asyncio.Future[R] = self._loop.create_future()
        timer = None
        if deadline is not None:
            timer = self._loop.call_at(deadline, self._expire, future, ref.name, deadline - began, kill)
        try:
            while wait and not future.done() and self.dispatcher.room() <= 0:
                await self._room.wait(future)
            if not future.done():
                self.check_open(ref.name)
                self.submit(ref, entry, self.calls, future, retries, key)
            return await future
        except asyncio.CancelledError:
            # Its outcome has no taker.
            self.dispatcher.abandon()
            self._deadlines.withdraw(self.calls, future)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if future.done() and not future.cancelled():
                future.exception()  # seen, even when the caller was cancelled at that very moment

    def map(
        self, kind: type[K], function: Any, items: Any, ahead: int | None, retries: int, key: int | None
    ) -> K:
        """Begin a map; `kind` says in which order results come."""
        ref, limit = self._map_of(function, ahead)
        return self._maps.map(kind, ref, items, limit, retries, self.lane(key))

    def stream(
        self,
        kind: type[StreamTaker[R]],
        function: Any,
        items: Any,
        ahead: int | None,
        retries: int,
        key: int | None,
    ) -> tuple[StreamTaker[R], Callable[[], asyncio.Task[None] | None]]:
        """Begin a stream; also returns what ends it early."""
        ref, limit = self._map_of(function, ahead)
        return self._maps.stream(kind, ref, items, limit, retries, self.lane(key))

    def _map_of(self, function: Any, ahead: int | None) -> tuple[FunctionRef, int]:
        ref = self.functions.ref(function, self.frame_limit)
        self.check_open(ref.name)
        return ref, min(ahead or self._ahead, self.dispatcher.limit)

    def take_back(self, taker: Any) -> list[Batch]:
        """Remove and return the jobs of a taker that no worker has."""
        self._open.clear()
        queued = self.dispatcher.clear_queue()
        for batch in queued:
            if batch.taker is not taker:
                self.dispatcher.enqueue(batch)
        return [batch for batch in queued if batch.taker is taker]

    def _submit_map(self, lane: int | None, batch: Batch) -> None:
        batch.lane = lane
        self.dispatcher.enqueue(batch)
        self._loop.call_soon(self._pump)

    def _withdraw(self, taker: Any) -> None:
        self.take_back(taker)
        self._loop.call_soon(self._go_on)

    def _expire(self, future: asyncio.Future[Any], name: str, seconds: float, kill: bool) -> None:
        """The deadline of a call has passed."""
        if future.done():
            return
        held = self.dispatcher.holder(self.calls, future)
        future.set_exception(CallTimeout(self.label(), name, seconds, maybe_executed=held is not None))
        self.dispatcher.abandon()
        if held is not None and kill:
            self._deadlines.end(self.calls, future, seconds)

    # -- workers -------------------------------------------------------------------------------

    def open(self, server: ForkServer, set_up: tuple[FunctionRef, Entry] | None) -> None:
        """Say how processes are started."""
        self._boot = Boot(
            server,
            self.functions,
            self.frame_limit,
            set_up,
            self._started,
            self._on_outcomes,
            self._on_death,
            self._terms.max_concurrency,
        )

    async def _boot_spare(self) -> WorkerProcess:
        return await self._boot.start("spare")

    async def _warm(self, process: WorkerProcess) -> None:
        await self._boot.warm(process)

    def _started(self, process: WorkerProcess, name: str) -> None:
        self._crews[process] = Crew(name)

    async def _next(self, name: str) -> WorkerProcess:
        """A process that is ready: a spare, or else a new one."""
        process = self.spares.take()
        if process is None:
            return await self._boot.start(name)
        return process

    async def start(self, crew: Crew) -> None:
        """Have a process for `crew`, set up; it takes no jobs yet.

        Raises:
            WorkerStartFailed: it could not be forked.
            WorkerCrashed: it died.
            Exception: what its set-up raised.
        """
        process = await self._next(crew.name)
        crew.process = process
        self._crews[process] = crew

    def employ(self, crew: Crew) -> None:
        """Give a process that is ready its share of the jobs."""
        process = crew.process
        assert process is not None
        if process.death is not None:
            raise WorkerCrashed(None, process.death.exit, worker=crew.name, maybe_executed=False)
        self.dispatcher.add_worker(process, self._terms.max_jobs, crew.lane, self._loop.time(), process.sent)
        self.recycling.employed(crew, process)
        self._pump()
        self.spares.fill()

    def _swap(self, crew: Crew, process: WorkerProcess) -> None:
        """Give the place of a worker's process to another."""
        crew.process = process
        self._crews[process] = crew
        self.employ(crew)

    def _pump(self) -> None:
        self._open.clear()
        for assignment in self.dispatcher.assign(self._loop.time()):
            batch = assignment.batch
            assignment.worker.submit(batch.function, batch.entries, assignment.size)
            if assignment.last:
                self.recycling.replace(self._crews[assignment.worker], assignment.worker)
        self._deadlines.watch()
        if self.elastic is not None:
            self.elastic.look()
        if self._terms.spares and self._warmed != len(self.functions):
            self._warmed = len(self.functions)
            self.spares.warm_again()

    def _on_outcomes(self, process: WorkerProcess, outcomes: Sequence[Any]) -> None:
        if self._boot.took(process, outcomes):
            return
        if tuple in set(map(type, outcomes)):
            self.failed += sum(map(is_failure, outcomes))
        if process not in self.dispatcher:
            return  # everybody was told already that the pool has ended
        crew = self._crews[process]
        crew.done += len(outcomes)
        self.recycling.worked(crew, process)
        self.overdue += self._deadlines.sort_out(process, outcomes, crew.name)
        self._settle(process, outcomes)
        self.dispatcher.set_congested(process, process.congested)
        self.recycling.settled(process)
        self._go_on()

    def _settle(self, process: WorkerProcess, outcomes: Sequence[Any]) -> None:
        for batch, part in self.dispatcher.settle(process, outcomes, self._loop.time()):
            batch.taker.deliver(batch, part)

    def _on_death(self, process: WorkerProcess, death: WorkerDeath) -> None:
        crew = self._crews.pop(process, None)
        name = "" if crew is None else crew.name
        function: str | None = None
        self._boot.ended(process, death, name)
        self.spares.lost(process)
        self.recycling.ended(process)
        if process in self.dispatcher:
            running = self.dispatcher.running(process, death.begun) if death.running else None
            function = None if running is None else running.name
            overdue = self._deadlines.was_overdue(process)
            late, begun = self._deadlines.ended(process, death, name)
            self._settle(process, late)
            self.overdue += len(late)
            hits = self.dispatcher.remove_worker(
                process, running=death.running, end=death.exit, retry=not overdue, begun=begun
            )
            self.crashed += death.running
            for hit in hits:
                timeout = self._deadlines.timeout if overdue else None
                error = verdict(hit, death.exit, name, self.dispatcher.quarantine, timeout)
                self.overdue += isinstance(error, JobTimeout)
                self.quarantined += isinstance(error, Quarantined)
                hit.taker.deliver(hit, [Failure(error)] * len(hit.entries))
        if crew is not None and crew.process is process and process not in crew.leaving:
            crew.died(WorkerCrashed(function, death.exit, worker=name, maybe_executed=death.running))
        self._go_on()

    def _go_on(self) -> None:
        """There may be room for more jobs: in the queue, at workers."""
        self._room.let_in()
        self._maps.refill()
        self._pump()

    # -- the end -------------------------------------------------------------------------------

    def finish(self, refusal: Refusal) -> None:
        """Refuse new jobs and fail those that no worker has; the others may still have an outcome."""
        if self._refusal is not None:
            return
        self._refusal = refusal
        self._open.clear()
        self._fail(self.dispatcher.clear_queue(), begun=False)
        self._maps.close(lambda name: refusal(name, False))
        self._room.close()

    def close(self, refusal: Refusal) -> None:
        """Fail all jobs that are left and kill what processes there are."""
        self.finish(refusal)
        self._deadlines.close()
        if self.elastic is not None:
            self.elastic.close()
        self.spares.close()
        self.recycling.close()
        self._fail(self.dispatcher.clear(), begun=True)
        for process in list(self._crews):
            process.kill("its pool has ended")

    async def wait_ended(self) -> None:
        """Wait until no process is left."""
        await self.spares.wait_closed()
        await self.recycling.wait_closed()
        await asyncio.gather(*(process.wait_ended() for process in list(self._crews)))

    def _fail(self, batches: list[Batch], *, begun: bool) -> None:
        assert self._refusal is not None
        for batch in batches:
            error = self._refusal(batch.function.name, begun)
            batch.taker.deliver(batch, [Failure(error)] * len(batch.entries))
