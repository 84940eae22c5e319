"""The side of the package `dbos`, in an environment of its own: workflows on a queue, on SQLite.

The file is in WAL mode, in which it is several times as fast as in the mode that the package leaves it in, and the
queue is looked at every 10 ms instead of every second. How far the tasks are is read beside it, from the file.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

# No part of the development install.
from dbos import DBOS  # type: ignore[import-not-found, unused-ignore]

from sides.protocol import Batches, rate, serve

PUTTING = 4
"""Threads that put; with 1 and with 16 it is slower."""

LOOK_SECONDS = 0.01


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
def square(n: int) -> int:
    return n * n


def _put(n: int) -> object:
    return DBOS.enqueue_workflow("bench", square, n)


def _ended(db: sqlite3.Connection) -> int:
    (found,) = db.execute("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").fetchone()
    return int(found)


def tasks(size: int) -> Batches:
    with (
        tempfile.TemporaryDirectory(prefix="koboshi-bench-") as folder,
        closing(sqlite3.connect(f"{folder}/bench.db", timeout=30.0)) as db,
        ThreadPoolExecutor(PUTTING) as pool,
    ):
        db.execute("PRAGMA journal_mode=WAL")
        url = f"sqlite:///{folder}/bench.db"
        DBOS(
            config={
                "name": "bench",
                "system_database_url": url,
                "log_level": "ERROR",
                "run_admin_server": False,
            }
        )
        DBOS.launch()
        DBOS.register_queue("bench", polling_interval_sec=LOOK_SECONDS)
        try:
            while True:
                before = _ended(db)
                began = time.perf_counter()
                handles = list(pool.map(_put, range(size)))
                while _ended(db) < before + size:
                    time.sleep(LOOK_SECONDS)
                seconds = time.perf_counter() - began
                yield rate(size, seconds, sum(handle.get_result() for handle in handles))  # type: ignore[attr-defined]
        finally:
            DBOS.destroy()


if __name__ == "__main__":
    serve({"tasks": tasks})
