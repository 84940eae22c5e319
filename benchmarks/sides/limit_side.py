"""The limit of the ledger row: what SQLite itself commits on this disk, in groups.

A task is three changes that must each be durable before the next may happen: put, claimed,
acknowledged with its result. Here each change is committed for GROUP tasks at once, with
nothing around it: no ids to look up, no worker, no lease, no reply to anybody.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from sides.plain_processes import ROWS as PLAIN_PROCESSES
from sides.protocol import Batches, rate, serve
from sides.tiny_job import square

GROUP = 256

_TABLE = """
CREATE TABLE task (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, argument INTEGER NOT NULL, result INTEGER
) WITHOUT ROWID
"""


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    mode = db.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != ("wal",):
        raise RuntimeError(f"expected journal mode wal for {path}, got {mode}: use a local disk")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(_TABLE)
    return db


def _commit(db: sqlite3.Connection, statement: str, rows: list[tuple[object, ...]]) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany(statement, rows)
    db.execute("COMMIT")


def _put_claim_acknowledge(db: sqlite3.Connection, tasks: range) -> None:
    _commit(db, "INSERT INTO task VALUES (?, 'ready', ?, NULL)", [(f"{i}", i) for i in tasks])
    _commit(db, "UPDATE task SET state = 'claimed' WHERE id = ?", [(f"{i}",) for i in tasks])
    _commit(
        db,
        "UPDATE task SET state = 'done', result = ? WHERE id = ?",
        [(square(i), f"{i}") for i in tasks],
    )


def ledger(size: int) -> Batches:
    with tempfile.TemporaryDirectory(prefix="koboshi-bench-") as directory:
        number = 0
        while True:
            number += 1
            with closing(_open(Path(directory, f"{number}.db"))) as db:
                began = time.perf_counter()
                for first in range(0, size, GROUP):
                    _put_claim_acknowledge(db, range(first, min(first + GROUP, size)))
                seconds = time.perf_counter() - began
                (total,) = db.execute("SELECT sum(result) FROM task WHERE state = 'done'").fetchone()
            yield rate(size, seconds, total)


if __name__ == "__main__":
    serve({"ledger": ledger, **PLAIN_PROCESSES})
