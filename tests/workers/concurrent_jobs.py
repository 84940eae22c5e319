"""Jobs and actors that wait for one another inside a worker."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time

import koboshi as kb
from koboshi.workers.process._journal import Journal

_arrived: dict[str, int] = {}
_gates: dict[str, asyncio.Event] = {}
_running = 0
_most = 0


async def meet(count: int, name: str = "") -> int:
    """Returns our pid once `count` jobs are here at the same time."""
    gate = _gates.setdefault(name, asyncio.Event())
    _arrived[name] = _arrived.get(name, 0) + 1
    if _arrived[name] == count:
        gate.set()
    await gate.wait()
    return os.getpid()


async def crowd(turns: int) -> int:
    """The most jobs of this kind that were ever in hand at once here."""
    global _running, _most
    _running += 1
    _most = max(_most, _running)
    for _ in range(turns):
        await asyncio.sleep(0)
    _running -= 1
    return _most


async def backwards(number: int, last: int) -> int:
    """Ends only after job `number + 1` has ended."""
    if number < last:
        await _gates.setdefault(f"{number + 1}", asyncio.Event()).wait()
    _gates.setdefault(f"{number}", asyncio.Event()).set()
    return number


def _tell(path: str, text: str) -> None:
    with open(path, "w") as pipe:
        pipe.write(text)


async def wait_forever(announce: str) -> None:
    """Writes our pid to a pipe, and waits until it is cancelled, which it then writes as well."""
    _tell(announce, f"{os.getpid()}\n")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        _tell(announce, "cancelled")
        raise


async def cling(announce: str) -> None:
    """Will not be cancelled."""
    _tell(announce, f"{os.getpid()}\n")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass  # that is the point


async def announce(path: str, count: int) -> int:
    """Writes our pid to a pipe and returns it once `count` jobs have arrived in this worker."""
    _tell(path, f"{os.getpid()}\n")
    return await meet(count, "announced")


async def arrive() -> int:
    """One more for `announce`, which does not wait itself."""
    meeting = asyncio.ensure_future(meet(2, "announced"))
    await asyncio.sleep(0)
    meeting.cancel()
    return os.getpid()


async def buffer(content: bytearray) -> bytearray:
    await asyncio.sleep(0)
    return content


async def fork_and_return() -> int:
    """Its child comes back from the job as well; returns how that ended."""
    child = os.fork()
    await asyncio.sleep(0)
    if child == 0:
        return -1
    return _end_of(child)


def _end_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def overwrite_the_page(number: int) -> None:
    """Does what a wild pointer might, and dies."""
    [journal] = [each for each in gc.get_objects() if type(each) is Journal]
    journal.words[0] = number
    os.kill(os.getpid(), signal.SIGKILL)


async def die_beside(count: int, name: str) -> None:
    """Kills the worker once `count` jobs of `meet` are there with it."""
    if await meet(count, name):
        os.kill(os.getpid(), signal.SIGKILL)


async def fail(text: str) -> None:
    await asyncio.sleep(0)
    raise LookupError(text)


async def leave() -> None:
    raise SystemExit(3)


async def unpicklable() -> object:
    return threading.Lock()


async def large(size: int) -> str:
    await asyncio.sleep(0)
    return size * "x"


def plain(turns: int) -> tuple[int, bool]:
    """The most plain jobs at once, and whether this is the main thread, with room for a loop of its own."""
    global _running, _most
    _running += 1
    _most = max(_most, _running)

    async def turn() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(turn())
    _running -= 1
    return _most, threading.current_thread() is threading.main_thread()


def pid_of(_: int) -> int:
    return os.getpid()


def hold(announce: str) -> None:
    """A plain function that only a signal ends."""
    _tell(announce, f"{os.getpid()}\n")
    while True:
        time.sleep(60)


class Meeting(kb.Actor):
    """Actors of one worker that meet."""

    def __init__(self) -> None:
        self.mine = 0

    @kb.message
    async def meet(self, count: int) -> tuple[int, int]:
        self.mine += 1
        return await meet(count, "actors"), self.mine

    @kb.message
    async def crowd(self, turns: int) -> int:
        return await crowd(turns)

    @kb.message
    async def fail_beside(self, count: int) -> None:
        await meet(count, "actors")
        raise LookupError("mine alone")

    @kb.message
    async def die_beside(self, count: int) -> None:
        await die_beside(count, "actors")

    @kb.message
    async def wait_forever(self, announce: str) -> None:
        await wait_forever(announce)

    @kb.message
    def pid(self) -> int:
        return os.getpid()
