"""Several tasks at once, under one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

from ..._kernel._errors import CallTimeout, UsageError
from ._outcome import Failed, Outcome
from ._task import DEFAULT_TIMEOUT, Task

__all__ = ["wait_many", "yield_many"]

T = TypeVar("T")


async def wait_many(tasks: Iterable[Task[T]], timeout: float | None = DEFAULT_TIMEOUT) -> list[T]:
    """The values of all tasks, in the order of the tasks, within one deadline.

    At the first failure, and at the deadline, the tasks that are not over are ended.

    Args:
        timeout: seconds for all of them together, 5 by default; None waits for ever.

    Raises:
        ActorExited: one ended without a value, whichever was the first.
        CallTimeout: one has none at the deadline.
        UsageError: one was started by another process, or is there twice.
    """
    wanted = _checked(tasks)
    await _settle(wanted, timeout, until_failure=True)
    failed = [task for task in wanted if isinstance(task._outcome, Failed)]
    missing = [task for task in wanted if task._outcome is None]
    for task in missing:
        task._give_up()
    if failed:
        outcome = failed[0]._outcome
        assert outcome is not None
        failed[0]._value(outcome)
    if missing:
        raise CallTimeout(missing[0]._label(), "its value", timeout or 0.0, maybe_executed=True)
    return [task._value(task._outcome) for task in wanted if task._outcome is not None]


async def yield_many(
    tasks: Iterable[Task[T]], timeout: float | None = DEFAULT_TIMEOUT
) -> list[tuple[Task[T], Outcome[T] | None]]:
    """Each task with how it went, None for those that are not over in time: they go on.

    Args:
        timeout: seconds for all of them together, 5 by default; None waits for ever.

    Raises:
        UsageError: one was started by another process, or is there twice.
    """
    wanted = _checked(tasks)
    await _settle(wanted, timeout, until_failure=False)
    return [(task, task._outcome) for task in wanted]


def _checked(tasks: Iterable[Task[T]]) -> list[Task[T]]:
    wanted = list(tasks)
    for task in wanted:
        each: object = task
        if not isinstance(each, Task):
            raise UsageError(f"expected tasks, got {each!r}")
        task._check_owner("wait for")
    if len({id(task) for task in wanted}) != len(wanted):
        raise UsageError("a task is there twice; wait for each once")
    return wanted


async def _settle(tasks: list[Task[Any]], timeout: float | None, *, until_failure: bool) -> None:
    """Wait until all are over, or one has failed if that is enough, or the time is over."""
    loop = asyncio.get_running_loop()
    enough: asyncio.Future[None] = loop.create_future()
    left = len(tasks)

    def one_done(task: Task[Any]) -> None:
        nonlocal left
        left -= 1
        failed = until_failure and isinstance(task._outcome, Failed)
        if (not left or failed) and not enough.done():
            enough.set_result(None)

    if not tasks:
        return
    for task in tasks:
        task.when_done(one_done)
    try:
        async with asyncio.timeout(timeout):
            await enough
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.when_done(None)
