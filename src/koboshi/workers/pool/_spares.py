"""Processes that are ready for work before they are needed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from ..process._process import WorkerProcess

__all__ = ["Spares"]

# Between two failed starts in a row, in seconds: doubled from the first to the last.
_RETRY_FROM, _RETRY_UP_TO = 0.1, 5.0


class Spares:
    """Keeps `count` processes ready; each one taken or lost is made good in the background.

    Args:
        boot: starts a process.
        warm: has one import what it will need.
        failed: told when that did not work; it is tried again later.
    """

    def __init__(
        self,
        count: int,
        boot: Callable[[], Awaitable[WorkerProcess]],
        warm: Callable[[WorkerProcess], Awaitable[None]],
        failed: Callable[[Exception], None],
    ) -> None:
        self.count = count
        self._boot = boot
        self._warm = warm
        self._failed = failed
        self._ready: deque[WorkerProcess] = deque()
        self._starts: set[asyncio.Task[None]] = set()
        self._closed = False
        # Grows when there is more to import.
        self._generation = 0

    @property
    def ready(self) -> int:
        """Processes that can be taken at once."""
        return len(self._ready)

    def fill(self) -> None:
        """Have as many started as are missing."""
        while not self._closed and len(self._ready) + len(self._starts) < self.count:
            self._begin(self._start())

    def _begin(self, start: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(start)
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    def take(self) -> WorkerProcess | None:
        """A process that is ready, if there is one."""
        while self._ready:
            process = self._ready.popleft()
            if process.alive:
                return process
        return None

    def lost(self, process: WorkerProcess) -> None:
        """A process has ended; it may have been one of these."""
        if process in self._ready:
            self._ready.remove(process)
            self.fill()

    def warm_again(self) -> None:
        """There is more to import; none of them is ready before it has."""
        self._generation += 1
        while self._ready:
            self._begin(self._again(self._ready.popleft()))

    def close(self) -> None:
        """Start no more. The processes that are ready are ended by whoever knows all of them."""
        self._closed = True
        for task in self._starts:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait for what `close` has cancelled."""
        await asyncio.gather(*self._starts, return_exceptions=True)

    async def _start(self) -> None:
        pause = _RETRY_FROM
        while True:
            try:
                await self._warm_up(await self._boot())
                return
            except Exception as error:
                self._failed(error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_UP_TO)

    async def _again(self, process: WorkerProcess) -> None:
        try:
            await self._warm_up(process)
        except Exception as error:
            self._failed(error)
            await self._start()

    async def _warm_up(self, process: WorkerProcess) -> None:
        generation = -1
        while generation != self._generation:
            generation = self._generation
            await self._warm(process)
        # It is over before it is there to be taken: whoever takes it at once must see that one is missing.
        self._starts.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._ready.append(process)
