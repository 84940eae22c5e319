"""A durable state machine that is killed between any two commits, and on each server."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.durable.killed import runs_of

import koboshi as kb

from .crash_program import EXPECTED, Door, one_round


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_machine_killed_anywhere_takes_each_event_and_each_timeout_once(tmp_path: Path) -> None:
    runs = runs_of("tests.durable.statemachine.crash_program", tmp_path)

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
