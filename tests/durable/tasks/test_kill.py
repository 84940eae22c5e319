"""A program that is killed at each statement while it puts, claims and acknowledges tasks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.durable.killed import runs_of

EVERY = ("one", "two", "three", "more", "all.then")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in memory where there is one: what is killed is the program, not the machine."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path))
    yield made
    shutil.rmtree(made)


def runs(folder: Path) -> list[dict[str, Any]]:
    """What came of it, for each boundary at which the first process was killed."""
    found = runs_of("tests.durable.tasks.crash_program", folder)
    assert len(found) > 100  # it was killed, again and again
    assert [False] == [each["killed"] for each in found if not each["killed"]]
    return found


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_killed_at_any_statement_each_task_ends_once_and_its_effects_happen_once(folder: Path) -> None:
    for run in runs(folder):
        world: list[str] = run["world"]

        assert dict.fromkeys(EVERY, "done") == run["states"], run
        assert dict.fromkeys(EVERY, 1) == run["cents"], run
        assert [[3, 0, 0]] == run["batch"], run
        # A crash is no attempt: only the one that failed by itself counts.
        assert {**dict.fromkeys(EVERY, 1), "two": 2} == run["attempts"], run
        for id in EVERY:
            own = [line.partition(" ")[0] for line in world if line.endswith(f" {id}")]
            # Killed once, so one attempt is begun twice at most, and never after it was acknowledged.
            assert own.count("run") <= (3 if id == "two" else 2), run
            assert (
                "run" not in own[own.index("acknowledged") :] if "acknowledged" in own else run["killed"]
            ), run
            assert own.count("acknowledged") <= 1, run
        assert world.index("run all.then") > max(world.index(f"run {id}") for id in EVERY[:3]), run
