"""A task that was put, for whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import msgspec

from ..._kernel._errors import CallTimeout
from .._failures import Corrupted, TaskCancelled, TaskFailed, TaskNotFound
from . import _look
from ._live import Ending, Live, find_live
from ._look import Cancel, TaskInfo
from ._plan import Plan
from ._task import Task

__all__ = ["Job"]

R = TypeVar("R", covariant=True)


class Job(Generic[R]):
    """One task of a queue.

    Attributes:
        id: with it, `Queue.job` finds the task again, in any program.
        new: whether this `put` added it; False: it was there.
    """

    def __init__(self, plan: Plan, task: Task[..., R], id: str, new: bool) -> None:
        self._plan = plan
        self._task = task
        self.id = id
        self.new = new
        # Set by `Live`: when it was put here, and what it came to, until somebody asks.
        self.put_at = 0.0
        self.ending: Ending | None = None

    def _live(self) -> Live:
        return find_live(self._plan)

    async def result(self, timeout: float | None = None) -> R:
        """Wait for the task's result, whichever program runs it.

        Args:
            timeout: seconds (default None: for ever). The task is not touched when they are over.

        Raises:
            TaskFailed: it is a dead letter; `report` says why.
            TaskCancelled: it was cancelled.
            TaskNotFound: its result is not kept any more.
            Corrupted, WrongKey: the stored result cannot be read, or is of another type than the task returns now.
            CallTimeout: it has not ended in time.
        """
        name = self._plan.name
        ending, self.ending = self.ending, None
        if ending is None:
            wait = self._live().wait_ended(self.id, self.put_at)
            ending = await (wait if timeout is None else self._in_time(wait, timeout))
        if ending is None:
            raise TaskNotFound(name, self.id)
        state, result, report = ending
        if state == "dead":
            raise TaskFailed(name, self.id, report or "")
        if state == "cancelled":
            raise TaskCancelled(name, self.id)
        assert result is not None
        try:
            found: Any = self._task.codec.decode_result(result)
        except msgspec.MsgspecError as error:
            detail = f"its result is not what {self._task.name} returns now: {error}"
            raise Corrupted(f"{name}/{self.id}", detail) from error
        return found  # type: ignore[no-any-return]

    async def _in_time(self, wait: Coroutine[Any, Any, Ending | None], timeout: float) -> Ending | None:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await wait
        except TimeoutError:
            if not limit.expired():
                raise
            raise CallTimeout(f"queue {self._plan.name}", self.id, timeout, maybe_executed=True) from None

    async def info(self) -> TaskInfo | None:
        """How it stands; None: the queue has no such task any more."""
        return await self._live().store.read(
            lambda session: _look.read(session, self._plan.name, self._plan.vault, self.id)
        )

    async def cancel(self) -> bool:
        """End the task, also while it runs: its worker is killed, or its coroutine cancelled.

        What it did before stays done; what it wanted through `transact` is not. False: it had ended already.
        """
        live = self._live()
        done = await live.store.run(Cancel(self._plan.name, self.id, self._plan.keep_results))
        if done:
            if live.flow is not None:
                live.flow.drop(self.id)
            live.told(self.id, ("cancelled", None, None))
            live.wake()
        return done

    def __repr__(self) -> str:
        return f"<Job {self.id!r} of {self._task.name} in {self._plan.name!r}>"
