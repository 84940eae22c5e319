"""A failover that is killed at each boundary of its store.

python -m tests.durable.failover.crash_program FOLDER
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import msgspec
from tests.durable.boundaries import connect, each_boundary

import koboshi as kb
from koboshi import otp
from koboshi.durable.stores import Engine, SqliteEngine

FOLDER = Path(sys.argv[1])
LAST = 6


class Taken(msgspec.Struct):
    items: list[int] = []


class Book(kb.DurableActor[Taken]):
    @kb.message
    def take(self, item: int) -> None:
        self.state.items.append(item)
        if item == LAST:
            done.set()

    @kb.query
    def items(self) -> list[int]:
        return self.state.items


done = asyncio.Event()


async def push(feed: otp.Feed) -> None:
    """Fails in the middle, so that the other one takes over."""
    for item in range((feed.cursor or 0) + 1, LAST + 1):
        if item == 4:
            raise ConnectionError("the line is cut")
        await feed.deliver(item, item)
    await asyncio.Event().wait()


async def poll(cursor: int | None) -> tuple[list[int], int]:
    return list(range((cursor or 0) + 1, LAST + 1)), LAST


def engine() -> Engine:
    return SqliteEngine(str(FOLDER / "book.db"), connect=connect)


books = kb.durable(Book, store=engine)


async def run() -> str:
    failover = kb.child(
        kb.DurableFailover,
        otp.Push("push", push),
        otp.Poll("poll", poll, every=0.05),
        name="numbers",
        store=engine,
        to=books["a"],
        message=Book.take,
    )
    async with kb.Supervisor(books.child(), failover):
        if LAST not in await books["a"].call(Book.items):
            await done.wait()
        found = await books["a"].call(Book.items)
    return json.dumps(found)


for at, killed, outcome in each_boundary(FOLDER, run, step=2):
    print(json.dumps({"at": at, "killed": killed, "items": json.loads(outcome)}), flush=True)
