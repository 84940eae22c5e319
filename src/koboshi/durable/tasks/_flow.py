"""Runs the tasks of a queue: claims them in bulk, gives them to workers, records what they came to.

None of it is a message or an asyncio task for each task of the queue. Claims come out of one group of the store,
go to the pool as jobs, whose outcomes are handed in here by the pool, and are recorded with the next group.
"""

from __future__ import annotations

import asyncio
import functools
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
from .._failures import Corrupted, OutcomeUnknown, UnknownTask, WrongKey
from ..stores import Query
from . import _work
from ._attempt import Attempt, judge, worn_out
from ._claim import Claim, Claimed, Claims, Strays
from ._coroutines import Coroutines
from ._events import TaskDied, TaskInterrupted, TaskRetried, TaskSealed, TaskUnknown
from ._live import Live
from ._look import Ours
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
        self._label = label
        self._instruments = instruments
        self._crash = crash
        self._loop = asyncio.get_running_loop()
        # All claims in hand, until what became of them is recorded.
        self.held: dict[str, Attempt] = {}
        self._refs: dict[str, FunctionRef] = {}
        self._told: set[tuple[str, type[Event]]] = set()
        self._coroutines = Coroutines(concurrency, plan.max_bytes, self._succeeded, self._failed)
        self._pace = Pace(self._loop.time())
        self._overtime = Overtime(engine, self, self._loop)
        self._recorder = Recorder(self._store, plan, self._recorded, self._refused, self.settled, crash)
        self._claiming = False
        self._stopping = False
        self._more = self._doubtful = False
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
        # A coroutine that runs takes no place from those that wait to begin, or slow ones would keep others out.
        coroutines = self._coroutines
        least = 2 * self._pool.workers + min(coroutines.running, coroutines.free)
        most = self._pace.target(self._loop.time(), least)
        behind = len(self.held) - coroutines.running
        return 0 if behind > most // 2 else most - behind

    def _claim(self) -> None:
        if self._claiming or self._stopping:
            return
        room = self._room()
        if room <= 0:
            return
        self._claiming, self._more = True, False
        name, host = self._plan.name, self._store.host
        if self._doubtful:
            self._submit(Strays(name, host, frozenset(self.held)), self._recovered)
        else:
            self._submit(Claim(name, host, room, self._plan.rate), functools.partial(self._claimed, room))

    def _recovered(self, found: int, error: Exception | None) -> None:
        self._claiming = False
        self._doubtful = error is not None
        self._look_in(_POLL if error is not None else 0.0, claim=True)

    def _claimed(self, asked: int, found: Claims, error: Exception | None) -> None:
        self._claiming = False
        self._changed.set()
        if error is not None:
            # Where nobody can tell whether it was committed, tasks may be ours that we do not know of.
            self._doubtful = isinstance(error, OutcomeUnknown)
            self._look_in(2 * _POLL, claim=self._doubtful)
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
        # It was lost to another program, which is gone as well, and what runs it here does not know yet.
        self.drop(claimed.id)
        task = registered(claimed.function)
        if task is None:
            self._put_off(claimed, UnknownTask(self._plan.name, claimed.function), TaskUnknown)
            return
        try:
            payload = self._plan.vault.open_arguments(claimed.id, claimed.function, claimed.payload)
        except WrongKey as error:
            self._put_off(claimed, error, TaskSealed)
            return
        except Corrupted as error:
            self._settle(Attempt(claimed, task, 0.0), worn_out(claimed, error))
            return
        claimed = claimed._replace(payload=payload)
        attempt = Attempt(claimed, task, self._loop.time())
        self.held[claimed.id] = attempt
        if claimed.interruptions > task.options.max_interruptions:
            self._settle(attempt, worn_out(claimed, None))
        elif self._stopping:
            self._settle(attempt, Settlement(claimed, "release"))
        elif task.is_async:
            self._coroutines.add(attempt)
        else:
            self._give(attempt, task)

    def _put_off(
        self, claimed: Claimed, error: Exception, event: type[TaskUnknown] | type[TaskSealed]
    ) -> None:
        """Leave it to a program that can run it."""
        if (claimed.function, event) not in self._told:
            self._told.add((claimed.function, event))
            self._instruments.emit(event(self._label, claimed.function, error))
        report = f"{type(error).__name__}: {error}"
        self._recorder.add(None, Settlement(claimed, "release", report=report, delay=_UNKNOWN))

    def _give(self, attempt: Attempt, task: Task[..., Any]) -> None:
        held = attempt.claimed
        try:
            self._engine.check_open(task.name)
            ref = self._refs.get(task.name) or self._ref(task)
            entry = encode_arguments(ref, (held.payload, held.id, held.attempt), {}, self._engine.frame_limit)
            self._engine.submit(ref, entry, self, attempt, 0)
        except KoboshiError as error:
            self._failed(attempt, error, raised=False)

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
                    # What the pool says is a Failure already; what the function has raised comes packed.
                    self._failed(attempt, value.error, raised=value is not outcome)
                else:
                    self._succeeded(attempt, value)
        except Exception as error:
            self._crash(error)

    # -- what they came to ---------------------------------------------------------------------------

    def _succeeded(self, attempt: Attempt, outcome: Any) -> None:
        result, statements, rows = _work.effects_of(outcome)
        settlement = Settlement(
            attempt.claimed, "done", result, ordered=self._plan.ordered, statements=statements, rows=rows
        )
        self._settle(attempt, settlement)

    def _failed(self, attempt: Attempt, error: BaseException, *, raised: bool = True) -> None:
        self._settle(attempt, judge(attempt, error, raised=raised))

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
        if settlement.ends:
            self._live.told(held.id, (settlement.kind, settlement.result, settlement.report))
        if not settlement.ends or settlement.special:
            self._more = True

    def settled(self) -> None:
        """A group of settlements was recorded."""
        self._changed.set()
        self._live.recorded()
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
        now = self._loop.time()
        looked = [each for each in self.held.values() if not each.over and now - each.since > older]
        ids = [each.claimed.id for each in looked]

        def seen(ours: set[str], error: Exception | None) -> None:
            for each in () if error is not None else looked:
                # It may be another attempt of the same task that is held by now.
                if each.claimed.id not in ours and self.held.get(each.claimed.id) is each:
                    self.drop(each.claimed.id)

        if ids:
            self._submit(Ours(self._plan.name, self._store.host, ids), seen)

    def scale(self, workers: int) -> None:
        """Have so many worker processes; those too many leave when they have nothing in hand."""
        if self._scaling is not None:
            self._scaling.cancel()
            self._scaling = None
        if workers != self._pool.workers and not self._stopping:
            self._pool.resize(workers)
            self._scaling = self._loop.call_later(_POLL, self.scale, workers)

    def hold_back(self) -> None:
        """Give back what has not begun: the queue is paused, or this ends."""
        behind = self._coroutines.take_back()
        for batch in self._engine.take_back(self):
            behind += batch.tags or ()
        for attempt in behind:
            self._give_back(attempt)

    async def finish(self, grace: float) -> None:
        """Claim no more, wait for what runs, and give back the rest."""
        self._stopping = True
        for timer in (self._timer, self._scaling):
            if timer is not None:
                timer.cancel()
        self.hold_back()
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
