"""Runs `async def` tasks on the event loop, so many at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from .._failures import TaskTimeout
from . import _work
from ._attempt import Attempt

__all__ = ["Coroutines"]


class Coroutines:
    """The attempts of `async def` tasks: those that run, and those that wait for one of them to end.

    Args:
        most: that may run at once.
        limit: bytes that a result may take.
        succeeded: told what one has returned. Neither is told of an attempt that is over.
        failed: told how one has failed, and with `raised` whether that is its function's doing.
    """

    def __init__(
        self,
        most: int,
        limit: int,
        succeeded: Callable[[Attempt, Any], None],
        failed: Callable[..., None],
    ) -> None:
        self._most = most
        self._limit = limit
        self._succeeded = succeeded
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._behind: deque[Attempt] = deque()
        self.running = 0

    @property
    def free(self) -> int:
        """How many more may run at once."""
        return self._most - self.running

    def add(self, attempt: Attempt) -> None:
        """Run it when there is room."""
        self._behind.append(attempt)
        self._begin()

    def take_back(self) -> list[Attempt]:
        """Remove and return those that have not begun."""
        behind = list(self._behind)
        self._behind.clear()
        return behind

    def _begin(self) -> None:
        while self._behind and self.running < self._most:
            attempt = self._behind.popleft()
            if not attempt.over:
                self.running += 1
                attempt.given = self._loop.time()
                attempt.work = self._loop.create_task(self._run(attempt))

    async def _run(self, attempt: Attempt) -> None:
        held, task = attempt.claimed, attempt.task
        work = _work.perform_async(task, self._limit, held.payload, held.id, held.attempt)
        timeout = task.options.timeout
        try:
            outcome = await (work if timeout is None else _in_time(work, task.name, timeout))
        except asyncio.CancelledError as error:
            if not attempt.over:
                # Nobody has cancelled it but its own function, or all that runs is cancelled with the program.
                own = asyncio.current_task()
                self._failed(attempt, error, raised=own is None or not own.cancelling())
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the program ends
        except BaseException as error:
            # Any other, since asyncio ends the loop for a `SystemExit` and nobody hears of what it keeps in its task.
            if not attempt.over:
                self._failed(attempt, error)
        else:
            if not attempt.over:
                self._succeeded(attempt, outcome)
        finally:
            attempt.work = None
            self.running -= 1
            self._begin()


async def _in_time(work: Coroutine[Any, Any, Any], name: str, timeout: float) -> Any:
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TaskTimeout(name, timeout) from error
