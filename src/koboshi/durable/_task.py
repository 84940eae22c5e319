"""The task actor: one attempt of one job. It has no error handling, because crashing is how it reports."""

from __future__ import annotations

import enum
import traceback

from .._kernel._actor import Actor
from .._kernel._errors import CallError
from .._kernel._message import message
from .._kernel._reasons import Crashed, ExitReason
from ..workers import Jobs, WorkerStartFailed
from ._aggregator import Aggregator
from ._errors import LedgerError
from ._jobs import Claim
from ._ledger import Ledger
from ._plan import Plan

__all__ = ["Task", "Verdict", "judge", "report"]

_REPORT_LIMIT = 64 * 1024

# What can end a task through no fault of its job: its worker (`WorkerCrashed` is a `CallError`), the pool
# or the store went away under it.
_INTERRUPTIONS = (CallError, WorkerStartFailed, LedgerError)


class Verdict(enum.Enum):
    """What becomes of a job whose task actor ended without a result."""

    RETRY = "retry"
    """The job failed: it waits and is tried again while it has attempts left."""
    RELEASE = "release"
    """The attempt was interrupted from outside: it does not count."""
    BURY = "bury"
    """It was interrupted so often that the job itself is suspect."""


def judge(reason: ExitReason, interruptions: int, max_interruptions: int) -> Verdict:
    """Decides by how the task ended; `interruptions` counts the job's earlier ones."""
    if isinstance(reason, Crashed) and not isinstance(reason.error, _INTERRUPTIONS):
        return Verdict.RETRY
    return Verdict.RELEASE if interruptions < max_interruptions else Verdict.BURY


def report(claim: Claim, reason: ExitReason, interruptions: int = 0) -> str:
    """The text kept with a job: one line that says what happened, then the traceback."""
    times = f", interrupted {interruptions} times" if interruptions else ""
    if not isinstance(reason, Crashed):
        return f"attempt {claim.attempt}{times}: the task ended with {reason!r}"
    error = reason.error
    trace = "".join(traceback.format_exception(error))[-_REPORT_LIMIT:]
    return f"attempt {claim.attempt}{times}: {type(error).__name__}: {error}\n\n{trace}"


class Task(Actor):
    """Runs its claim's job in the pool and stores the result."""

    def __init__(self, plan: Plan, ledger: Ledger, jobs: Jobs, claim: Claim) -> None:
        self._plan = plan
        self._ledger = ledger
        self._jobs = jobs
        self._claim = claim

    def format_status(self) -> object:
        return f"job {self._claim.id}, attempt {self._claim.attempt}"

    @message
    async def run(self) -> None:
        """One attempt; afterwards this actor is gone."""
        claim = self._claim
        result = await self._jobs.call(self._plan.work, claim.payload)
        if not isinstance(result, bytes):
            raise TypeError(
                f"{self._plan.work.__qualname__} must return bytes, got {type(result).__name__} for job "
                f"{claim.id!r}; encode it, e.g. with json.dumps(value).encode()"
            )
        await self._ledger.acknowledge(claim, result)
        # Waits for room, so that a slow fold slows the tasks down.
        try:
            await self._plan.find(Aggregator, "aggregator").send(Aggregator.committed)
        except CallError:
            # It is being restarted and will read this result from the ledger like all others.
            pass
        self.stop()
