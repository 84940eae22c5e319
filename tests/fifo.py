"""A named pipe: what another process says by writing to a file can be waited for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Fifo", "fifo"]


class Fifo:
    """The reading end. Whoever opens `path` and writes a line there is heard, from any process."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        # For writing too, so that it never ends: writers come and go.
        self._end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._heard = b""

    async def line(self) -> str:
        """The next line that is written there."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._heard:
            more: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._end, more.set_result, None)
            try:
                await more
            finally:
                loop.remove_reader(self._end)
            self._heard += os.read(self._end, 65_536)
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        os.close(self._end)


@contextmanager
def fifo(path: Path) -> Iterator[Fifo]:
    """A named pipe at `path` that is open for reading."""
    made = Fifo(path)
    try:
        yield made
    finally:
        made.close()
