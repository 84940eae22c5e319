"""Sagas and reminders on each engine, and their takeover by another program."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durable.changes import until
from tests.durable.sagas import taken_over
from tests.waiting import ask

import koboshi as kb

ROOT = Path(__file__).parents[3]


class Bells(msgspec.Struct):
    rung: int = 0


class Bell(kb.DurableActor[Bells]):
    @kb.message
    def set(self) -> None:
        self.remind("ring", Bell.ring, every=0.05)

    @kb.message
    def ring(self) -> None:
        self.state.rung += 1
        if self.state.rung == 3:
            self.forget("ring")

    @kb.query
    def rung(self) -> int:
        return self.state.rung


async def three_times(bells: kb.Durable[Bell]) -> bool:
    return await bells["a"].call(Bell.rung) >= 3


async def sagas_and_reminders_work(url: str) -> None:
    """One saga ends, one is undone, one goes on in a second life, and a reminder comes three times."""
    sagas = kb.sagas(taken_over.Booking, store=url)
    bells = kb.durable(Bell, store=url)
    async with kb.Supervisor(sagas.child(), bells.child()):
        good = await sagas.start("good", id="good")
        bad = await sagas.start("bad", id="bad")
        await sagas.start("waiting", id="waiting")
        await bells["a"].call(Bell.set)
        assert "booked good" == await good.result(30.0)
        with pytest.raises(kb.SagaFailed, match="no room"):
            await bad.result(30.0)
        await until(lambda: three_times(bells), bells)
    async with kb.Supervisor(sagas.child(), bells.child()):
        assert await sagas["waiting"].signal("go on", 1)
        assert "booked waiting" == await sagas["waiting"].result(30.0)
        assert [] == await sagas.alive()
        assert 3 == await bells["a"].call(Bell.rung)


@pytest.mark.slow
async def test_sagas_and_reminders_work_on_sqlite(tmp_path: Path) -> None:
    await sagas_and_reminders_work(f"sqlite:///{tmp_path}/sagas.db")


@pytest.mark.slow
async def test_sagas_and_reminders_work_on_postgres(postgres_url: str) -> None:
    await sagas_and_reminders_work(postgres_url)


@pytest.mark.slow
async def test_sagas_and_reminders_work_on_mariadb(mariadb_url: str) -> None:
    await sagas_and_reminders_work(mariadb_url)


async def _waits(sagas: kb.Sagas[Any, Any]) -> bool:
    status = await sagas["theirs"].status()
    return ("running", ("event go on",)) == (status.status, status.waiting)


@pytest.mark.slow
async def test_another_program_that_runs_already_takes_a_saga_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sagas.db"
    sagas = kb.sagas(taken_over.Booking, store=url, lease=3.0)
    command = [sys.executable, "-m", "tests.durable.sagas.taken_over", url]
    async with kb.Supervisor(sagas.child()):
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert b"started\n" == await process.stdout.readline()
        try:
            # It knows that it waits before that is committed.
            await ask(lambda: _waits(sagas), "another program's commit")
            assert 0 == sagas.statistics().active
        finally:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        await until(lambda: sagas.statistics().active, sagas)
        assert await sagas["theirs"].signal("go on", 1)
        assert "booked theirs" == await sagas["theirs"].result(30.0)
