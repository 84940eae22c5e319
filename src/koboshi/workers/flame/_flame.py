"""`Flame`: the supervisor of runners, which come when there is work and go when there is none."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from ..._kernel._cell import NO_KWARGS
from ..._kernel._errors import ActorExited, CallTimeout, NotRunning, UsageError
from ..._kernel._events import CrashReport
from ..._kernel._message import message
from ..._kernel._reasons import SHUTDOWN, Down, ExitReason, NoConnection
from ..._kernel._ref import ActorRef
from ..._kernel._reply import ReplyTo, defer
from ..._kernel._self import monitor
from ..._kernel._start import Ignored
from ..._supervision._child import Child
from ..._supervision._dynamic import DynamicSupervisor
from ..._supervision._options import seconds, whole
from ..._supervision._placement import Placement
from ..._supervision._root import request
from ..._supervision._spec import child
from ..nodes._placement import Own
from ._code import CodeRef
from ._decide import Limits, choose, next_look, to_boot, to_retire
from ._errors import RunnerLost
from ._runner import Runner
from ._seat import FlameStatistics, Job, Seat

IDLE_AFTER = 30.0
BOOT_TIMEOUT = 30.0
# Failed starts in a row after which those who wait are told.
START_ATTEMPTS = 3
# Seconds that a cancelled coroutine has before its process is ended.
CANCEL_GRACE = 0.5


class Flame(DynamicSupervisor):
    """An elastic pool of runners: `kb.flame(max=8).options(id="runners")`.

    Give it work with `kb.runners(tree.ref(kb.Flame, "runners"))`. See `flame` for the arguments.
    """

    def __init__(
        self,
        *,
        min: int = 0,
        max: int = 8,
        max_concurrency: int = 1,
        idle_after: float = IDLE_AFTER,
        warm_spare: int = 1,
        boot_timeout: float = BOOT_TIMEOUT,
        timeout: float | None = None,
        backend: Placement | None = None,
    ) -> None:
        whole("min", min, 0)
        whole("max", max, 1)
        if min > max:
            raise UsageError(f"min must not be above max, got min={min}, max={max}")
        whole("max_concurrency", max_concurrency, 1)
        whole("warm_spare", warm_spare, 0)
        seconds("idle_after", idle_after)
        seconds("boot_timeout", boot_timeout)
        seconds("timeout", timeout, none=True)
        super().__init__()
        self._limits = Limits(min, max, max_concurrency, idle_after, warm_spare)
        self._boot_timeout = boot_timeout
        self._timeout = timeout
        self._backend: Placement = Own() if backend is None else backend
        self._made_with = (
            (),
            {"min": min, "max": max, "max_concurrency": max_concurrency, "idle_after": idle_after,
             "warm_spare": warm_spare, "boot_timeout": boot_timeout, "timeout": timeout, "backend": backend},
        )  # fmt: skip
        self._seats: dict[int, Seat] = {}
        self._booting: set[int] = set()
        self._queue: deque[Job] = deque()
        self._jobs = self._runners = 0
        self._failed_boots = 0
        self._done = self._failed = self._lost = self._retired = 0
        self._look: asyncio.TimerHandle | None = None
        self._closing = False

    async def on_start(self) -> None:
        await super().on_start()
        self._balance()

    # -- work ----------------------------------------------------------------------------------------

    @message
    def run(self, code: CodeRef, packed: bytes, timeout: float | None) -> Any:
        """Run a function on a runner; the reply is its result."""
        self._enqueue(Job(self._next(), code, packed, timeout or self._timeout, defer()))

    @message
    def run_for_nobody(self, code: CodeRef, packed: bytes, timeout: float | None) -> None:
        """Run a function whose result nobody waits for; its failure is reported."""
        self._enqueue(Job(self._next(), code, packed, timeout or self._timeout, None))

    @message
    def reserve(self) -> Any:
        """A place for an actor: answers with the runner's ref and a number for `placed`."""
        self._enqueue(Job(self._next(), None, b"", None, defer()))

    @message
    def claim(self, number: int, holder: ActorRef[Any] | None) -> None:
        """An actor is being started on the place that was reserved: it is kept while its `holder` lives.

        A start may take any time. Without a process to watch, `placed` is sure to follow.
        """
        for seat in self._seats.values():
            job = seat.jobs.get(number)
            if job is not None:
                job.settle()
                job.holder = None if holder is None else monitor(holder)

    @message
    def placed(self, number: int, ref: ActorRef[Any] | None) -> None:
        """An actor was started on the place that was reserved, or was not."""
        for seat in self._seats.values():
            job = seat.jobs.pop(number, None)
            if job is not None:
                job.settle()
                if ref is not None:
                    seat.placed.add(monitor(ref))
                self._settle()

    def _not_placed(self, job: Job) -> None:
        """Nobody has come back for a place."""
        for seat in self._seats.values():
            if seat.jobs.pop(job.number, None) is not None:
                self._settle()

    def _soon(self, what: Any, *args: Any) -> None:
        """Have a method called in a turn of our own."""
        self._kb_cell.post((what, args, NO_KWARGS, self._kb_cell.node.context.copy(), None))

    def _next(self) -> int:
        self._jobs += 1
        return self._jobs

    def _enqueue(self, job: Job) -> None:
        if self._closing:
            self._fail(job, NotRunning(self._kb_cell.label(), job.name))
            return
        self._queue.append(job)
        self._balance()

    def _balance(self) -> None:
        """Give out what waits, start runners that are missing, and see who may go."""
        if self._closing:
            return
        self._dispatch()
        demand = len(self._queue) + sum(seat.load.in_hand for seat in self._seats.values())
        for _ in range(to_boot(demand, len(self._seats), len(self._booting), self._limits)):
            self._boot()
        now = self._kb_cell.node.loop.time()
        for id in to_retire(demand, (seat.load for seat in self._seats.values()), now, self._limits):
            self._retire(self._seats[id])
        self._look_later(now)

    def _dispatch(self) -> None:
        while self._queue:
            if not self._queue[0].wanted:
                self._queue.popleft()  # its caller has given up
                continue
            id = choose((seat.load for seat in self._seats.values()), self._limits)
            if id is None:
                return
            self._give(self._queue.popleft(), self._seats[id])

    def _give(self, job: Job, seat: Seat) -> None:
        seat.idle_since = None
        seat.jobs[job.number] = job
        if job.code is None:
            assert job.reply is not None
            job.reply.send((seat.ref, job.number))
            # Whoever reserves and does not come back must not hold the place for ever.
            loop = self._kb_cell.node.loop
            job.timer = loop.call_later(self._boot_timeout, self._soon, Flame._not_placed, job)
            return
        call = seat.ref.within(None).call(Runner.run, job.number, job.code, job.packed)
        task = self._kb_cell.node.loop.create_task(self._await(call, job, seat.ref._cell.label()))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _await(self, call: Any, job: Job, runner: str) -> None:
        """Wait for a function's outcome outside of our own turn, and take it in a turn."""
        outcome: tuple[Any, str | None]
        try:
            outcome = await call, None
        except ActorExited as error:
            # Of any other target it is the function's own.
            outcome = (error.reason, _LOST) if error.target == runner else (error, _RAISED)
        except Exception as error:
            outcome = error, _RAISED
        self._soon(Flame._over_with, job, *outcome)

    @message
    def began(self, number: int) -> None:
        """A runner is about to run a function: the clock of its `timeout` starts."""
        for seat in self._seats.values():
            job = seat.jobs.get(number)
            if job is not None:
                job.began = True
                if job.timeout is not None:
                    loop = self._kb_cell.node.loop
                    job.timer = loop.call_later(job.timeout, self._soon, Flame._overdue, job, seat)

    def _over_with(self, job: Job, value: Any, how: Any) -> None:
        """The outcome of a function."""
        if isinstance(value, NotRunning) and how is _RAISED and not job.began:
            how = _LOST  # not the function's own: its runner had ended before it was reached
        if job.timer is not None:
            job.timer.cancel()
        seat = next((seat for seat in self._seats.values() if job.number in seat.jobs), None)
        if seat is not None:
            del seat.jobs[job.number]
        if how is None:
            self._done += 1
            if job.reply is not None:
                job.reply.send(value)
        elif how is _RAISED:
            self._failed += 1
            self._fail(job, value)
        elif job.began:
            self._lost += 1
            self._fail(job, RunnerLost(job.name, value, started=True))
        elif job.wanted:
            self._queue.appendleft(job)
        self._settle()

    def _fail(self, job: Job, error: BaseException) -> None:
        """Give a caller its error; where there is none it is reported, for it must not be lost."""
        if job.reply is not None:
            job.reply.fail(error)
            return
        label = self._kb_cell.label()
        above = self._kb_cell.ancestors()
        report = CrashReport(label, error, job.name, "-", links=(), ancestors=above, waiting=0)
        self._kb_cell.node.instruments.emit(report)

    def _settle(self) -> None:
        """Note who has become idle, and go on."""
        now = self._kb_cell.node.loop.time()
        for seat in self._seats.values():
            if seat.idle_since is None and not seat.load.in_hand:
                seat.idle_since = now
        self._balance()

    def _overdue(self, job: Job, seat: Seat) -> None:
        """A function ran for too long: cancelled if it is a coroutine, else ended with its process."""
        if job.number not in seat.jobs:
            return
        self._fail(job, CallTimeout(self._kb_cell.label(), job.name, job.timeout or 0.0, maybe_executed=True))
        job.reply = ReplyTo(None)  # whoever waited has been told
        seat.ref.cast(Runner.cancel, job.number)
        job.timer = self._kb_cell.node.loop.call_later(CANCEL_GRACE, self._soon, Flame._end, job, seat)

    def _end(self, job: Job, seat: Seat) -> None:
        """The cancellation was of no use."""
        if job.number in seat.jobs:
            seat.ref.kill()

    # -- runners -------------------------------------------------------------------------------------

    def _boot(self) -> None:
        self._runners += 1
        id = self._runners
        spec = child(Runner, self.me, id, self._limits.max_concurrency).options(
            id=id, on=self._backend, restart="temporary", start_timeout=self._boot_timeout
        )
        made = self._new_child(id, spec)
        made.status = "starting"
        self._booting.add(id)
        try:
            self._start_in_background(made, None)
        except (Exception, Ignored) as error:
            self._not_up(made, error)
        else:
            if made.cell is not None:
                self._restarted(made)

    def _restarted(self, child: Child) -> None:
        """A runner is up."""
        assert child.cell is not None
        self._booting.discard(child.id)
        self._failed_boots = 0
        now = self._kb_cell.node.loop.time()
        self._seats[child.id] = Seat(child.id, ActorRef(child.cell), child, now)
        self._balance()

    def _not_up(self, child: Child, error: Exception) -> None:
        """A runner did not start."""
        self._booting.discard(child.id)
        self._forget(child)
        self._failed_boots += 1
        if self._failed_boots >= START_ATTEMPTS:
            self._failed_boots = 0
            waiting, self._queue = self._queue, deque()
            for job in waiting:
                self._fail(job, RunnerLost(job.name, error, started=False))
        self._balance()

    def _over(self, child: Child) -> None:
        """A runner has ended; whoever waits for it hears by its own call."""
        seat = self._seats.pop(child.id, None)
        for job in () if seat is None else seat.jobs.values():
            if job.code is None:
                job.settle()
        super()._over(child)
        self._balance()

    def _retire(self, seat: Seat) -> None:
        self._retired += 1
        del self._seats[seat.id]
        task = self._kb_cell.node.loop.create_task(self._stop_and_forget(seat.child))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _stop_and_forget(self, child: Child) -> None:
        await self._stop(child)
        self._forget(child)

    def _look_later(self, now: float) -> None:
        if self._look is not None:
            self._look.cancel()
        after = next_look((seat.load for seat in self._seats.values()), now, self._limits)
        surplus = len(self._seats) > self._limits.least
        self._look = None
        if after is not None and surplus:
            # Not at once for one that is needed as a spare: it stays idle, and is looked at again.
            delay = after if after > 0 else self._limits.idle_after
            self._look = self._kb_cell.node.loop.call_later(delay, self._soon, Flame._look_now)

    def _look_now(self) -> None:
        """A runner may have been idle for long enough."""
        self._balance()

    def on_down(self, down: Down) -> Any:
        """An actor that was placed has ended."""
        for seat in self._seats.values():
            if down.monitor in seat.placed:
                seat.placed.discard(down.monitor)
                self._settle()
                return None
            for job in seat.jobs.values():
                if job.holder == down.monitor:
                    self._not_placed(job)
                    return None
        return None if isinstance(down.reason, NoConnection) else super().on_down(down)

    # A message is contravariant in its actor, so this one narrows what it takes.
    @request
    async def statistics(self) -> FlameStatistics:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """The pool now."""
        seats = self._seats.values()
        return FlameStatistics(
            runners=len(seats),
            booting=len(self._booting),
            queued=len(self._queue),
            running=sum(len(seat.jobs) for seat in seats),
            placed=sum(len(seat.placed) for seat in seats),
            done=self._done,
            failed=self._failed,
            lost=self._lost,
            started=self._runners,
            retired=self._retired,
        )

    async def on_stop(self, reason: ExitReason) -> None:
        self._closing = True
        if self._look is not None:
            self._look.cancel()
        for job in (*self._queue, *(job for seat in self._seats.values() for job in seat.jobs.values())):
            if job.timer is not None:
                job.timer.cancel()
            label = self._kb_cell.label()
            self._fail(job, ActorExited(label, job.name, SHUTDOWN, maybe_executed=job.began))
        self._queue.clear()
        await super().on_stop(reason)


_LOST, _RAISED = "lost", "raised"
