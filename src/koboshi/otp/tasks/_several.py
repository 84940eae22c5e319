"""Waiting for several tasks: all of them or an error, and whatever is there after a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from ..._kernel._errors import UsageError
from ..._kernel._node import this_node
from ..._supervision._options import whole
from ._options import seconds_or_none
from ._outcomes import Failed, Ok, Outcome
from ._result import Gathering
from ._task import Task, deadline_in

T = TypeVar("T")


async def wait_many(tasks: Iterable[Task[T]], timeout: float | None = 5.0) -> list[T]:
    """Wait for the values of all tasks, in the order given. The first failure ends the wait.

    When it fails, by an end or by the timeout, those that have no outcome are given up, as in `Task.wait`.

    Args:
        timeout: seconds for all of them together; None waits on.

    Raises:
        ActorExited: one ended without a value; the first one to do so.
        CallTimeout: one had no value in time.
        NotTaskOwner: one was started by another process.
    """
    seconds_or_none("timeout", timeout)
    each = _distinct(tasks)
    node = this_node()
    for task in each:
        task._check()
        if task._result.verdict is None:
            task._check_wanted()
    results = [task._result for task in each]
    gathering = Gathering(results, len(results), fail_fast=True)
    if results:
        await gathering.wait(node, deadline_in(node, timeout, inherit=True))
    verdicts = [result.verdict for result in results]
    values = [verdict.value for verdict in verdicts if isinstance(verdict, Ok)]
    if len(values) == len(each):
        return values
    for task in each:
        task._give_up()
    for task in each:
        if gathering.failed is task._result and isinstance(task._result.verdict, Failed):
            task._fail(task._result.verdict.reason)
    raise each[verdicts.index(None)]._timed_out(node)


async def poll_many(
    tasks: Iterable[Task[T]], timeout: float | None = 5.0, *, limit: int | None = None
) -> list[Outcome[T] | None]:
    """Wait until all tasks have an outcome, and return what there is, in the order given.

    None stands for a task that has none yet; it runs on and can be asked again.

    Args:
        timeout: seconds for all of them together; None waits on, 0 only looks.
        limit: return as soon as so many have an outcome.

    Raises:
        NotTaskOwner: one was started by another process.
    """
    seconds_or_none("timeout", timeout)
    if limit is not None:
        whole("limit", limit, 1)
    each = _distinct(tasks)
    node = this_node()
    for task in each:
        task._check()
        if task._result.verdict is None:
            task._check_wanted()
    results = [task._result for task in each]
    count = len(results) if limit is None else min(limit, len(results))
    if results:
        await Gathering(results, count, fail_fast=False).wait(node, deadline_in(node, timeout))
    return [task._result.verdict for task in each]


def _distinct(tasks: Iterable[Task[T]]) -> list[Task[T]]:
    """Read the argument: tasks, none of them twice."""
    each = list(tasks)
    for one in each:
        given: Any = one
        if not isinstance(given, Task):
            raise UsageError(f"expected tasks, such as otp.task(fn) gives, got {given!r}")
    if len(set(map(id, each))) != len(each):
        raise UsageError("a task is there twice; each may be waited for once at a time")
    return each
