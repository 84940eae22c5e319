"""The running of one saga: `run` in a task of its own, its journal read and then written, and its undoing.

Everything that `run` does goes through here. `begin` and `end` write the journal: at first into a buffer, which is
committed by `flush`; nothing is done outside before that has returned. What is read after a restart is applied by the
very same `_apply` as what is written, so that both lead to the same places.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn

from ._attempts import Attempts
from ._branches import Branches
from ._compensation import Compensation
from ._errors import SagaCancelled, SagaChanged
from ._failing import CANCELLED, outcome_of
from ._journal import (
    Again,
    Began,
    Cancelled,
    Ended,
    Entry,
    Failed,
    Failure,
    Mismatch,
    Reading,
    Signalled,
    Started,
    Undone,
    Value,
)
from ._operation import Operation
from ._refusals import Refusals
from ._rest import Rest
from ._signals import Signals
from ._tasks import Tasks
from ._writing import Owner, Writing

if TYPE_CHECKING:
    from ..actors._identity import Identity
    from ._spec import Spec

__all__ = ["Runner"]

# Turns of the loop that branches beside `run` have for beginning what the journal expects, once `run` has ended.
_TURNS = 200
# Seconds without progress of the reading after which the code has surely changed: reading waits for nothing.
_STUCK = 5.0

_log = logging.getLogger("koboshi.durable")


class Runner:
    """See the module.

    Args:
        who: which one; `place` begins its keys, `who` names it in errors.
        context: that of tasks: nothing of whoever has sent a message is inherited.
        base: the database's time minus the loop's.
        interrupted: whether the program that ran it before has died.
    """

    def __init__(
        self,
        who: Identity,
        spec: Spec,
        owner: Owner,
        context: Context,
        base: float,
        journal: list[Entry],
        interrupted: bool,
    ) -> None:
        self.who = str(who)
        self.place = f"{who.system}/{who}"
        self.key = who.key
        self.spec = spec
        self._owner = owner
        self.context = context
        self._base = base
        self._interrupted = interrupted
        self.attempts = Attempts()
        assert isinstance(journal[0], Started)
        self._input = journal[0].input
        self._reading = Reading(journal[1:])
        self.live = False
        # Why it does not go on, though it has not ended.
        self.problem: Exception | None = None
        self.cancelled = False
        self.failed: Failed | None = None
        self.operations: dict[str, Operation] = {}
        # Those that have ended well, in that order.
        self.completed: list[Operation] = []
        self._signals = Signals(self.write)
        self._counts: dict[str, int] = {}
        self.branches = Branches(owner.stubborn)
        self.rest = Rest(self.branches)
        self.compensation = Compensation(self)
        self.tasks = Tasks(self.who, context)
        self._writing = Writing(owner.record, self.tasks.start, self._lost)
        self._stuck: asyncio.TimerHandle | None = None
        self._run: asyncio.Task[Any] | None = None
        self._over = False
        self._refusals = Refusals(self.who, self.branches)
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Seconds since the epoch by the database's clock."""
        return self._base + self._loop.time()

    @property
    def waiting(self) -> tuple[str, ...]:
        """What it has begun and not ended."""
        return tuple(self.rest.open)

    @property
    def resting(self) -> float | None:
        """Until when it only waits, by the database's clock; None: it has something to do, or needs a hand here."""
        if not self.live or self._over or self.problem is not None or not self._writing.is_idle:
            return None
        undoing = self.failed is not None
        if not undoing and (self._run is None or self._run.done()):
            return None
        return self.rest.until(self.now(), undoing=undoing)

    # -- from begin to end -------------------------------------------------------------------------

    def begin_all(self) -> None:
        """Start `run`."""
        self.tasks.start(self._main())

    def end(self) -> None:
        """Stop where it is; the journal says how to go on. What `run` makes of its cancellation is not recorded."""
        self._over = True
        self._writing.end()
        if self._stuck is not None:
            self._stuck.cancel()
        self.tasks.end()
        self.branches.end()

    async def _main(self) -> None:
        try:
            saga, value = self.spec.made(self), self.spec.input.decode(self._input)
        except Exception as error:
            self.park(error)
            return
        run = self._run = self.branches.start(saga.run(value), self.context.copy(), self.tasks.start)
        self._read()
        await asyncio.wait([run])
        if not run.cancelled():
            run.exception()  # seen, whatever becomes of it
        await self._read_out(run)
        if self.problem is not None or self._over:
            return
        if self.failed is None:
            ended = await self._ended(run)
            if ended:
                return
        await self.compensation.run()

    async def _ended(self, run: asyncio.Task[Any]) -> bool:
        """`run` has ended: whether that was well."""
        result, failure = outcome_of(run, self.who, self.spec.result, self.spec.errors)
        if failure is not None:
            self.write(Failed(failure, self.cancelled))
            return False
        await self.settle()
        await self.flush()
        await self.close("finished", result, None)
        return True

    async def _read_out(self, run: asyncio.Task[Any]) -> None:
        """`run` has ended: what it has begun beside may still have something to begin again."""
        for _ in range(_TURNS):
            if self._reading.over or self.problem is not None:
                return
            await asyncio.sleep(0)
        error = None if run.cancelled() else run.exception()
        self._mismatch(Mismatch(self._reading.expected, "its end" if error is None else repr(error)))

    async def settle(self) -> None:
        """Wait until the steps in flight have ended; waits and sleeps are given up."""
        for each in tuple(self.operations.values()):
            if each.is_open and each.task is not None and not self._is_at_work(each):
                each.task.cancel()
        flying = [each.task for each in self.operations.values() if each.is_open and each.task is not None]
        if flying:
            await asyncio.wait(flying)

    async def close(self, status: str, result: bytes, failure: Failure | None) -> None:
        """Have the end recorded."""
        try:
            await self._owner.close(status, result, failure)
        except Exception as error:
            self._lost(error)

    # -- the journal ---------------------------------------------------------------------------------

    def label(self, kind: str, name: str) -> str:
        """The label of the next operation of that kind and name."""
        label = f"{kind} {name}"
        count = self._counts[label] = self._counts.get(label, 0) + 1
        return label if count == 1 else f"{label}#{count}"

    def begin(
        self,
        label: str,
        execute: Callable[[Operation], Coroutine[Any, Any, None]],
        *,
        undo: Callable[[bytes], Coroutine[Any, Any, tuple[Any, bool]]] | None = None,
        until: float | None = None,
    ) -> Operation:
        """Begin an operation, or find it begun or ended before.

        Raises:
            SagaCancelled: nothing new is begun any more.
        """
        found = self._find(label)
        if found is None:
            self._check_open()
            self.write(began := Began(label, undo is not None, until))
        else:
            assert isinstance(found, Began)
            began = found
        operation = Operation(began, execute, undo, resumed=found is not None)
        self.operations[label] = self.rest.open[label] = operation
        self.attempts.of(label).at_work = label.startswith("step ")
        self._read()
        if self.live:
            self._start(operation)
        return operation

    def value(self, label: str, make: Callable[[], bytes]) -> bytes:
        """Something that is made once and read at each repetition."""
        if self._refusals.too_many:
            return make()  # of no consequence: `run` is held where it waits next
        found = self._find(label)
        if found is None:
            self._check_open()
            found = Value(label, make())
            self.write(found)
        assert isinstance(found, Value)
        self._read()
        return found.value

    def _find(self, label: str) -> Began | Value | None:
        if self.problem is not None or self._over:
            self.abandon()
        try:
            return self._reading.begin(label)
        except Mismatch as mismatch:
            self._mismatch(mismatch)
            self.abandon()

    def _check_open(self) -> None:
        if self.failed is not None:
            self.abandon()
        if self.cancelled:
            self._refusals.count()
            raise SagaCancelled(self.who)

    def abandon(self) -> NoReturn:
        """End `run` here, without a trace."""
        self._refusals.count()
        if self._run is not None and not self._over:
            self._run.cancel()
        raise asyncio.CancelledError

    async def check_on(self) -> None:
        """End `run` here if it has been ended; one that does not take that is held, and does not spin."""
        if self._refusals.too_many:
            await self._refusals.hold(self._run)
        if self.problem is not None or self._over:
            self.abandon()

    def write(self, entry: Entry) -> None:
        """Add to the journal, and have it happen."""
        if self._over:
            return
        self._writing.add(entry)
        self._apply(entry)

    def arrived(self, entry: Entry) -> None:
        """Something has come from outside and is in the journal already."""
        if self._over:
            return
        if self.live:
            self._apply(entry)
        else:
            self._reading.add(entry)
            self._read()

    async def flush(self) -> None:
        """Wait until all that was written is committed."""
        await self._writing.flush()
        if self._over:
            raise asyncio.CancelledError

    def _lost(self, error: Exception) -> None:
        _log.info("%s goes on elsewhere or later: %s", self.who, error)
        self.end()

    # -- what entries do -----------------------------------------------------------------------------

    def _read(self) -> None:
        if self.live:
            return
        while (entry := self._reading.next()) is not None:
            self._apply(entry)
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        if not self._reading.over:
            self._stuck = self._loop.call_later(_STUCK, self._is_stuck)
            return
        self.live = True
        self.attempts.go_on(interrupted=self._interrupted)
        if self.cancelled:
            self._give_up()
        for operation in tuple(self.operations.values()):
            self._start(operation)

    def _is_stuck(self) -> None:
        waits = f"a wait for {', '.join(self.waiting) or 'something that is no operation of a saga'}"
        self._mismatch(Mismatch(self._reading.expected, waits))

    def _mismatch(self, mismatch: Mismatch) -> None:
        if self.problem is None and not self._over:
            self.park(SagaChanged(self.who, mismatch.expected, mismatch.found))

    def park(self, problem: Exception) -> None:
        """Go no further, and keep everything as it is."""
        _log.error("%s is parked: %s", self.who, problem)
        self.problem = problem
        self.tasks.cancel()

    def _start(self, operation: Operation) -> None:
        if not operation.is_open or operation.task is not None:
            return
        if self.failed is not None and operation.undo is None:
            return  # nobody waits for it any more
        operation.task = self.tasks.start(operation.execute(operation))

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Ended():
                self._ended_one(entry)
            case Signalled(name):
                self._signals.came(entry)
                self._offer(name)
            case Cancelled():
                self.cancelled = True
                if self.live:
                    self._give_up()
            case Failed():
                self.failed = entry
            case Undone(label):
                self.compensation.undone.add(label)
            case Again():
                self.compensation.again()
            case _:
                self.attempts.apply(entry)

    def _ended_one(self, entry: Ended) -> None:
        operation = self.operations[entry.label]
        if entry.failure is None:
            self.completed.append(operation)
        if entry.signal:
            self._signals.taken(entry)
        if operation.is_open:
            del self.rest.open[entry.label]
            operation.future.set_result(entry)

    def _give_up(self) -> None:
        """It was cancelled: waits, sleeps and steps that wait for another attempt end."""
        for operation in tuple(self.operations.values()):
            if operation.is_open and not self._is_at_work(operation):
                if operation.task is not None:
                    operation.task.cancel()
                self.write(Ended(operation.label, failure=CANCELLED))

    def _is_at_work(self, operation: Operation) -> bool:
        """Whether it is a step that does not merely wait for its next attempt."""
        return (
            operation.label.startswith("step ") and self.attempts.of(operation.label).not_before <= self.now()
        )

    # -- events --------------------------------------------------------------------------------------

    def await_signal(self, name: str, operation: Operation) -> None:
        """Give the operation the next event of that name, now or when it comes."""
        self._signals.wait(name, operation)
        self._offer(name)

    def _offer(self, name: str) -> None:
        if self.live:
            self._signals.offer(name)
