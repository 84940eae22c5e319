"""The soak in small, and that it sees what it is there to see."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.soak import soak
from tests.soak.accounts import CRASHED, RETRIES, VALUE, Accounts
from tests.soak.census import slope

ROOT = Path(__file__).parents[2]


# asyncio's development mode tells how long a callback took, which is the machine's affair.
SLOW_CALLBACK = re.compile(r"Executing <.*> took \d+\.\d+ seconds")


def complaints(text: str) -> list[str]:
    """What a program wrote to stderr, but for callbacks that a busy machine made slow."""
    return [line for line in text.splitlines() if not SLOW_CALLBACK.fullmatch(line)]


@pytest.mark.slow
def test_thirty_kills_lose_repeat_and_leave_nothing() -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.soak.soak"]
    done = subprocess.run(
        [*command, "--kills", "30", "--seed", "7", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=58,
        check=False,
    )

    assert 1 == done.stdout.count("\n"), done.stderr
    result = json.loads(done.stdout)
    assert [] == result["mistakes"]
    assert (0, []) == (done.returncode, complaints(done.stderr))
    assert 30 == result["kills"] == sum(result["kills_by_signal"].values())
    assert result["jobs"] == result["values"] + result["crashed"]
    assert all(jobs > 100 for jobs in result["jobs_per_face"].values())


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    made = Accounts(tmp_path / "runs")
    yield made
    made.close()


def test_jobs_that_ran_as_they_may_are_no_mistake(accounts: Accounts) -> None:
    for outcome, retrying, times in [
        (VALUE, False, 1),
        (CRASHED, False, 0),
        (CRASHED, False, 1),
        (VALUE, True, 1 + RETRIES),
        (CRASHED, True, 1 + RETRIES),
    ]:
        number = accounts.new()
        accounts.runs[number] = times
        accounts.settle(number, outcome, retrying=retrying)

    assert [] == accounts.mistakes()
    assert (2, 3) == (accounts.count(VALUE), accounts.count(CRASHED))


@pytest.mark.parametrize(
    ("outcome", "retrying", "times", "mistake"),
    [
        (VALUE, False, 2, "1 jobs with a value and 0 retries ran 2 times"),
        (VALUE, False, 0, "1 jobs with a value and 0 retries ran 0 times"),
        (CRASHED, False, 2, "1 jobs with WorkerCrashed and 0 retries ran 2 times"),
        (VALUE, True, 2 + RETRIES, "1 jobs with a value and 3 retries ran 5 times"),
        (0, False, 1, "1 jobs have no outcome"),
    ],
)
def test_a_job_that_is_lost_or_repeated_is_a_mistake(
    accounts: Accounts, outcome: int, retrying: bool, times: int, mistake: str
) -> None:
    number = accounts.new()
    accounts.runs[number] = times
    accounts.settle(number, outcome, retrying=retrying)

    assert [mistake] == accounts.mistakes()


def test_a_second_outcome_is_a_mistake(accounts: Accounts) -> None:
    number = accounts.new()
    accounts.runs[number] = 1
    accounts.settle(number, VALUE, retrying=False)
    accounts.settle(number, VALUE, retrying=False)

    assert ["job 0 has two outcomes"] == accounts.mistakes()


def test_memory_that_grows_with_the_kills_is_a_mistake(accounts: Accounts) -> None:
    run_of = soak.Soak(1000, 1, accounts)
    leak = 3000
    points = [(kills, 30_000_000 + leak * kills) for kills in range(0, 1000, 25)]

    assert leak == run_of._growth("the program", points)
    assert ["the memory of the program grew by 3000 bytes per kill"] == run_of.result.mistakes


def test_memory_that_only_swings_is_none(accounts: Accounts) -> None:
    run_of = soak.Soak(1000, 1, accounts)
    points = [(kills, 30_000_000 + kills % 2 * 400_000) for kills in range(0, 1000, 25)]

    assert abs(run_of._growth("the program", points)) < soak.SLOPE_ALLOWED
    assert [] == run_of.result.mistakes


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert 2.0 == slope([(0, 1), (1, 3), (2, 5)])
    assert 0.0 == slope([(5, 1)])


@pytest.mark.parametrize("given", [["--kills", "0"], ["--kills", "many"], ["--fast"]])
def test_a_wrong_argument_exits_2_with_one_line(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        soak.main(given)

    assert 2 == ended.value.code
    assert 1 == capsys.readouterr().err.count("\n")
