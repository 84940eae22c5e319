"""A process that is killed at boundary N: a statement of its store, before and after it, or what else says so.

`each_boundary` runs a program in one process after another, each killed with SIGKILL one boundary later than the one
before, and lets another process run to the end after each.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

# Boundaries that are left until this process is killed; below 0 it never is.
LEFT = {"boundaries": -1}


def boundary() -> None:
    """One place where the machine may lose its power."""
    LEFT["boundaries"] -= 1
    if LEFT["boundaries"] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


class Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        boundary()
        super().execute(sql, parameters)
        boundary()
        return self


class Connection(sqlite3.Connection):
    def cursor(self, factory: object = None) -> Cursor:  # type: ignore[override]
        return super().cursor(Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        return self.cursor().execute(sql, parameters)


def passed() -> int:
    """How many boundaries a process that is not to be killed has behind it."""
    return -1 - LEFT["boundaries"]


def connect(path: str, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(path, factory=Connection, **options)


def forked(run: Callable[[], Coroutine[Any, Any, str]], at: int) -> str | None:
    """What one process makes of it; None when it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        LEFT["boundaries"] = at
        outcome = asyncio.run(run())
        LEFT["boundaries"] = -1
        os.write(writing, outcome.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        outcome = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return None
    assert status == 0, status
    return outcome


def each_boundary(
    folder: Path, run: Callable[[], Coroutine[Any, Any, str]], step: int = 1, first: int = 1
) -> Iterator[tuple[int, bool, str]]:
    """For each boundary, in an empty folder: its number, whether the first process was killed, and the outcome.

    Boundaries come in pairs, before and after one thing, and what is between two things is one state: with a step
    of 2 each state is met once. A transaction is BEGIN, a statement and COMMIT at least, which are six boundaries:
    with a step of 4 a process is killed between any two commits, so in each state that it can leave the store in.
    `first` may leave out what opens the store; see `passed`.
    """
    at = first
    while True:
        for each in folder.iterdir():
            each.unlink()
        outcome = forked(run, at)
        killed = outcome is None
        outcome = forked(run, -1) if outcome is None else outcome
        assert outcome is not None
        yield at, killed, outcome
        if not killed:
            return
        at += step
