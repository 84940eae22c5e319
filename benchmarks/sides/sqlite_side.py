"""SQLite by itself: one row changed and committed for each turn, with nothing around it."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing

from sides.protocol import Batches, rate, serve


def _turns(size: int) -> Batches:
    with (
        tempfile.TemporaryDirectory(prefix="koboshi-bench-") as folder,
        closing(sqlite3.connect(f"{folder}/bench.db", isolation_level=None)) as db,
    ):
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA wal_autocheckpoint=4000")
        db.execute("CREATE TABLE actor (key TEXT PRIMARY KEY, revision INTEGER, state BLOB) WITHOUT ROWID")
        db.execute("INSERT INTO actor VALUES ('a', 0, x'')")
        before = 0
        while True:
            began = time.perf_counter()
            for revision in range(before, before + size):
                db.execute("BEGIN IMMEDIATE")
                db.execute(
                    "UPDATE actor SET revision = ?, state = ? WHERE key = 'a' AND revision = ?",
                    (revision + 1, b"%032d" % revision, revision),
                )
                db.execute("COMMIT")
            seconds = time.perf_counter() - began
            (after,) = db.execute("SELECT revision FROM actor").fetchone()
            yield rate(size, seconds, after - before)
            before = after


if __name__ == "__main__":
    serve({"turns_one": _turns, "turns_many": _turns})
