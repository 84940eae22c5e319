"""Deadlines of calls, without a timer for each.

Nearly all calls use one of very few durations, and of calls with the same duration the one made
first expires first. So each duration has a queue in the order of the calls and one timer for its
head. A call that is answered, as nearly all are, costs nothing more: it is dropped when it comes to
the head, or when the queue has doubled since it was last swept.
"""

from __future__ import annotations

import asyncio
from collections import deque

from ._wait import Request


class _Lane:
    __slots__ = ("sweep_at", "timer", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.timer: asyncio.TimerHandle | None = None
        self.sweep_at = 1024


class Deadlines:
    """Expires requests on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lanes: dict[float, _Lane] = {}

    def add(self, request: Request, seconds: float) -> None:
        """Expire the request `seconds` from when it began, unless it is done by then.

        Its deadline must be `request.began + seconds`.
        """
        lane = self._lanes.get(seconds)
        if lane is None:
            lane = self._lanes[seconds] = _Lane()
        waiting = lane.waiting
        while waiting and waiting[0].done:
            waiting.popleft()
        if len(waiting) >= lane.sweep_at:
            lane.waiting = waiting = deque(each for each in waiting if not each.done)
            lane.sweep_at = max(1024, 2 * len(waiting))
        waiting.append(request)
        if lane.timer is None:
            lane.timer = self._loop.call_later(seconds, self._due, seconds, lane)

    def add_once(self, request: Request, at: float) -> None:
        """Expire the request at loop time `at`, with a timer of its own: for a deadline handed down."""
        request.timer = self._loop.call_at(at, lambda: request.expire(self._loop.time()))

    def _due(self, seconds: float, lane: _Lane) -> None:
        """The head of a lane is due, or was answered long ago."""
        now = self._loop.time()
        waiting = lane.waiting
        while waiting:
            head = waiting[0]
            if not head.done:
                assert head.deadline is not None
                # A timer may fire early by up to the loop's clock resolution.
                if head.deadline > now + 1e-6:
                    lane.timer = self._loop.call_at(head.deadline, self._due, seconds, lane)
                    return
                head.expire(now)
            waiting.popleft()
        lane.timer = None
        if self._lanes.get(seconds) is lane:
            del self._lanes[seconds]

    def __len__(self) -> int:
        return sum(1 for lane in self._lanes.values() for request in lane.waiting if not request.done)
