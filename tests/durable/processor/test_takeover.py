"""What a killed program had in hand is taken over on a server soon after its connection has gone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from tests.waiting import ask

import koboshi as kb

from . import held_program
from .held_program import LEASE, processor_of

# Nobody counts as gone before the server is up for a third of the lease, and a moment.
SETTLED = LEASE / 3 + 3.0


async def up_for(queue: kb.Queue, sql: str, seconds: float) -> None:
    store = queue._live().store

    async def is_up() -> bool:
        [(uptime,)] = await store.read(lambda session: session.execute(sql, {}))
        return float(uptime) >= seconds

    await ask(is_up, f"{seconds:g} s of the server")


async def taken_over(url: str, uptime: str, flag: Path) -> float:
    """Seconds until a program that was there before has ended the task of one that is killed."""
    killed = await asyncio.create_subprocess_exec(sys.executable, held_program.__file__, url, str(flag))
    await ask(flag.exists, "a task in hand of another program")
    producer = kb.Queue("tasks", store=url)
    async with kb.Supervisor(producer.producer()):
        await up_for(producer, uptime, SETTLED)
    processor = processor_of(url, str(flag))
    async with kb.Supervisor(processor.child()):
        assert 1 == (await processor.statistics()).claimed
        killed.kill()
        await killed.wait()
        began = asyncio.get_running_loop().time()
        await processor.wait_finished()

        assert ["after"] == await processor.total()
        return asyncio.get_running_loop().time() - began


@pytest.mark.slow
async def test_a_task_is_taken_over_on_postgres_between_two_beats(postgres_url: str, tmp_path: Path) -> None:
    uptime = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())"

    assert LEASE / 4 > await taken_over(postgres_url, uptime, tmp_path / "flag")


@pytest.mark.slow
async def test_a_task_is_taken_over_on_mariadb_between_two_beats(mariadb_url: str, tmp_path: Path) -> None:
    uptime = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'Uptime'"

    assert LEASE / 4 > await taken_over(mariadb_url, uptime, tmp_path / "flag")
