"""kill -9 at every statement, in the middle of commits, and a log cut off as by a power failure."""

# ruff: noqa: ASYNC220, ASYNC221, ASYNC240
# Nothing else runs in these loops, so the blocking file functions do no harm.

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koboshi.durable import Counts, Ledger

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NewLedger = Callable[..., Ledger]
PROGRAM = str(Path(__file__).with_name("killed_program.py"))


def check_rules(path: str) -> dict[str, str]:
    """What must hold in any file at any time, read with plain SQL; gives the state of each job."""
    connection = sqlite3.connect(path)
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return {}  # killed before the tables were committed
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        states = dict(connection.execute("SELECT id, state FROM job").fetchall())
        tally = {state: jobs for state, jobs in connection.execute("SELECT state, jobs FROM tally") if jobs}
        assert tally == {state: list(states.values()).count(state) for state in states.values()}
        results = connection.execute("SELECT id, value FROM result JOIN job USING (number)").fetchall()
        assert connection.execute("SELECT count(*) FROM result").fetchone()[0] == len(results)
        done = sorted(id for id, state in states.items() if state == "done")
        assert done == sorted(id for id, _ in results)  # each exactly once
        return states
    finally:
        connection.close()


def check_told(told: list[str], states: dict[str, str]) -> None:
    """Whatever was answered is in the file."""
    for line in told:
        what, id = line.split()
        assert id in states, f"{line!r} was answered, and then lost"
        if what != "put":
            assert states[id] == what, f"{line!r} was answered, but the file says {states[id]!r}"


async def finish(path: str, put: set[str]) -> None:
    """Resumes at once, does what is left, and finds every job settled once."""
    async with Ledger(path) as ledger:
        await ledger.reclaim(refund=True)
        while claims := await ledger.claim("resumed", limit=100):
            await ledger.acknowledge_many([(claim, claim.payload) for claim in claims])
        results = [result.id async for result in ledger.results()]
        dead = [letter.id async for letter in ledger.dead_letters()]
        counts = await ledger.counts()
    assert counts == Counts(done=len(results), dead=len(dead))
    assert len(results + dead) == len(set(results + dead))
    assert put <= set(results + dead)


async def test_killed_at_every_statement_boundary_nothing_answered_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, PROGRAM, "boundaries", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    runs: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (0, "")
    assert [-signal.SIGKILL] * (len(runs) - 1) + [0] == [run["code"] for run in runs]
    assert len(runs) > 150
    assert {0, 1, 4, 5, 7, 8} == {len(run["told"]) for run in runs}  # killed between any two commits
    for run in runs:
        path = str(tmp_path / run["file"])
        if not os.path.exists(path):
            continue
        check_told(run["told"], check_rules(path))
        await finish(path, {line.split()[1] for line in run["told"]})


async def test_killed_at_random_again_and_again_nothing_answered_is_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    seed = random.randrange(2**32)
    randomness = random.Random(seed)
    told: list[str] = []
    for number in range(12):
        child = subprocess.Popen(
            [sys.executable, PROGRAM, "steady", path, str(number)], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            lines = randomness.randrange(1, 400)
            told += [child.stdout.readline().strip() for _ in range(lines)]
            child.kill()
            told += child.stdout.read().splitlines()
        assert child.returncode == -signal.SIGKILL, f"seed {seed}"
        check_told(told, check_rules(path))

    done = [line for line in told if line.startswith("done")]
    assert len(done) == len(set(done)), f"seed {seed}: acknowledged twice"
    await finish(path, {line.split()[1] for line in told})


async def test_a_log_cut_off_anywhere_holds_whole_groups_only(new_ledger: NewLedger, path: str) -> None:
    copy = path + "-copy"
    async with new_ledger() as ledger:
        for turn in range(6):
            await ledger.put_many([(f"{turn}-{number}", bytes(200)) for number in range(10)])
            claims = await ledger.claim("w", limit=5)
            await ledger.acknowledge_many([(claim, b"r") for claim in claims])
        original = Path(path).read_bytes()
        log = Path(path + "-wal").read_bytes()

    seen: list[tuple[int, int]] = []
    for length in range(0, len(log) + 1, 1373):  # inside headers, inside pages, between frames
        Path(copy).write_bytes(original)  # looking moves the log into the file
        Path(copy + "-wal").write_bytes(log[:length])
        Path(copy + "-shm").unlink(missing_ok=True)
        states = list(check_rules(copy).values())
        seen.append((len(states), states.count("done")))

    assert seen == sorted(seen)
    assert all(jobs % 10 == 0 and done % 5 == 0 for jobs, done in seen)
    assert len(set(seen)) > 10
