"""Ends the workers of attempts that run for longer than their task's timeout, or that nobody wants any more."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from ...workers.pool._engine import Engine
from ._attempt import Attempt

__all__ = ["Overtime"]

# Until an attempt that waits at its worker behind others may have begun, in seconds.
_LOOK_AGAIN = 0.05


class Overtime:
    """One timer for all attempts that have a timeout.

    The clock of an attempt starts when its worker could have begun it. A worker is a process that runs one job
    after the other, so what is ended with it is that one attempt; those behind it run elsewhere.
    """

    def __init__(self, engine: Engine, taker: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._taker = taker
        self._loop = loop
        self._watched: set[Attempt] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    def watch(self, attempts: Sequence[Attempt]) -> None:
        """A worker is given these now."""
        now = self._loop.time()
        due = math.inf
        for each in attempts:
            timeout = each.task.options.timeout
            if timeout is not None:
                each.given = now
                self._watched.add(each)
                due = min(due, now + timeout)
        self._look_at(due)

    def _look_at(self, due: float) -> None:
        if due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._due, self._timer = math.inf, None
        now = self._loop.time()
        self._watched = {each for each in self._watched if not each.over}
        due = math.inf
        for each in list(self._watched):
            timeout = each.task.options.timeout
            assert timeout is not None
            end = each.given + timeout
            due = min(due, end if end > now else self._judge(each, timeout, now))
        self._look_at(due)

    def _judge(self, attempt: Attempt, timeout: float, now: float) -> float:
        """Kill the worker of an attempt that has had its time; returns when to look again."""
        held = self._engine.dispatcher.holder(self._taker, attempt)
        if held is None:
            # Back in the queue after the death of its worker: it is watched again when it is given out.
            self._watched.discard(attempt)
            return math.inf
        process, oldest = held
        process.catch_up()
        if attempt.over:
            return math.inf
        since = self._engine.dispatcher.since(process)
        if not oldest or since is None:
            return now + _LOOK_AGAIN
        if since + timeout > now:
            return since + timeout
        attempt.overdue = True
        self._watched.discard(attempt)
        process.kill(f"a task was past its timeout of {timeout:g} s")
        return math.inf

    def end(self, attempt: Attempt) -> None:
        """Kill the worker that runs this, or look again later if it is still at an earlier one."""
        held = self._engine.dispatcher.holder(self._taker, attempt)
        if held is None:
            return
        process, oldest = held
        if oldest and process.running:
            process.kill("its task was cancelled")
        else:
            self._loop.call_later(_LOOK_AGAIN, self.end, attempt)

    def close(self) -> None:
        """Watch no more."""
        self._due = math.inf
        if self._timer is not None:
            self._timer.cancel()
