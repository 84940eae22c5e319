"""Thousands of sagas that wait in a program with few in memory, which is killed, and go on in the next one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


async def lives(url: str, folder: Path, count: int, seconds: float) -> list[dict[str, Any]]:
    """What two lives say, of which the first is killed when all are asleep."""
    found = []
    for life in ("begin", "end"):
        command = [sys.executable, "-m", "tests.durable.sagas.sleeping_program", life, url, str(folder)]
        process = await asyncio.create_subprocess_exec(
            *command, f"{count}", f"{seconds}", cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        found.append(json.loads(await process.stdout.readline()))
        if life == "begin":
            os.kill(process.pid, signal.SIGKILL)
        assert (-signal.SIGKILL if life == "begin" else 0) == await process.wait()
    return found


async def check(url: str, folder: Path, count: int, seconds: float) -> None:
    first, second = await lives(url, folder, count, seconds)
    expected = [f"begin {number}" for number in range(count)]
    expected += [f"{'told' if number % 2 else 'late'} {number}" for number in range(count)]
    world = (folder / "world").read_text().splitlines()
    assert set(expected) == set(world)
    # A step is done again only where nobody knows whether its commit was made.
    assert len(world) - len(expected) <= first["lost"] + second["lost"]
    # Sixteen that wait may be awake, and those at work: fifty are sent something at the same time.
    assert max(first["awake"], second["awake"]) <= 400
    assert count <= second["activated"] < 2 * count


@pytest.mark.slow
async def test_thousands_are_asleep_when_their_program_is_killed_and_each_goes_on_once(
    tmp_path: Path,
) -> None:
    await check("sqlite", tmp_path, 2_000, 3_600.0)


@pytest.mark.slow
async def test_hundreds_asleep_go_on_once_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    await check(postgres_url, tmp_path, 600, 5.0)
