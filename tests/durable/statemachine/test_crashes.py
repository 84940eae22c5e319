"""A durable state machine that is killed between any two commits, and on each server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import koboshi as kb

from .crash_program import EXPECTED, Door, one_round

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_machine_killed_anywhere_takes_each_event_and_each_timeout_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.durable.statemachine.crash_program", str(tmp_path)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=110, cwd=ROOT
    )
    runs = [json.loads(line) for line in done.stdout.splitlines()]

    assert len(runs) > 10
    assert not runs[-1]["killed"]
    for run in runs:
        assert EXPECTED == run["log"], run


async def state_and_timeouts_are_kept(url: str) -> None:
    doors = kb.durable(Door, store=url)
    async with kb.Supervisor(doors.child()):
        assert EXPECTED == await one_round(doors)
    async with kb.Supervisor(doors.child()):
        assert EXPECTED == await one_round(doors)  # the same request, so nothing has moved
        assert "come in" == await doors["a"].call(Door.push)
    async with kb.Supervisor(doors.child()):
        while (log := await doors["a"].call(Door.log))[0] != "CLOSED":
            pass
        assert 2 == log.count("unlocked")


@pytest.mark.slow
async def test_a_machine_keeps_its_state_and_timeouts_on_postgres(postgres_url: str) -> None:
    await state_and_timeouts_are_kept(postgres_url)


@pytest.mark.slow
async def test_a_machine_keeps_its_state_and_timeouts_on_mariadb(mariadb_url: str) -> None:
    await state_and_timeouts_are_kept(mariadb_url)
