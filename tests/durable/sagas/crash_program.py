"""Runs a saga in one process after another, each killed at a later boundary than the one before.

    python -m tests.durable.sagas.crash_program FOLDER SCENARIO

A boundary is a statement of the store, before and after it, and the begin and end of each step's function. The
process that gets no further than boundary N is killed there with SIGKILL; then another one runs to the end. One JSON
line for each N says what has happened, until N is never reached.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from tests.durable.boundaries import boundary, connect, each_boundary
from tests.durable.changes import until

import koboshi as kb
from koboshi.durable.stores import Engine, SqliteEngine

FOLDER = Path(sys.argv[1])
SCENARIO = sys.argv[2]


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
        if SCENARIO in ("waiting", "asleep"):
            await self.wait_event("packed", str, timeout=3_600.0)
        async with asyncio.TaskGroup() as group:
            for part in ("a", "b"):
                group.create_task(self.step(f"wrap {part}", wrap, part))
        return await self.step("ship", ship, paid, number, at_most_once=SCENARIO == "once")


def engine() -> Engine:
    return SqliteEngine(str(FOLDER / "sagas.db"), connect=connect)


checkouts = kb.sagas(Checkout, store=engine, deactivate_after=0.02 if SCENARIO == "asleep" else 300.0)


async def run() -> str:
    async with kb.Supervisor(checkouts.child()):
        ref = await checkouts.start("book", id="one")
        if SCENARIO == "asleep":
            await until(lambda: not checkouts.statistics().active, checkouts)
        if SCENARIO in ("waiting", "asleep"):
            await ref.signal("packed", "x", id="packed")
        if SCENARIO == "cancelled":
            await ref.cancel()
        try:
            outcome = await ref.result(20.0)
        except (kb.SagaFailed, kb.SagaCancelled) as error:
            outcome = type(error).__name__
    return outcome


def main() -> None:
    for at, killed, outcome in each_boundary(FOLDER, run, step=2):
        world = FOLDER / "world"
        lines = world.read_text().splitlines() if world.exists() else []
        with closing(sqlite3.connect(FOLDER / "sagas.db")) as connection, connection:
            [journal] = connection.execute("SELECT count(*) FROM kb_journal").fetchone()
        connection.close()
        found = {"at": at, "killed": killed, "outcome": outcome, "world": lines, "journal": journal}
        print(json.dumps(found), flush=True)


main()
