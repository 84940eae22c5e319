"""Limits: the work of a row with as little around it as there can be.

The limit of the rows about durable tasks is what SQLite itself commits on this disk, in groups.

A task is three changes that must each be durable before the next may happen: put, claimed,
acknowledged with its result. Here each change is committed for GROUP tasks at once, with
nothing around it: no ids to look up, no worker, no lease, no reply to anybody.
"""

from __future__ import annotations

import os
import pickle
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BufferedRWPair
from pathlib import Path
from typing import NoReturn

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


def tasks(size: int) -> Batches:
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


def _other_side(end: socket.socket) -> NoReturn:
    """Answers each pickle with a pickle of the sum so far, until nobody is there any more."""
    total = 0
    while data := end.recv(1 << 16):
        number, kind, n = pickle.loads(data)
        total += n
        if kind == "call":
            end.sendall(pickle.dumps((number, total), 5))
    os._exit(0)


@contextmanager
def _pair() -> Iterator[socket.socket]:
    here, there = socket.socketpair()
    with here:
        pid = os.fork()
        if not pid:
            here.close()
            _other_side(there)
        there.close()
        yield here
    os.waitpid(pid, 0)


def xcall(size: int) -> Batches:
    """Two processes, a socket pair, and nothing else: a pickle there, a pickle back."""
    while True:
        with _pair() as end:
            total = 0
            began = time.perf_counter()
            for number in range(size):
                end.sendall(pickle.dumps((number, "call", 1), 5))
                total += pickle.loads(end.recv(1 << 16))[1]
            seconds = time.perf_counter() - began
        yield rate(size, seconds, total)


def xcast(size: int) -> Batches:
    """The same one way: pickles of a thousand numbers each, which the other side adds up."""
    while True:
        here, there = socket.socketpair()
        pid = os.fork()
        if not pid:
            here.close()
            with there.makefile("rwb") as stream:
                _add_up(stream)
        there.close()
        with here, here.makefile("rwb") as stream:
            began = time.perf_counter()
            for start in range(1, size + 1, 1_000):
                pickle.dump([("add", n) for n in range(start, min(start + 1_000, size + 1))], stream, 5)
            pickle.dump(None, stream, 5)
            stream.flush()
            total = pickle.load(stream)
            seconds = time.perf_counter() - began
        os.waitpid(pid, 0)
        yield rate(size, seconds, total)


def _add_up(stream: BufferedRWPair) -> NoReturn:
    total = 0
    while (numbers := pickle.load(stream)) is not None:
        for _, n in numbers:
            total += n
    pickle.dump(total, stream, 5)
    stream.flush()
    os._exit(0)


if __name__ == "__main__":
    serve({"tasks": tasks, "xcall": xcall, "xcast": xcast, **PLAIN_PROCESSES})
