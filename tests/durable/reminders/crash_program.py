"""Reminders of each missed policy in a program that is killed between any two commits; the next one comes late.

python -m tests.durable.reminders.crash_program FOLDER
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

import msgspec
from tests.durable.boundaries import connect, each_boundary, forked, passed
from tests.durable.changes import until

import koboshi as kb
from koboshi.durable.stores import Engine, SqliteEngine

FOLDER = Path(sys.argv[1])
# Seconds that pass between two lives: enough for all that is due to be missed.
BETWEEN = 100.0


class Rung(msgspec.Struct):
    """The ids of the messages that have come, by reminder."""

    came: dict[str, list[str]] = {}


class Alarm(kb.DurableActor[Rung]):
    @kb.message
    def set(self) -> None:
        self.remind("all", Alarm.ring, "all", 2, every=0.02, missed="fire_all")
        self.remind("latest", Alarm.ring, "latest", 2, every=0.02, missed="fire_once")
        self.remind("single", Alarm.ring, "single", 1, after=0.02)
        self.remind("skipped", Alarm.ring, "skipped", 1, after=0.02, missed="skip")

    @kb.message
    def ring(self, name: str, most: int) -> None:
        came = self.state.came.setdefault(name, [])
        came.append(self.message_id)
        if len(came) == most:
            self.forget(name)

    @kb.query
    def came(self) -> dict[str, list[str]]:
        return self.state.came


def engine() -> Engine:
    lives = FOLDER / "lives"
    with lives.open("a") as file:
        file.write("x")
    late = BETWEEN * (len(lives.read_text()) - 1)
    return SqliteEngine(str(FOLDER / "alarms.db"), connect=connect, clock=lambda: time.time() + late)


alarms = kb.durable(Alarm, store=engine)


def left() -> int:
    """Reminders and messages that the store still has."""
    connection = sqlite3.connect(FOLDER / "alarms.db")
    try:
        text = "SELECT (SELECT count(*) FROM kb_timer) + (SELECT count(*) FROM kb_outbox)"
        return int(connection.execute(text).fetchone()[0])
    finally:
        connection.close()


async def run() -> str:
    async with kb.Supervisor(alarms.child()):
        await alarms["a"].request("set").call(Alarm.set)
        await until(lambda: not left(), alarms)
        found = await alarms["a"].call(Alarm.came)
    return json.dumps(found)


async def opened() -> str:
    async with kb.Supervisor(alarms.child()):
        found = passed()
    return str(found)


if __name__ == "__main__":
    first = int(forked(opened, -1) or 1)
    for at, killed, outcome in each_boundary(FOLDER, run, 4, first):
        print(json.dumps({"at": at, "killed": killed, "came": json.loads(outcome)}), flush=True)
