"""A failover that is killed at each statement of its store neither skips nor repeats an item."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.durable.killed import runs_of


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_failover_killed_anywhere_brings_each_item_once(tmp_path: Path) -> None:
    runs = runs_of("tests.durable.failover.crash_program", tmp_path)

    assert len(runs) > 50
    assert not runs[-1]["killed"]
    for run in runs:
        assert [1, 2, 3, 4, 5, 6] == run["items"], run
