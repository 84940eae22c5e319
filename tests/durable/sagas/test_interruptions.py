"""Steps and compensations during which the program dies: each time is counted, and there is an end to it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import do, within, world

import koboshi as kb

ROOT = Path(__file__).parents[3]


def died(folder: Path, scenario: str) -> dict[str, Any]:
    """What came of it, with programs that are killed with -9."""
    command = [sys.executable, "-m", "tests.durable.sagas.dying_program", str(folder), scenario]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=50, cwd=ROOT
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_step_that_kills_its_program_fails_in_the_end_and_the_saga_is_undone(tmp_path: Path) -> None:
    found = died(tmp_path, "step")

    assert 4 == found["kills"]
    assert found["outcome"].startswith("failed: the step 'charge' failed with Interrupted: ")
    assert "have died during it, 4 times" in found["outcome"]
    # What was done before is done once, and undone.
    assert ["reserve", "book", *["charge"] * 4, "unbook", "release"] == found["world"]


@pytest.mark.slow
def test_a_compensation_that_kills_its_program_is_a_dead_letter_until_it_is_retried(tmp_path: Path) -> None:
    found = died(tmp_path, "undo")

    assert 4 == found["kills"]
    assert found["outcome"].startswith("dead: ")
    assert found["again"].startswith("failed: sold out")
    assert ["reserve", "book", "charge", *["unbook"] * 5, "release"] == found["world"]


class Slow(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        if how == "waits":
            await self.wait_event("go on")
        backoff = kb.Backoff(100.0, 100.0)
        return await self.step("slow", slow, how, retries=1, backoff=backoff)


async def slow(how: str) -> str:
    await do("begin")
    if how == "fails":
        raise OSError("not yet")
    await asyncio.sleep(50.0)
    return await do("end")


def lives(
    store: KeptStore, how: str, count: int, *, killed: bool, seconds: float = 20.0, **options: Any
) -> Any:
    """So many programs that end during the saga, in order or not, and how it stands then."""

    async def first(sagas: kb.Sagas[str, str]) -> None:
        await sagas.start(how, id="x")
        await asyncio.sleep(seconds)

    async def last(sagas: kb.Sagas[str, str]) -> Any:
        await asyncio.sleep(70.0)
        return (await sagas["x"].status()).status

    def make() -> kb.Sagas[str, str]:
        return kb.sagas(Slow, store=store, **options)

    for _ in range(count):
        within(make, first)
        if killed:
            # As it is left by a program that had no time to give it back.
            store.rows("UPDATE kb_actor SET owner = 'gone.1.1'")
    return within(make, last)


def test_programs_that_end_in_order_are_no_interruptions(store: KeptStore) -> None:
    assert "finished" == lives(store, "works", 8, killed=False)
    assert 9 == world.count("begin")


def test_programs_that_die_are_counted_and_wait_longer_from_the_second_time_on(store: KeptStore) -> None:
    assert "running" == lives(store, "works", 2, killed=True)
    # The third program lets 100 s pass before it begins again.
    assert ["begin", "begin"] == world


def test_a_death_while_nothing_is_at_work_is_not_counted(store: KeptStore) -> None:
    assert "running" == lives(store, "waits", 8, killed=True)
    [(entries,)] = store.rows("SELECT count(*) FROM kb_journal")
    assert 2 == entries  # its start and its wait


def test_a_death_during_the_wait_for_a_retry_is_not_counted(store: KeptStore) -> None:
    # The first attempt fails at once; the second one is after 100 s.
    assert "running" == lives(store, "fails", 4, killed=True, seconds=2.0)
    assert ["begin"] == world


def test_with_no_interruption_allowed_the_first_one_fails_the_step(store: KeptStore) -> None:
    assert "failed" == lives(store, "works", 1, killed=True, max_interruptions=0)
    assert ["begin"] == world
    with pytest.raises(kb.UsageError, match="max_interruptions"):
        kb.sagas(Slow, store=store, max_interruptions=-1)
