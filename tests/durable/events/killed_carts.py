"""A program with carts and projections that is killed with -9; run by test_kill.py.

killed_carts.py FILE ROUND FATAL: works until its statement number FATAL, 0: to the end. One line for each
answer.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from typing import Any

import koboshi as kb
from koboshi.durable.stores import SqliteEngine

from .carts import Cart
from .totals import Sales, Totals


class KilledCursor(sqlite3.Cursor):
    """Counts the moments just before and just after each statement; the process dies at the chosen one."""

    passed = 0
    fatal = 0

    def execute(self, sql: str, parameters: Any = (), /) -> KilledCursor:
        boundary()
        super().execute(sql, parameters)
        boundary()
        return self


class KilledConnection(sqlite3.Connection):
    def cursor(self, factory: object = None) -> KilledCursor:  # type: ignore[override]
        return super().cursor(KilledCursor)

    def execute(self, sql: str, parameters: Any = (), /) -> KilledCursor:
        return self.cursor().execute(sql, parameters)


def boundary() -> None:
    KilledCursor.passed += 1
    if KilledCursor.passed == KilledCursor.fatal:
        os.kill(os.getpid(), signal.SIGKILL)


def connect(path: str, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(path, factory=KilledConnection, **options)


async def work(path: str, number: str) -> None:
    """Fill carts and have a projection made again, and again."""

    def store() -> SqliteEngine:
        return SqliteEngine(path, connect=connect)

    carts = kb.durable(Cart, store=store, snapshot_every_events=3)
    totals = kb.projection(Totals, of=carts, batch=4, name="followed")
    sales = kb.projection(Sales, of=carts, batch=3)
    async with kb.Supervisor(carts.child(), totals.child(), sales.child()):
        for turn in range(10):
            for key in ("a", "b"):
                item = f"{number}-{turn}"
                await carts[key].request(item).call(Cart.add, item, 1)
                os.write(1, f"{key} {item}\n".encode())
            if turn == 4:
                await totals.wait_for()
                await totals.rebuild()
        await totals.wait_for()
        await sales.wait_for()
    os.write(1, f"end {KilledCursor.passed}\n".encode())


if __name__ == "__main__":
    KilledCursor.fatal = int(sys.argv[3])
    asyncio.run(work(sys.argv[1], sys.argv[2]))
