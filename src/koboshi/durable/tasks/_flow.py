"""Runs the tasks of a queue: claims them in bulk, gives them to workers, records what they came to.

None of it is a message or an asyncio task for each task of the queue. Claims come out of one group of the store,
go to the pool as jobs, whose outcomes are handed in here by the pool, and are recorded with the next group.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..._kernel._errors import KoboshiError
from ..._kernel._events import Event, Instruments
from ...wire._pickle import dumps
from ...workers import Pool
from ...workers.pool._batch import Batch
from ...workers.pool._engine import Engine
from ...workers.process._jobs import FunctionRef, encode_arguments
from ...workers.process._outcomes import Failure, decode
from .._failures import TaskTimeout, UnknownTask
from ..stores import Query
from . import _work
from ._attempt import Attempt, judge
from ._claim import Claim, Claimed, Claims
from ._events import TaskDied, TaskInterrupted, TaskRetried, TaskUnknown
from ._live import Live
from ._look import LookAt, States
from ._overtime import Overtime
from ._pace import Pace
from ._peek import peek
from ._plan import Plan
from ._recorder import Recorder
from ._settle import Settlement
from ._task import Task, registered

__all__ = ["Flow"]

# Seconds between two looks for tasks that other programs have put, and after a failure of the store.
_POLL = 0.25
# Seconds until a task whose function is unknown here is looked at again.
_UNKNOWN = 15.0


class Flow:
    """The work of one queue in this program.

    Args:
        engine: of the pool that runs `def` tasks.
        concurrency: coroutines of `async def` tasks that may run at once.
        crash: told of an error of our own, which ends this.
    """

    def __init__(
        self,
        live: Live,
        plan: Plan,
        engine: Engine,
        pool: Pool,
        concurrency: int,
        label: str,
        instruments: Instruments,
        crash: Callable[[Exception], None],
    ) -> None:
        self._live = live
        self._store = live.store
        self._plan = plan
        self._engine = engine
        self._pool = pool
        self._concurrency = concurrency
        self._label = label
        self._instruments = instruments
        self._crash = crash
        self._loop = asyncio.get_running_loop()
        # All claims in hand, until what became of them is recorded.
        self.held: dict[str, Attempt] = {}
        self._refs: dict[str, FunctionRef] = {}
        self._unknown: set[str] = set()
        # Coroutines that run, and tasks that wait for one of them to end.
        self._running = 0
        self._behind: deque[Attempt] = deque()
        self._pace = Pace(self._loop.time())
        self._overtime = Overtime(engine, self, self._loop)
        self._recorder = Recorder(self._store, self._recorded, self._refused, self.settled, crash)
        self._claiming = False
        self._stopping = False
        self._more = False
        self._timer: asyncio.TimerHandle | None = None
        self._scaling: asyncio.TimerHandle | None = None
        self._changed: asyncio.Event = asyncio.Event()
        self.done = self.failed = self.interrupted = self.died = 0

    # -- claims ------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Tasks may be ready."""
        self._more = True
        self._claim()

    def _room(self) -> int:
        most = self._pace.target(self._loop.time(), 2 * self._pool.workers) + self._running
        return 0 if len(self.held) > most // 2 else most - len(self.held)

    def _claim(self) -> None:
        if self._claiming or self._stopping:
            return
        room = self._room()
        if room <= 0:
            return
        self._claiming, self._more = True, False
        operation = Claim(self._plan.name, self._store.host, room, self._plan.rate)
        self._submit(operation, functools.partial(self._claimed, room))

    def _claimed(self, asked: int, found: Claims, error: Exception | None) -> None:
        self._claiming = False
        self._changed.set()
        if error is not None:
            self._look_in(2 * _POLL)
            return
        for each in found.claimed:
            self._begin(each)
        if found.claimed:
            self._live.let_in()
        if len(found.claimed) == asked or self._more:
            self._claim()
        elif found.wait:
            self._look_in(min(found.wait, _POLL) if not found.claimed else found.wait, claim=True)
        elif found.next_due is not None and found.next_due - found.now < _POLL:
            self._look_in(max(0.0, found.next_due - found.now), claim=True)
        else:
            self._look_in(_POLL)

    def _look_in(self, seconds: float, *, claim: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.wake if claim else self._peek)

    def _peek(self) -> None:
        """Look without writing: an idle queue costs no write."""

        def seen(wait: float | None, error: Exception | None) -> None:
            if error is None and wait is not None and wait <= 0:
                self.wake()
            else:
                self._look_in(_POLL if wait is None else min(wait, _POLL))

        if self._stopping:
            return
        if self._room() <= 0:
            self._look_in(_POLL)
            return
        self._submit(Query(functools.partial(peek, queue=self._plan.name)), seen)

    # -- running -----------------------------------------------------------------------------------

    def _begin(self, claimed: Claimed) -> None:
        task = registered(claimed.function)
        if task is None:
            self._put_off(claimed)
            return
        attempt = Attempt(claimed, task, self._loop.time())
        self.held[claimed.id] = attempt
        if self._stopping:
            self._settle(attempt, Settlement(claimed, "release"))
        elif task.is_async:
            self._behind.append(attempt)
            self._run_coroutines()
        else:
            self._give(attempt, task)

    def _put_off(self, claimed: Claimed) -> None:
        error = UnknownTask(self._plan.name, claimed.function)
        if claimed.function not in self._unknown:
            self._unknown.add(claimed.function)
            self._instruments.emit(TaskUnknown(self._label, claimed.function, error))
        self._recorder.add(
            None, Settlement(claimed, "release", report=f"UnknownTask: {error}", delay=_UNKNOWN)
        )

    def _give(self, attempt: Attempt, task: Task[..., Any]) -> None:
        held = attempt.claimed
        try:
            self._engine.check_open(task.name)
            ref = self._refs.get(task.name) or self._ref(task)
            entry = encode_arguments(ref, (held.payload, held.id, held.attempt), {}, self._engine.frame_limit)
            self._engine.submit(ref, entry, self, attempt, 0)
        except KoboshiError as error:
            self._failed(attempt, error)

    def _ref(self, task: Task[..., Any]) -> FunctionRef:
        blob = dumps(functools.partial(_work.perform, task, self._plan.max_bytes))
        ref = self._refs[task.name] = FunctionRef(task.name, blob, None, lasting=True)
        return ref

    def wants(self, attempt: Attempt) -> bool:
        """See `_takers`: whether it is still to be run."""
        return not attempt.over

    def begin(self, batch: Batch) -> None:
        """See `_takers`: a worker is given these."""
        assert batch.tags is not None
        if any(each.task.options.timeout is not None for each in batch.tags):
            self._overtime.watch(batch.tags)

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """See `_takers`: these have ended."""
        assert batch.tags is not None
        try:
            for attempt, outcome in zip(batch.tags, outcomes, strict=True):
                if attempt.over:
                    continue
                value = outcome if type(outcome) is bytes else decode(outcome)
                if type(value) is Failure:
                    self._failed(attempt, value.error)
                else:
                    self._succeeded(attempt, value)
        except Exception as error:
            self._crash(error)

    def _run_coroutines(self) -> None:
        while self._behind and self._running < self._concurrency and not self._stopping:
            attempt = self._behind.popleft()
            if not attempt.over:
                self._running += 1
                attempt.given = self._loop.time()
                attempt.work = self._loop.create_task(self._run(attempt))

    async def _run(self, attempt: Attempt) -> None:
        held, task = attempt.claimed, attempt.task
        timeout = task.options.timeout
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                outcome = await _work.perform_async(
                    task, self._plan.max_bytes, held.payload, held.id, held.attempt
                )
        except asyncio.CancelledError as error:
            if not attempt.over:
                self._failed(attempt, error)
        except Exception as error:
            if limit.expired() and isinstance(error, TimeoutError):
                assert timeout is not None
                error = TaskTimeout(task.name, timeout)
            if not attempt.over:
                self._failed(attempt, error)
        else:
            if not attempt.over:
                self._succeeded(attempt, outcome)
        finally:
            attempt.work = None
            self._running -= 1
            self._run_coroutines()

    # -- what they came to ---------------------------------------------------------------------------

    def _succeeded(self, attempt: Attempt, outcome: Any) -> None:
        result, statements, rows = _work.effects_of(outcome)
        plan = self._plan
        self._settle(
            attempt,
            Settlement(
                attempt.claimed, "done", result, None, plan.keep_results, plan.ordered,
                statements=statements, rows=rows,
            ),
        )  # fmt: skip

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        self._settle(attempt, judge(attempt, error))

    def _settle(self, attempt: Attempt, settlement: Settlement) -> None:
        attempt.over = True
        self._recorder.add(attempt, settlement)

    def _refused(self, attempt: Attempt | None, settlement: Settlement, error: Exception) -> None:
        """The database did not take what the task wants to be done with its acknowledgement."""
        assert attempt is not None
        self._recorder.add(attempt, judge(attempt, error))

    def _recorded(self, attempt: Attempt | None, settlement: Settlement, holds: bool) -> None:
        """It is committed, or the task is somebody else's by now."""
        held = settlement.claimed
        if attempt is not None and self.held.get(held.id) is attempt:
            del self.held[held.id]
        if not holds:
            return
        self._count(settlement)
        if settlement.ends and self._live.awaited:
            self._live.told(held.id, (settlement.kind, settlement.result, settlement.report))
        if not settlement.ends or settlement.special:
            self._more = True

    def settled(self) -> None:
        """A group of settlements was recorded."""
        self._changed.set()
        self._claim()

    def _count(self, settlement: Settlement) -> None:
        held, report = settlement.claimed, settlement.report or ""
        event: Event | None = None
        if settlement.kind == "done":
            self.done += 1
            self._pace.count(1)
        elif settlement.kind == "dead":
            self.died += 1
            event = TaskDied(self._label, held.id, held.function, report)
        elif settlement.kind == "retry":
            self.failed += 1
            event = TaskRetried(self._label, held.id, held.function, held.attempt, report, settlement.delay)
        elif settlement.interrupted:
            self.interrupted += 1
            event = TaskInterrupted(self._label, held.id, held.function, report.partition("\n")[0])
        if event is not None and self._instruments.wants(event.level):
            self._instruments.emit(event)

    # -- cancelled, lost, stopped ----------------------------------------------------------------------

    def drop(self, id: str) -> None:
        """The task is not ours any more: stop what runs it."""
        attempt = self.held.pop(id, None)
        if attempt is None or attempt.over:
            return
        attempt.over = True
        if attempt.work is not None:
            attempt.work.cancel()
        elif not attempt.task.is_async:
            self._engine.dispatcher.abandon()
            self._overtime.end(attempt)

    def look_at_held(self, older: float) -> None:
        """Drop what was cancelled or taken over by another program; look at those held for some time."""
        ids = [id for id, each in self.held.items() if self._loop.time() - each.since > older]

        def seen(states: States, error: Exception | None) -> None:
            for id in () if error is not None else ids:
                if id not in states or states[id][0] not in ("claimed", "done"):
                    self.drop(id)

        if ids:
            self._submit(LookAt(self._plan.name, ids), seen)

    def scale(self, workers: int) -> None:
        """Have so many worker processes; those too many leave when they have nothing in hand."""
        if self._scaling is not None:
            self._scaling.cancel()
            self._scaling = None
        if workers != self._pool.workers and not self._stopping:
            self._pool.resize(workers)
            self._scaling = self._loop.call_later(_POLL, self.scale, workers)

    async def finish(self, grace: float) -> None:
        """Claim no more, wait for what runs, and give back the rest."""
        self._stopping = True
        for timer in (self._timer, self._scaling):
            if timer is not None:
                timer.cancel()
        for batch in self._engine.take_back(self):
            for attempt in batch.tags or ():
                self._give_back(attempt)
        while self._behind:
            self._give_back(self._behind.popleft())
        deadline = self._loop.time() + grace
        while (self.held or self._claiming) and (left := deadline - self._loop.time()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        for attempt in list(self.held.values()):
            if attempt.work is not None:
                attempt.work.cancel()
            self._give_back(attempt)
        self._overtime.close()
        await self._recorder.settled()

    def _give_back(self, attempt: Attempt) -> None:
        if not attempt.over:
            self._settle(attempt, Settlement(attempt.claimed, "release"))

    def _submit(self, operation: Any, done: Callable[[Any, Exception | None], None]) -> None:
        def guarded(value: Any, error: Exception | None) -> None:
            try:
                done(value, error)
            except Exception as mistake:
                self._crash(mistake)

        try:
            self._store.submit(operation, guarded)
        except Exception as error:
            self._loop.call_soon(guarded, None, error)
