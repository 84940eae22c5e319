"""Runs a saga that kills its program, in one process after another until one comes to the end.

    python -m tests.durable.sagas.dying_program FOLDER SCENARIO

One line of JSON: how many processes were killed, what became of the saga, and what its functions did.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tests.durable.boundaries import forked

import koboshi as kb

FOLDER = Path(sys.argv[1])
SCENARIO = sys.argv[2]
# More than any of them needs, so that a loop without an end fails and does not hang.
MOST = 12
QUICK = kb.Backoff(0.01, 0.01)


def effect(what: str) -> None:
    with (FOLDER / "world").open("a") as world:
        world.write(f"{what}\n")


async def reserve() -> str:
    effect("reserve")
    return "seat 5"


async def release(seat: str) -> None:
    effect("release")


async def charge() -> None:
    effect("charge")
    if SCENARIO != "undo":
        os.kill(os.getpid(), signal.SIGKILL)


async def book() -> str:
    effect("book")
    return "room"


async def unbook(room: str) -> None:
    effect("unbook")
    if SCENARIO == "undo" and not (FOLDER / "mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)


class Journey(kb.Saga[str, str]):
    async def run(self, value: str) -> str:
        await self.step("reserve", reserve, undo=release)
        await self.step("book", book, undo=unbook)
        await self.step("charge", charge, backoff=QUICK)
        raise ValueError("sold out")


journeys = kb.sagas(
    Journey,
    store=f"sqlite:///{FOLDER}/sagas.db",
    undo_backoff=QUICK,
)


async def run() -> str:
    async with kb.Supervisor(journeys.child()):
        ref = await journeys.start("x", id="x")
        if (FOLDER / "mended").exists():
            await ref.retry()
        try:
            await ref.result(20.0)
        except kb.SagaFailed as failed:
            status = (await ref.status()).status
            return f"{status}: {failed.detail} / {(await ref.status()).report}"
    return "finished"


def last() -> tuple[int, str | None]:
    for kills in range(MOST):
        outcome = forked(run, -1)
        if outcome is not None:
            return kills, outcome
    return MOST, None


kills, outcome = last()
again = None
if SCENARIO == "undo":
    (FOLDER / "mended").touch()
    _, again = last()
world = (FOLDER / "world").read_text().splitlines()
print(json.dumps({"kills": kills, "outcome": outcome, "again": again, "world": world}))
