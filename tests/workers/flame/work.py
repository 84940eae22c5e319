"""Functions and actors of these tests, importable by runners."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

import koboshi as kb

OPEN = threading.Event()


def add(a: int, b: int) -> int:
    return a + b


def pid_of(_: object = None) -> int:
    return os.getpid()


async def async_add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


def fail(text: str) -> None:
    raise ValueError(text)


def exit_hard(code: int) -> None:
    os._exit(code)


def note_and_wait(path: str) -> int:
    """Writes its pid to a pipe, then waits for ever."""
    note(path)
    threading.Event().wait()
    return 0


async def note_and_sleep(path: str) -> int:
    note(path)
    await asyncio.Event().wait()
    return 0


def note(path: str) -> None:
    with open(path, "w") as pipe:
        pipe.write(f"{os.getpid()}\n")


def always_congested() -> None:
    """From here on this runner finds its socket so full that casts are refused."""
    vars(sys.modules["koboshi.workers.nodes._mesh"])["CONGESTED"] = -1


def raise_exited() -> None:
    raise kb.ActorExited("somebody", "something", kb.Normal(), maybe_executed=True)


def raise_not_running() -> None:
    raise kb.NotRunning("somebody", "something")


HERE: list[str] = []
BOTH: list[asyncio.Future[None]] = []


async def meet(name: str) -> tuple[list[str], int]:
    """Waits until two have come, which takes two of them at once in one runner."""
    HERE.append(name)
    if not BOTH:
        BOTH.append(asyncio.get_running_loop().create_future())
    if len(HERE) == 2:
        BOTH[0].set_result(None)
    await asyncio.shield(BOTH[0])
    return sorted(HERE), os.getpid()


def takes_timeout(timeout: int) -> int:
    return timeout


class Session(kb.Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    @kb.message
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @kb.message
    def pid(self) -> int:
        return os.getpid()


class SlowSession(Session):
    """Starts when somebody has written to a pipe."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    async def on_start(self) -> None:
        with await asyncio.to_thread(open, self.path) as pipe:
            await asyncio.to_thread(pipe.readline)


class BadSession(kb.Actor):
    def __init__(self) -> None:
        raise ValueError("no session")


class Owner(kb.Actor):
    """Places a session on a runner, and dies when it is told to."""

    def __init__(self, pool: kb.ActorRef[kb.Flame]) -> None:
        self.pool = kb.runners(pool)

    @kb.message
    async def place(self) -> kb.ActorRef[Session]:
        return await self.pool.place_child(Session, 5)

    @kb.message
    async def place_slowly(self, path: str) -> kb.ActorRef[SlowSession]:
        return await self.pool.place_child(SlowSession, path)

    @kb.message
    def pid(self) -> int:
        return os.getpid()

    @kb.message
    def crash(self) -> None:
        raise ValueError("owner")


class Elsewhere(kb.Actor):
    """Uses a pool from another node, by its name."""

    @kb.message
    async def add(self, a: int, b: int) -> Any:
        return await kb.runners("elastic").call(add, a, b)
