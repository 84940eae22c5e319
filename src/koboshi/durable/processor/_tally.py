"""Tells those who wait for it when so many tasks have ended, or all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..._kernel._actor import Actor
from ..._kernel._bonds import hold
from ..._kernel._message import message
from ..._kernel._reply import ReplyTo, defer
from ..tasks._live import Listening
from ..tasks._statistics import QueueStatistics
from ._plan import Plan

__all__ = ["Tally"]

# Seconds between two looks while somebody waits, though nothing is heard: other programs may share the queue.
_EVERY = 0.5
# Between two looks there is so many times what one takes, so that counting many rows costs the store little.
_SHARE = 10.0
_LEAST = 0.01


class Tally(Actor):
    """Counts the queue's tasks whenever some have ended and somebody waits."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._exhausted = False
        self._waiters: list[tuple[Callable[[QueueStatistics], bool], ReplyTo[None]]] = []
        self._due = False
        self._next = 0.0

    def on_start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._live = self._plan.live()
        hold(self._kb_cell, Listening(self._live, self._wake))
        self.me.send_interval(_EVERY, Tally.tick)

    def format_status(self) -> object:
        return {"exhausted": self._exhausted, "waiting": len(self._waiters)}

    @message
    def exhausted(self, over: bool) -> None:
        """Whether the source has ended. It has not while it is read anew."""
        self._exhausted = over
        self._wake()

    @message
    def wait_settled(self, tasks: int) -> None:
        """Replies when so many tasks have ended."""
        self._wait(lambda found: found.done + found.dead + found.cancelled >= tasks)

    @message
    def wait_finished(self) -> None:
        """Replies when the source has no more tasks and all have ended."""
        self._wait(lambda found: self._exhausted and not found.waiting + found.claimed)

    def _wait(self, condition: Callable[[QueueStatistics], bool]) -> None:
        self._waiters.append((condition, defer()))
        self._wake()

    def _wake(self) -> None:
        if self._waiters and not self._due:
            self._due = True
            self.me.send_after(max(0.0, self._next - self._loop.time()), Tally.look)

    @message
    def tick(self) -> None:
        """Time has passed."""
        self._wake()

    @message
    async def look(self) -> None:
        """Count, and reply to those whose condition holds."""
        self._due = False
        self._waiters = [waiter for waiter in self._waiters if waiter[1].wanted]
        if not self._waiters:
            return
        began = self._loop.time()
        found = await self._plan.queue.statistics()
        now = self._loop.time()
        self._next = now + max(_LEAST, _SHARE * (now - began))
        for condition, reply in self._waiters:
            if condition(found):
                reply.send(None)
