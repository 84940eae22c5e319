"""A failover that is killed at each statement of its store neither skips nor repeats an item."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_failover_killed_anywhere_brings_each_item_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.durable.failover.crash_program", str(tmp_path)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=110, cwd=ROOT
    )
    runs = [json.loads(line) for line in done.stdout.splitlines()]

    assert len(runs) > 50
    assert not runs[-1]["killed"]
    for run in runs:
        assert [1, 2, 3, 4, 5, 6] == run["items"], run
