"""A saga that is killed at each statement of its store and around each function of its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.durable.killed import runs_of

FORWARD = ["reserve", "charge", "wrap-a", "wrap-b", "ship"]


def runs(folder: Path, scenario: str) -> list[dict[str, Any]]:
    """What came of it, for each boundary at which the first process was killed."""
    found = runs_of("tests.durable.sagas.crash_program", folder, scenario)
    assert len(found) > 50  # it was killed, again and again
    assert [False] == [each["killed"] for each in found if not each["killed"]]
    return found


def first_effects(run: dict[str, Any]) -> list[str]:
    """The effects in the order of their first time, once each: what repeats has the key that it had."""
    effects = dict.fromkeys(line for line in run["world"])
    names = [line.split(" ", 1)[0] for line in effects]
    assert len(names) == len(set(names)), run  # one key for each
    for line in effects:
        # Killed once, so it is done twice at most.
        assert run["world"].count(line) <= 2, run
    return names


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_saga_killed_anywhere_does_each_step_and_finishes(tmp_path: Path) -> None:
    for run in runs(tmp_path, "finishing"):
        effects = first_effects(run)

        assert run["outcome"] == "shipped, paid 500"
        assert effects[:2] == FORWARD[:2]
        assert sorted(effects) == sorted(FORWARD), run
        assert effects[-1] == "ship"
        assert run["journal"] == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_saga_killed_anywhere_undoes_what_it_has_done_last_in_first_out(tmp_path: Path) -> None:
    for run in runs(tmp_path, "failing"):
        effects = first_effects(run)

        assert run["outcome"] == "SagaFailed"
        assert sorted(effects[:5]) == sorted(FORWARD), run
        assert effects[4:] == ["ship", "refund", "release"], run
        assert run["journal"] == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("scenario", ["waiting", "asleep"])
def test_a_saga_killed_anywhere_takes_an_event_once(tmp_path: Path, scenario: str) -> None:
    for run in runs(tmp_path, scenario):
        effects = first_effects(run)

        assert run["outcome"] == "shipped, paid 500"
        assert sorted(effects) == sorted(FORWARD), run


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_cancelled_saga_killed_anywhere_leaves_nothing_done(tmp_path: Path) -> None:
    for run in runs(tmp_path, "cancelled"):
        effects = first_effects(run)

        if run["outcome"] == "SagaCancelled":
            assert ("refund" in effects) == ("charge" in effects), run
            assert ("release" in effects) == ("reserve" in effects), run
            undone = [each for each in effects if each in ("refund", "release")]
            assert undone == sorted(undone, key=["refund", "release"].index)
        else:  # it was too late: the first process had gone on
            assert sorted(effects) == sorted(FORWARD), run


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_step_that_runs_at_most_once_is_never_run_twice_wherever_it_is_killed(tmp_path: Path) -> None:
    unknown = 0
    for run in runs(tmp_path, "once"):
        effects = first_effects(run)
        shipped = sum(line.startswith("ship ") for line in run["world"])

        if run["outcome"] == "SagaFailed":  # nobody knows, so what is known is undone
            unknown += 1
            assert shipped <= 1, run
            assert effects[-2:] == ["refund", "release"], run
        else:
            assert shipped == 1, run
    assert unknown > 0
