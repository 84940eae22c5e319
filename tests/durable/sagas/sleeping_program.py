"""Very many sagas that wait, of which few are in memory: one life begins them and is killed, another ends them.

    python -m tests.durable.sagas.sleeping_program begin|end URL FOLDER COUNT SECONDS

Those with an odd number wait for an event, the others for so many seconds by the database's clock; on SQLite those
have passed between the two lives. Each life says in a line of JSON what it has seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from tests.durable.changes import until

import koboshi as kb
from koboshi.durable.stores import Engine, SqliteEngine

LIFE, URL, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
COUNT, SECONDS = int(sys.argv[4]), float(sys.argv[5])
MOST = 16
# How many are sent something at the same time.
PORTION = 50


async def note(what: str) -> None:
    """Something in the world: a line of a file."""
    descriptor = os.open(FOLDER / "world", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{what}\n".encode())
    finally:
        os.close(descriptor)


class Errand(kb.Saga[float | None, str]):
    async def run(self, timeout: float | None) -> str:
        await self.step("begin", note, f"begin {self.id}")
        try:
            how = await self.wait_event("go on", str, timeout=timeout)
        except kb.EventTimeout:
            how = "late"
        await self.step("end", note, f"{how} {self.id}")
        return how


def engine() -> Engine:
    passed = SECONDS + 1.0 if LIFE == "end" else 0.0
    return SqliteEngine(str(FOLDER / "errands.db"), clock=lambda: time.time() + passed)


async def begin(sagas: kb.Sagas[float | None, str], first: int) -> int:
    starts = [
        sagas.start(None if number % 2 else SECONDS, id=f"{number}")
        for number in range(first, min(first + PORTION, COUNT))
    ]
    await asyncio.gather(*starts)
    return sagas.statistics().active


async def end(sagas: kb.Sagas[float | None, str], first: int) -> int:
    odd = range(first + 1, min(first + PORTION, COUNT), 2)
    await asyncio.gather(*(sagas[f"{number}"].signal("go on", "told") for number in odd))
    return sagas.statistics().active


async def main() -> None:
    sagas = kb.sagas(Errand, store=engine if URL == "sqlite" else URL, max_active=MOST, lease=3.0)
    async with kb.Supervisor(sagas.child()):
        do = begin if LIFE == "begin" else end
        awake = [await do(sagas, first) for first in range(0, COUNT, PORTION)]

        async def is_over() -> bool:
            awake.append(sagas.statistics().active)
            return awake[-1] <= MOST and (LIFE == "begin" or not await sagas.alive(limit=1))

        await until(is_over, sagas)
        seen = sagas.statistics()
        print(json.dumps({"awake": max(awake), "activated": seen.activated, "lost": seen.lost}), flush=True)
        if LIFE == "begin":
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
