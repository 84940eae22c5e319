"""Puts a batch, claims, runs and acknowledges its tasks, in one process after another, each killed a boundary later.

    python -m tests.durable.tasks.crash_program FOLDER

A boundary is a statement of the store, before and after it, and what happens in the world. The process that gets no
further than boundary N is killed there with SIGKILL; then another one does the same and comes to the end. One JSON
line for each N says what has happened, until N is never reached.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from tests.durable.boundaries import LEFT, boundary, connect, each_boundary
from tests.durable.tasks.desk import NAME, Desk

from koboshi.durable.stores import SqliteEngine, Store
from koboshi.durable.tasks._batches import PutBatch
from koboshi.durable.tasks._claim import Claimed

FOLDER = Path(sys.argv[1])
TASKS = ("one", "two", "three")


def note(what: str) -> None:
    """Something in the world: a line of a file."""
    boundary()
    descriptor = os.open(FOLDER / "world", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{what}\n".encode())
    finally:
        os.close(descriptor)
    boundary()


async def work(desk: Desk, claimed: Claimed) -> None:
    note(f"run {claimed.id}")
    if claimed.id == "two" and claimed.attempt == 1:
        await desk.settle(claimed, "retry", report="the first attempt always fails")
        note("failed two")
        return
    statement = ("UPDATE account SET cents = cents + 1 WHERE name = :name", {"name": claimed.id})
    following = [desk.row(id="more")] if claimed.id == "three" else []
    await desk.settle(claimed, keep=100.0, statements=[statement], rows=following)
    note(f"acknowledged {claimed.id}")


async def run() -> str:
    # How a store is opened is tested with the stores: here the boundaries begin with the put.
    left, LEFT["boundaries"] = LEFT["boundaries"], -1
    store = Store(SqliteEngine(str(FOLDER / "queue.db"), connect=connect))
    await store.open()
    desk = Desk(store)
    for sql in (
        "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, cents INTEGER)",
        "INSERT OR IGNORE INTO account VALUES ('one', 0), ('two', 0), ('three', 0), ('more', 0), ('all.then', 0)",
    ):
        await store.change(lambda session, sql=sql: session.execute(sql, {}))  # type: ignore[misc]
    LEFT["boundaries"] = left
    rows = [desk.row(id=id)._replace(batch="all") for id in TASKS]
    await store.run(PutBatch(NAME, "all", rows, desk.row(id="all.then"), 100.0))
    note("put")
    await desk.recover()
    while claimed := await desk.claim(2):
        for each in claimed:
            await work(desk, each)
    LEFT["boundaries"] = -1
    await store.close()
    return "ended"


def main() -> None:
    for at, killed, outcome in each_boundary(FOLDER, run):
        with closing(sqlite3.connect(FOLDER / "queue.db")) as connection:
            states = dict(connection.execute("SELECT task_id, state FROM kb_task"))
            attempts = dict(connection.execute("SELECT task_id, attempts FROM kb_task"))
            cents = dict(connection.execute("SELECT name, cents FROM account"))
            batch = connection.execute("SELECT total, pending, failed FROM kb_task_batch").fetchall()
        found = {
            "at": at, "killed": killed, "outcome": outcome, "states": states, "attempts": attempts,
            "cents": cents, "batch": batch, "world": (FOLDER / "world").read_text().splitlines(),
        }  # fmt: skip
        print(json.dumps(found), flush=True)


main()
