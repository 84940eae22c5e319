"""One attempt in hand, and what its end means for its task: a pure decision."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from ..._kernel._errors import CallError
from ...workers import WorkerCrashed, WorkerStartFailed
from .._failures import PayloadTooLarge, TaskTimeout
from ._claim import Claimed
from ._settle import Settlement
from ._task import Task
from ._work import Unfit, report_of

__all__ = ["Attempt", "judge", "worn_out"]

# Seconds until a task is tried again that could not be begun.
_NOT_BEGUN = 0.5


class Attempt:
    """A claim in hand."""

    __slots__ = ("claimed", "given", "over", "overdue", "since", "task", "work")

    def __init__(self, claimed: Claimed, task: Task[..., object], since: float) -> None:
        self.claimed = claimed
        self.task = task
        #: When it was claimed, and when a worker was given it, on the loop's clock.
        self.since = since
        self.given = 0.0
        #: Nobody wants its outcome any more.
        self.over = False
        #: Its worker was killed because of its timeout.
        self.overdue = False
        #: What runs it on the event loop.
        self.work: asyncio.Task[None] | None = None


def judge(
    attempt: Attempt,
    error: BaseException,
    chance: Callable[[], float] = random.random,
    *,
    raised: bool = True,
) -> Settlement:
    """What becomes of a task whose attempt ended with an error.

    Args:
        chance: gives random numbers in [0, 1) for the jitter.
        raised: by the function, whose errors are its own whatever their type; False: what was to run it says so.
    """
    held, options = attempt.claimed, attempt.task.options
    if raised:
        return _tried(attempt, error, chance)
    if attempt.overdue and isinstance(error, WorkerCrashed):
        assert options.timeout is not None
        late = TaskTimeout(held.function, options.timeout)
        late.__cause__ = error
        error = late
    elif isinstance(error, asyncio.CancelledError) or (
        isinstance(error, WorkerCrashed) and error.maybe_executed
    ):
        return _interrupted(attempt, error)
    elif isinstance(error, WorkerStartFailed | CallError):
        # The pool went away.
        return Settlement(held, "release", delay=_NOT_BEGUN)
    return _tried(attempt, error, chance)


def _tried(attempt: Attempt, error: BaseException, chance: Callable[[], float]) -> Settlement:
    """It has failed, which is one of its attempts."""
    held, options = attempt.claimed, attempt.task.options
    report = report_of(error, held.attempt)
    if held.attempt > options.retries or isinstance(error, PayloadTooLarge | Unfit):
        return Settlement(held, "dead", report=report)
    delay = options.backoff.delay(held.attempt, chance)
    return Settlement(held, "retry", report=report, delay=delay)


def worn_out(held: Claimed, error: Exception | None) -> Settlement:
    """A task that is not begun again.

    Args:
        error: why it cannot be; None: it was interrupted too often, with all of the program that ran it.
    """
    if error is None:
        report = f"interrupted {held.interruptions} times: the programs that ran it did not come to its end"
    else:
        report = report_of(error, held.attempt)
    return Settlement(held._replace(attempt=held.attempt - 1), "dead", report=report)


def _interrupted(attempt: Attempt, error: BaseException) -> Settlement:
    held = attempt.claimed
    times = held.interruptions + 1
    report = f"attempt {held.attempt}, interrupted {times} times: {report_of(error, held.attempt)}"
    if times > attempt.task.options.max_interruptions:
        return Settlement(held, "dead", report=report)
    return Settlement(held, "release", report=report, interrupted=True)
