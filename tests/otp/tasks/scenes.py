"""Code that runs inside a process, in virtual time, and small functions for tasks to run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp

T = TypeVar("T")


async def inside(scene: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `scene()` in a bare process; its result, or what ended it."""
    results: list[T] = []

    async def body() -> None:
        results.append(await scene())

    reason = await kb.spawn(body).wait_exit()
    if isinstance(reason, kb.Crashed):
        raise reason.error
    assert kb.Normal() == reason
    return results[0]


def run_inside(scene: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `scene()` in a bare process in virtual time."""
    return run_virtual(lambda: inside(scene))


def now() -> float:
    """Seconds since the start, in virtual time."""
    return asyncio.get_running_loop().time() - 1000.0


async def after(seconds: float, value: T) -> T:
    await asyncio.sleep(seconds)
    return value


async def double(n: int) -> int:
    return 2 * n


def plain_double(n: int) -> int:
    return 2 * n


async def fail(text: str) -> int:
    raise ValueError(text)


async def stop_without_value() -> int:
    raise kb.Stop


async def for_ever(_: Any = None) -> int:
    await asyncio.get_running_loop().create_future()
    return 0


def pid_of(_: Any = None) -> int:
    return os.getpid()


def die_hard(_: Any = None) -> int:
    os._exit(3)


class Owner(kb.Actor):
    """Starts tasks in its handlers, on whatever node it is."""

    def __init__(self) -> None:
        self.exits: list[kb.ExitReason] = []

    @kb.message
    def trap(self) -> None:
        self.trap_exits()

    @kb.message
    async def value_of(self, tasks: otp.Tasks, n: int) -> int:
        return await (await tasks.task(double, n))

    @kb.message
    async def doubled(self, numbers: list[int]) -> list[int]:
        return await otp.wait_many([otp.task(double, n) for n in numbers])

    @kb.message
    async def doubled_by_stream(self, numbers: list[int]) -> list[int]:
        return [outcome.unwrap() async for outcome in otp.task_stream(numbers, double)]

    @kb.message
    async def outcomes(self, items: list[str]) -> list[otp.Outcome[int]]:
        return [outcome async for outcome in otp.task_stream(items, fail)]

    @kb.message
    def heard(self) -> list[kb.ExitReason]:
        return self.exits

    def on_exit(self, exit: kb.Exit) -> None:
        self.exits.append(exit.reason)
