"""Programs that are killed with -9 while they use a ledger; run by test_kill.py.

killed_program.py boundaries FOLDER   one run for each statement boundary, killed there; one JSON line each
killed_program.py steady FILE ROUND   works until somebody kills it; one line for each answer
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from typing import Any

from koboshi.durable import Backoff, Ledger


class KilledCursor(sqlite3.Cursor):
    """Counts the moments just before and just after each statement; the process dies at the chosen one."""

    passed = 0
    fatal = 0

    def execute(self, sql: str, parameters: Any = (), /) -> KilledCursor:
        self.boundary()
        super().execute(sql, parameters)
        self.boundary()
        return self

    def executemany(self, sql: str, parameters: Any, /) -> KilledCursor:
        self.boundary()
        super().executemany(sql, parameters)
        self.boundary()
        return self

    @classmethod
    def boundary(cls) -> None:
        cls.passed += 1
        if cls.passed == cls.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledConnection(sqlite3.Connection):
    def cursor(self, factory: object = None) -> KilledCursor:  # type: ignore[override]
        return super().cursor(KilledCursor)

    def execute(self, sql: str, parameters: Any = (), /) -> KilledCursor:
        return self.cursor().execute(sql, parameters)


def connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, factory=KilledConnection)


async def scenario(path: str, answers: int) -> None:
    """A little of everything; each answer is told at once, in one write."""

    def tell(what: str, *ids: str) -> None:
        for id in ids:
            os.write(answers, f"{what} {id}\n".encode())

    async with Ledger(path, backoff=Backoff(first=0.0), max_attempts=2, connect=connect) as ledger:
        await ledger.reclaim(refund=True)
        await ledger.put("a", b"a")
        tell("put", "a")
        await ledger.put_many([("b", b"b"), ("c", b"c"), ("d", b"d")])
        tell("put", "b", "c", "d")
        a, b, c = await ledger.claim("w", limit=3)
        await ledger.acknowledge(a, b"result of a")
        tell("done", "a")
        # One group; the impossible id makes it run a second time with savepoints.
        outcome = await asyncio.gather(
            ledger.put("e", b"e"),
            ledger.put("\ud800", b""),
            ledger.acknowledge(b, b"result of b"),
            return_exceptions=True,
        )
        assert outcome[0] is True
        assert isinstance(outcome[1], UnicodeEncodeError)
        tell("put", "e")
        tell("done", "b")
        await ledger.fail(c, "crash", retry=True)
        c, d = await ledger.claim("w", limit=2)
        await ledger.fail(d, "hopeless", retry=False)
        tell("dead", d.id)
        await ledger.release(c)


def boundaries(folder: str) -> None:
    """Forks one scenario for each boundary, until one gets through."""
    fatal = 0
    while True:
        fatal += 1
        reading, answers = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            KilledCursor.fatal = fatal
            status = 1
            try:
                asyncio.run(scenario(os.path.join(folder, f"{fatal}.db"), answers))
                status = 0
            finally:
                os._exit(status)
        os.close(answers)
        with os.fdopen(reading) as told:
            lines = told.read().splitlines()
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"file": f"{fatal}.db", "code": code, "told": lines}), flush=True)
        if code != -signal.SIGKILL:
            return


async def steady(path: str, number: str) -> None:
    """Puts, claims and acknowledges in many tasks at once."""

    async def work(ledger: Ledger, worker: int) -> None:
        turn = 0
        while True:
            turn += 1
            id = f"{number}-{worker}-{turn}"
            await ledger.put(id, id.encode())
            os.write(1, f"put {id}\n".encode())
            for claim in await ledger.claim(f"w{worker}", limit=2):
                await ledger.acknowledge(claim, claim.payload)
                os.write(1, f"done {claim.id}\n".encode())

    async with Ledger(path, max_attempts=1) as ledger:
        await ledger.reclaim(refund=True)
        await asyncio.gather(*(work(ledger, worker) for worker in range(10)))


if __name__ == "__main__":
    if sys.argv[1] == "boundaries":
        boundaries(sys.argv[2])
    else:
        asyncio.run(steady(sys.argv[2], sys.argv[3]))
