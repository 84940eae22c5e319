"""A way to a server that can break: before a COMMIT reaches it, or before its answer comes back."""

from __future__ import annotations

import asyncio
import re
from typing import Literal

__all__ = ["Proxy"]

Cut = Literal["before", "after", "late"]

_COMMIT = re.compile(rb"\bCOMMIT\b")
# How long a COMMIT is under way that overtakes the end of its connection.
_LATE = 0.3


class Proxy:
    """Forwards bytes between clients and a port. Everything of it ends with `close`.

    `cut` says what happens at the next COMMIT: "before" ends the connection in its place, "after" ends it in
    place of the answer, "late" ends the client's half at once and delivers the COMMIT a little later.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.cut: Cut | None = None
        #: New connections are ended at once.
        self.refuse = False
        #: Whether new connections are ended at once after the next cut.
        self.refuse_after_cut = False
        #: Nothing is forwarded any more, and nothing is ended.
        self.silent = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self.refuse:
            writer.close()
            return
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self._writers.add(back_writer)
        answers = _Answers()
        for pump in (
            self._forth(reader, writer, back_writer, answers),
            self._back(back_reader, writer, answers),
        ):
            task = asyncio.create_task(pump)
            self._tasks.add(task)

    async def _forth(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        answers: _Answers,
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if self.silent:
                    continue
                if self.cut is not None and _COMMIT.search(data):
                    cut, self.cut = self.cut, None
                    self.refuse = self.refuse_after_cut
                    if cut != "before":
                        answers.dropped = True
                        if cut == "late":
                            writer.close()
                            await asyncio.sleep(_LATE)
                        back.write(data)
                        await back.drain()
                        await answers.came.wait()
                    writer.close()
                    break
                back.write(data)
                await back.drain()
        except OSError:
            pass
        back.close()

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: _Answers
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if answers.dropped:
                    answers.came.set()
                elif not self.silent:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        answers.came.set()
        writer.close()

    def cut_all(self) -> None:
        """End all connections that there are."""
        for writer in self._writers:
            writer.close()

    async def close(self) -> None:
        """End everything."""
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(each.wait_closed() for each in self._writers), return_exceptions=True)
        await self._server.wait_closed()


class _Answers:
    """What the two directions of one connection tell each other."""

    def __init__(self) -> None:
        self.dropped = False
        self.came = asyncio.Event()
