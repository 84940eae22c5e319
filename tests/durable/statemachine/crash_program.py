"""A durable state machine in a program that is killed between any two commits.

python -m tests.durable.statemachine.crash_program FOLDER
"""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path

import msgspec
from tests.durable.boundaries import connect, each_boundary, forked, passed
from tests.durable.changes import until

import koboshi as kb
from koboshi import otp
from koboshi.durable.stores import Engine, SqliteEngine

FOLDER = Path(sys.argv[1]) if __name__ == "__main__" else Path()


class Data(msgspec.Struct):
    log: list[str] = []


class Door(kb.DurableStateMachine[Data]):
    class State(Enum):
        CLOSED = 1
        OPEN = 2
        LOCKED = 3

    initial = State.CLOSED

    @otp.event
    def push(self) -> str:
        return self.unexpected()

    @otp.event
    def noted(self, what: str) -> None:
        self.data.log.append(what)

    @otp.event
    def log(self) -> list[str]:
        return [self.state.name, *self.data.log]

    @otp.when(State.CLOSED, otp.ENTER)
    def closing(self, old: Enum) -> None:
        self.data.log.append(f"closed after {old.name}")

    @otp.when(State.CLOSED, push, to=State.OPEN)
    def open_it(self) -> str:
        self.set_state_timeout(0.02, "by itself")
        self.insert(Door.noted, "opened")
        return "come in"

    @otp.when(State.OPEN, otp.STATE_TIMEOUT, to=State.LOCKED)
    def falls_shut(self, payload: str) -> None:
        self.data.log.append(payload)
        self.set_timeout("unlock", 0.02)

    @otp.when(State.LOCKED, otp.timeout("unlock"), to=State.CLOSED)
    def unlock_it(self, payload: object) -> None:
        self.data.log.append("unlocked")


async def one_round(doors: kb.Durable[Door]) -> list[str]:
    """Push a door, which falls shut, is locked and unlocked by itself; its log, and what the push has said."""
    said = await doors["a"].request("push").call(Door.push)

    async def closed() -> list[str] | None:
        log = await doors["a"].call(Door.log)
        return log if log[0] == "CLOSED" else None

    return [said, *await until(closed, doors)]


EXPECTED = [
    "come in",
    "CLOSED",
    "closed after CLOSED",
    "opened",
    "by itself",
    "unlocked",
    "closed after LOCKED",
]


def engine() -> Engine:
    return SqliteEngine(str(FOLDER / "doors.db"), connect=connect)


async def run() -> str:
    doors = kb.durable(Door, store=engine)
    async with kb.Supervisor(doors.child()):
        found = await one_round(doors)
    return json.dumps(found)


async def opened() -> str:
    doors = kb.durable(Door, store=engine)
    async with kb.Supervisor(doors.child()):
        found = passed()
    return str(found)


if __name__ == "__main__":
    first = int(forked(opened, -1) or 1)
    for at, killed, outcome in each_boundary(FOLDER, run, 4, first):
        print(json.dumps({"at": at, "killed": killed, "log": json.loads(outcome)}), flush=True)
