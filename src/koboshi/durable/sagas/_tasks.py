"""The tasks of a saga that runs: they end with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

__all__ = ["Tasks"]

_log = logging.getLogger("koboshi.durable")


class Tasks:
    """Of one runner.

    Args:
        who: names the saga in the log.
        context: that of the tasks, each in a copy of its own.
    """

    def __init__(self, who: str, context: Context) -> None:
        self._who = who
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._over = False

    def start(self, work: Coroutine[Any, Any, Any], context: Context | None = None) -> asyncio.Task[Any]:
        """One more."""
        task = self._loop.create_task(work, context=context or self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if self._over and not task.cancelled() and (error := task.exception()) is not None:
            _log.info("%s was ended where it was, and this is no failure of it: %r", self._who, error)

    def cancel(self) -> None:
        """End them, but for the one that asks."""
        me = asyncio.current_task()
        for task in tuple(self._tasks):
            if task is not me:
                task.cancel()

    def end(self) -> None:
        """End them; what they make of that is no failure of the saga."""
        self._over = True
        for task in tuple(self._tasks):
            task.cancel()
