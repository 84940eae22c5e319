"""A rotation of keys and an erasure, killed anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.durable.killed import runs_of


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("was", ["keyed", "earlier"])
def test_a_rotation_or_erasure_killed_anywhere_leaves_each_actor_whole_or_erased_and_is_finished_by_another(
    tmp_path: Path, was: str
) -> None:
    # With a step of 2 this is every statement; that takes some minutes.
    runs = runs_of("tests.durable.encryption.crash_program", tmp_path, was, "50")

    assert len(runs) > 10
    assert not runs[-1]["killed"]
    for run in runs:
        assert ["new"] == run["keys"], run
