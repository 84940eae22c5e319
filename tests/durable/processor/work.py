"""The tasks that worker processes run in the tests of the task processor; they import them by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import koboshi as kb

QUICK = kb.Backoff(0.01, 0.01, 1.0, 0.0)


@kb.task(retries=2, backoff=QUICK)
def double(number: int) -> int:
    """The number twice; every hundredth task is bad."""
    if number % 100 == 99:
        raise ValueError(f"bad number {number}")
    return 2 * number


@kb.task(retries=2, backoff=QUICK, max_interruptions=2)
def kill_worker_on_zero(number: int) -> int:
    """Task 0 takes its worker down each time."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@kb.task(retries=0, max_interruptions=1)
def kill_worker_once(flag: str) -> str:
    """Without a file of that name, makes it and takes the worker down."""
    path = Path(flag)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@kb.task
async def doubled_here(number: int) -> int:
    """On the event loop."""
    return 2 * number


@kb.task
def two(a: int, b: int) -> int:
    return a + b


@kb.task
def named(number: int, *, by: int) -> int:
    return number * by


@kb.task(retries=0)
def hold_once(flag: str) -> str:
    """Without a file of that name, makes it and never ends."""
    path = Path(flag)
    if not path.exists():
        path.touch()
        while True:
            signal.pause()
    return "after"
