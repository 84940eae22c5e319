"""Callers that wait for room in a queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Room"]


class Room:
    """Lets in as many callers as there is room for, in the order in which they came.

    Args:
        free: how many more jobs there is room for.
    """

    def __init__(self, free: Callable[[], int]) -> None:
        self._free = free
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self, job: asyncio.Future[Any]) -> None:
        """Wait until there may be room, or `job` has an outcome already."""
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(room)

        def over(_: object) -> None:
            _let_in(room)

        job.add_done_callback(over)
        try:
            await room
        finally:
            job.remove_done_callback(over)
            if room in self._waiting:
                self._waiting.remove(room)

    def let_in(self) -> None:
        """There may be room."""
        free = self._free() if self._waiting else 0
        while self._waiting and free > 0:
            free -= 1
            _let_in(self._waiting.popleft())

    def close(self) -> None:
        """Nobody waits any longer."""
        while self._waiting:
            _let_in(self._waiting.popleft())


def _let_in(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)
