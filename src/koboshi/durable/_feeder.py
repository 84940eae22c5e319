"""Claims jobs in bulk and starts a task actor for each; settles the jobs of those that crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from .._kernel._actor import Actor
from .._kernel._bonds import Monitor
from .._kernel._errors import KoboshiError
from .._kernel._message import message
from .._kernel._reasons import Crashed, Down, ExitReason, Normal
from .._kernel._reply import ReplyTo, defer
from .._kernel._self import monitor
from .._kernel._timers import Timer
from .._supervision._dynamic import DynamicSupervisor
from .._supervision._spec import ChildSpec
from ..workers import Pool, jobs
from ._errors import StaleClaim
from ._jobs import Claim, Counts
from ._keeper import Keeper
from ._plan import Plan
from ._task import Task, Verdict, judge, report

__all__ = ["Feeder", "FeederStatistics"]

_OWNER = "task processor"


@dataclass(frozen=True, slots=True)
class FeederStatistics:
    """Task actors since this part started.

    Attributes:
        running: task actors alive now.
        done: tasks that stored their result.
        failed: tasks whose job raised.
        interrupted: tasks that lost their worker, pool or store.
    """

    running: int
    done: int
    failed: int
    interrupted: int


class Feeder(Actor):
    """Keeps up to `in_flight` task actors running while the ledger has jobs that are due.

    All its reasons to look (a task ended, jobs were added, a retry is due) come together in one message,
    `pump`, of which at most one waits. So whatever happened meanwhile is handled as one batch: one claim,
    one group of failures.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # All claims by job number, from their claim until their job is settled. A stop can come between any
        # two lines of `pump`, and must find everything here that has to be given back.
        self._held: dict[int, Claim] = {}
        # The held claims whose task runs, and those whose task has ended without a result.
        self._attempts: dict[Monitor, Claim] = {}
        self._ended: list[tuple[Claim, ExitReason]] = []
        # Jobs that were interrupted and have not ended since. Kept in memory only: a program that is started
        # again gives them all their chances again.
        self._interruptions: dict[str, int] = {}
        self._waiters: list[tuple[Callable[[Counts], bool], ReplyTo[None]]] = []
        self._open = False
        self._exhausted = False
        self._pump_due = False
        self._alarm: Timer | None = None
        self._done = self._failed = self._interrupted = 0

    async def on_start(self) -> None:
        plan = self._plan
        self._ledger = await plan.find(Keeper, "store").call(Keeper.ledger)
        self._jobs = jobs(plan.find(Pool, "pool"))
        self._tasks = plan.find(DynamicSupervisor, "tasks")
        # Tasks of a predecessor that crashed were stopped before this starts.
        await self._ledger.reclaim(_OWNER, refund=True)
        self.me.send_interval(plan.lease / 3, Feeder.renew)

    async def on_stop(self, reason: ExitReason) -> None:
        try:
            await self._ledger.release(*self._held.values())
        except StaleClaim:
            pass  # those were acknowledged at the last moment, which is as good

    def format_status(self) -> object:
        return self.statistics()

    # -- reasons to look -----------------------------------------------------------------------

    @message
    def begin(self) -> None:
        """Everything is up: start working."""
        self._open = True
        self._wake()

    @message
    def loaded(self, *, exhausted: bool = False) -> None:
        """Jobs were added, or there will be no more from the source."""
        self._exhausted = self._exhausted or exhausted
        self._wake()

    def on_down(self, down: Down) -> None:
        claim = self._attempts.pop(down.monitor)
        if isinstance(down.reason, Normal):
            self._done += 1
            self._let_go(claim)
            self._interruptions.pop(claim.id, None)
        else:
            self._ended.append((claim, down.reason))
        self._wake()

    def _wake(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self.me.cast(Feeder.pump)

    # -- what is done then -----------------------------------------------------------------------

    @message
    async def pump(self) -> None:
        """Settles what ended, claims what is due as far as there is room, and tells who waits."""
        self._pump_due = False
        ended, self._ended = self._ended, []
        await asyncio.gather(*(self._settle(claim, reason) for claim, reason in ended))
        room = self._plan.in_flight - len(self._attempts)
        if self._open and room > 0:
            claims = await self._ledger.claim(_OWNER, limit=room, lease=self._plan.lease)
            self._held.update((claim.number, claim) for claim in claims)
            for claim in claims:
                await self._start(claim)
            if len(claims) < room:
                await self._set_alarm()
        await self._tell()

    async def _start(self, claim: Claim) -> None:
        spec: ChildSpec[Task] = ChildSpec(
            Task, (self._plan, self._ledger, self._jobs, claim), restart="temporary"
        )
        try:
            task = await self._tasks.call(DynamicSupervisor.start_child, spec)
        except KoboshiError as error:  # their supervisor is being restarted; `begin` comes again after it
            self._open = False
            self._ended.append((claim, Crashed(error)))
            return
        # First the monitor, then the work: an end that is over before it is watched has no reason.
        self._attempts[monitor(task)] = claim
        task.cast(Task.run)

    async def _settle(self, claim: Claim, reason: ExitReason) -> None:
        interruptions = self._interruptions.get(claim.id, 0)
        verdict = judge(reason, interruptions, self._plan.max_interruptions)
        try:
            if verdict is Verdict.RELEASE:
                self._interrupted += 1
                self._interruptions[claim.id] = interruptions + 1
                await self._ledger.release(claim)
            else:
                self._failed += 1
                self._interruptions.pop(claim.id, None)
                text = report(claim, reason, interruptions)
                await self._ledger.fail(claim, text, retry=verdict is Verdict.RETRY)
        except StaleClaim:
            # It was acknowledged although its task did not live to hear of it.
            self._interruptions.pop(claim.id, None)
        self._let_go(claim)

    def _let_go(self, claim: Claim) -> None:
        """Hold a claim no longer; unless its lease ran out meanwhile and the job is held by a newer one."""
        if self._held.get(claim.number) is claim:
            del self._held[claim.number]

    async def _set_alarm(self) -> None:
        """Wakes up when the next retry is due."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = await self._ledger.next_due()
        if due is not None:
            self._alarm = self.me.send_after(max(0.0, due - time.time()), Feeder.alarm)

    @message
    def alarm(self) -> None:
        """A retry is due."""
        self._wake()

    @message
    async def renew(self) -> None:
        """Extends the leases of what is held."""
        try:
            await self._ledger.renew(*self._held.values(), lease=self._plan.lease)
        except StaleClaim:
            pass  # settled between the end of its task and the message that says so

    # -- who waits ---------------------------------------------------------------------------------

    @message
    def wait_settled(self, jobs: int) -> None:
        """Replies when so many jobs have ended, with a result or as dead letters."""
        self._wait(lambda counts: counts.done + counts.dead >= jobs)

    @message
    def wait_finished(self) -> None:
        """Replies when the source has no more jobs and all have ended."""
        self._wait(lambda counts: self._exhausted and counts.pending + counts.claimed == 0)

    @message
    def wait_room(self) -> None:
        """Replies when few enough jobs wait that more should be loaded."""
        self._wait(lambda counts: counts.pending <= self._plan.ahead // 2)

    def _wait(self, condition: Callable[[Counts], bool]) -> None:
        self._waiters.append((condition, defer()))
        self._wake()

    async def _tell(self) -> None:
        self._waiters = [waiter for waiter in self._waiters if waiter[1].wanted]
        if self._waiters:
            counts = await self._ledger.counts()
            for condition, reply in self._waiters:
                if condition(counts):
                    reply.send(None)

    @message
    def statistics(self) -> FeederStatistics:
        """Figures since the start."""
        return FeederStatistics(len(self._attempts), self._done, self._failed, self._interrupted)
