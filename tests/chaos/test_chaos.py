"""The chaos in small, and that it finds the mistakes which it is there to find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos import chaos
from tests.servers.mariadb import program

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_short_run_keeps_every_promise_and_says_so_in_one_json_line(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.chaos.chaos"]
    options = ["--seed", "2", "--minutes", "0.01", "--only", "killed,killed_in_commit", "--json", str(report)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=55)

    assert 1 == done.stdout.count("\n"), done.stderr
    result = json.loads(done.stdout)
    assert (0, True, []) == (done.returncode, result["ok"], result["violations"])
    assert result == json.loads(report.read_text())
    assert (0, 0, 0) == (result["lost"], result["duplicated"], result["reordered"])
    assert 1 <= result["faults"] == sum(result["faults_by_kind"].values())
    assert 10 < result["acknowledged"] <= result["attempted"]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif("KOBOSHI_CHAOS" not in os.environ, reason="two minutes; run it with KOBOSHI_CHAOS=1")
@pytest.mark.parametrize(
    ("bug", "faults"),
    [
        ("without-fence", ("paused",)),
        ("early-reply", ("killed", "killed_in_commit")),
        ("kept-outbox", ("killed",)),
    ],
)
async def test_a_run_finds_a_planted_mistake(bug: str, faults: tuple[str, ...]) -> None:
    result = await chaos.run(1, 60.0, only=faults, bug=bug, each_round=3)

    assert not result.ok
    found = {
        name for name in ("lost", "duplicated", "invented", "gaps", "wrong_sums") if getattr(result, name)
    }
    assert found != set(), result.violations


@pytest.mark.parametrize(
    "given", [["--minutes", "0"], ["--minutes", "many"], ["--only", "nothing"], ["--fast"]]
)
def test_a_wrong_argument_exits_2_with_one_line(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        chaos.main(given)

    assert 2 == ended.value.code
    assert 1 == capsys.readouterr().err.count("\n")


@pytest.mark.parametrize(
    "store", ["sqlite:///README.md", "sqlite:///no/such/folder/app.db", "mariadb://host/db"]
)
def test_a_store_that_it_must_not_or_cannot_hurt_is_refused(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match="chaos: --store"):
        chaos.main(["--store", store])


@pytest.mark.slow
async def test_a_new_file_may_be_named(tmp_path: Path) -> None:
    result = await chaos.run(3, 0.1, f"sqlite:///{tmp_path}/new.db", only=("killed",))

    assert (True, []) == (result.ok, result.violations)
    assert tmp_path.joinpath("new.db").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.skipif(program("mariadbd") is None, reason="NOT TESTED: MariaDB is not installed")
async def test_a_mariadb_is_hurt_as_the_other_stores_are() -> None:
    faults = ("killed_in_commit", "row_corrupted", "restored")
    result = await chaos.run(4, 0.1, "mariadb", only=faults, each_round=3)

    assert (True, []) == (result.ok, result.violations)
    assert "mariadb+asyncmy" == result.store
