"""Runs a saga in one process after another, each killed at a later boundary than the one before.

    python crash_program.py FOLDER SCENARIO

A boundary is a statement of the store, before and after it, and the begin and end of each step's function. The
process that gets no further than boundary N is killed there with SIGKILL; then another one runs to the end. One JSON
line for each N says what has happened, until N is never reached.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import koboshi as kb
from koboshi.durable.stores import Engine, SqliteEngine

FOLDER = Path(sys.argv[1])
SCENARIO = sys.argv[2]
STATE = {"left": -1}


def boundary() -> None:
    """One place where the machine may lose its power."""
    STATE["left"] -= 1
    if STATE["left"] == 0:
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


def connect(path: str, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(path, factory=Connection, **options)


def effect(what: str) -> None:
    """Something in the world: a line of a file."""
    boundary()
    line = f"{what} {kb.step_key()}\n".encode()
    descriptor = os.open(FOLDER / "world", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
    boundary()


async def reserve(item: str) -> str:
    effect("reserve")
    return f"reserved {item}"


async def release(reserved: str) -> None:
    assert reserved == "reserved book"
    effect("release")


async def charge(cents: int) -> str:
    effect("charge")
    return f"paid {cents}"


async def refund(paid: str) -> None:
    assert paid == "paid 500"
    effect("refund")


async def ship(paid: str, number: str) -> str:
    effect("ship")
    if SCENARIO == "failing":
        raise ValueError("no parcel is big enough")
    return f"shipped, {paid}"


async def wrap(part: str) -> str:
    effect(f"wrap-{part}")
    return part


class Checkout(kb.Saga[str, str]):
    async def run(self, item: str) -> str:
        await self.step("reserve", reserve, item, undo=release)
        paid = await self.step("charge", charge, 500, undo=refund)
        number = str(self.uuid())
        if SCENARIO == "waiting":
            await self.wait_event("packed", str)
        async with asyncio.TaskGroup() as group:
            for part in ("a", "b"):
                group.create_task(self.step(f"wrap {part}", wrap, part))
        return await self.step("ship", ship, paid, number)


def engine() -> Engine:
    return SqliteEngine(str(FOLDER / "sagas.db"), connect=connect)


checkouts = kb.sagas(Checkout, store=engine)


async def run() -> str:
    async with kb.Supervisor(checkouts.child()):
        ref = await checkouts.start("book", id="one")
        if SCENARIO == "waiting":
            await ref.signal("packed", "x", id="packed")
        if SCENARIO == "cancelled":
            await ref.cancel()
        try:
            outcome = await ref.result(20.0)
        except (kb.SagaFailed, kb.SagaCancelled) as error:
            outcome = type(error).__name__
    return outcome


def forked(boundary: int) -> str | None:
    """What one process makes of it; None when it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        STATE["left"] = boundary
        outcome = asyncio.run(run())
        STATE["left"] = -1
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


def main() -> None:
    first, step = int(sys.argv[3]), int(sys.argv[4])
    at = first
    while True:
        for each in FOLDER.iterdir():
            each.unlink()
        outcome = forked(at)
        killed = outcome is None
        if outcome is None:
            outcome = forked(-1)
        world = FOLDER / "world"
        lines = world.read_text().splitlines() if world.exists() else []
        with sqlite3.connect(FOLDER / "sagas.db") as connection:
            [journal] = connection.execute("SELECT count(*) FROM kb_journal").fetchone()
        connection.close()
        print(
            json.dumps({"at": at, "killed": killed, "outcome": outcome, "world": lines, "journal": journal}),
            flush=True,
        )
        if not killed:
            return
        at += step


main()
