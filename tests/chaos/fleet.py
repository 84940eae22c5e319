"""The hosts of a run: started, asked, hurt, and started again when they are dead."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["Fleet", "Host", "HostGone", "NoReply"]

ROOT = Path(__file__).parents[2]
# Seconds for a command to be answered. A host gives up before; one that is stopped does not answer.
PATIENCE = 1.6
# A look at an account is one line.
_LINE = 1 << 24


class HostGone(Exception):
    """The host died before it replied."""


class NoReply(Exception):
    """The host did not reply in time."""


class Host:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, events: Counter[str]) -> None:
        self.process = process
        self.is_up = False
        self._events = events
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count()

    def send(self, command: dict[str, Any]) -> None:
        """Send a command."""
        assert self.process.stdin is not None
        if self.process.stdin.is_closing():
            raise HostGone
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send a command and wait for the reply.

        Raises:
            HostGone, NoReply: there is none.
        """
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self.send({"number": number, **command})
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:
            raise NoReply from None
        finally:
            self._waiting.pop(number, None)

    async def listen(self) -> None:
        """Take its replies until it has died."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if not line.endswith(b"\n"):
                break  # it died in the middle of it
            reply = json.loads(line)
            if "event" in reply:
                self._events[reply["event"]] += 1
                self.is_up = True
                continue
            future = self._waiting.get(reply["number"])
            if future is not None and not future.done():
                future.set_result(reply)
        self.is_up = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(HostGone())
        await self.process.wait()

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, if it lives."""
        if self.process.returncode is None:
            # Not by `send_signal`, which would collect the process before its watcher does.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, how)


class Fleet:
    """So many hosts of one store. One that dies is started again, unless the fleet is down.

    Args:
        bug: the mistake that each host plants in itself.
    """

    def __init__(self, url: str, size: int, lease: float, bug: str = "") -> None:
        self._command = [sys.executable, "-m", "tests.chaos.host", url, str(lease)]
        self._environment = {**os.environ, "CHAOS_BUG": bug}
        self._given: dict[str, str] = {}
        self._size = size
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = 0
        self.hosts: dict[int, Host] = {}
        self.events: Counter[str] = Counter()

    async def __aenter__(self) -> Fleet:
        self._tasks = [asyncio.create_task(self._keep(place)) for place in range(self._size)]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def up(self) -> list[Host]:
        """Those that take commands, or would if they were not stopped."""
        return [host for _, host in sorted(self.hosts.items()) if host.is_up]

    async def _keep(self, place: int) -> None:
        while True:
            await self._wanted.wait()
            self._starting += 1
            try:
                host = self.hosts[place] = Host(await self._started(), self.events)
            finally:
                self._starting -= 1
            try:
                await host.listen()
            finally:
                del self.hosts[place]
                await _end(host)
            await asyncio.sleep(0.1)

    async def _started(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            env=self._environment | self._given,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if os.environ.get("CHAOS_LOG") == "1" else asyncio.subprocess.DEVNULL,
            limit=_LINE,
        )

    async def stop(self) -> None:
        """Kill all, also those that are stopped, and start none."""
        self._wanted.clear()
        while self.hosts or self._starting:
            for host in tuple(self.hosts.values()):
                host.kill()
            await asyncio.sleep(0.01)

    def start(self, **environment: str) -> None:
        """Start them again, with this in their environment until they are stopped."""
        self._given = environment
        self._wanted.set()


async def _end(host: Host) -> None:
    host.kill()
    await host.process.wait()
    assert host.process.stdin is not None
    host.process.stdin.close()
