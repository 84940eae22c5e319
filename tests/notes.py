"""What handlers and tasks of this process note down, for a test that waits until it is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Notes"]

T = TypeVar("T")


class Notes(list[T]):
    """A list that tells whoever waits of each item that is appended, on the loop that appends it."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: set[asyncio.Future[None]] = set()

    def append(self, item: T) -> None:
        super().append(item)
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def until(self, enough: Callable[[list[T]], bool]) -> None:
        """Wait until what was noted is enough; the test's time limit ends a wait in vain."""
        while not enough(self):
            more: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(more)
            await more

    async def reach(self, number: int) -> None:
        """Wait for so many of them."""
        await self.until(lambda found: len(found) >= number)
