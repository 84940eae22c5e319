"""The benchmark harness: what it accepts, what it writes, and what it does with failing sides."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(HERE))

import bench  # noqa: E402
from report import document, row_lines  # noqa: E402
from row import Goal  # noqa: E402
from rows import ROWS  # noqa: E402
from runs import RowResult, Scale, run_row  # noqa: E402
from sides.catalogue import APART, NAMES, Side, open_sides  # noqa: E402

TASKS = 10
SQUARES_BELOW_10 = 285


def printing(text: str, status: int = 0) -> Side:
    """A side that prints the same whatever the row is."""
    program = f"import sys; print({text!r}); sys.exit({status})"
    return Side("limit", variants={"": (sys.executable, "-c", program)})


def answering(figure: float, checksum: int = SQUARES_BELOW_10) -> Side:
    return printing(json.dumps({"figure": figure, "checksum": checksum, "batches": 1}))


def run_tasks(koboshi: Side, limit: Side, rounds: int = 1) -> RowResult:
    """The row `tasks` with ten tasks and two made-up sides."""
    row = replace(ROWS["tasks"], sides=("koboshi", "limit"), goals=(Goal(20_000.0),))
    scale = Scale(seconds=0.01, rounds=rounds, size=TASKS / row.size)
    return run_row(row, {"koboshi": koboshi, "limit": limit}, scale)


def only(row: str, *sides: str) -> dict[str, object]:
    """A catalogue of one row, with these sides alone."""
    return {row: replace(ROWS[row], sides=sides)}


def ends(pid: int) -> bool:
    """Whether a process ends within 5 s; a killed one needs a moment to be gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(5_000))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rows", "call,no_such_row"], "no_such_row"),
        (["--rows", ""], "''"),
        (["--repeat", "0"], "1 or more"),
        (["--repeat", "many"], "many"),
        (["--seconds", "-1"], "above 0"),
        (["--seconds", "nan"], "above 0"),
        (["--json", "/no/such/directory/figures.json"], "/no/such/directory"),
        (["--fast"], "--fast"),
        (["call"], "call"),
    ],
)
def test_a_bad_argument_exits_2_with_one_line_that_names_it(arguments: list[str], named: str) -> None:
    result = subprocess.run(
        [sys.executable, str(HERE / "bench.py"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert named in result.stderr
    assert "" == result.stdout


def test_only_the_selected_rows_are_measured_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "ROWS", only("cast", "asyncio") | only("call", "asyncio"))
    figures = tmp_path / "figures.json"

    status = bench.main(["--rows", "call", "--quick", "--json", str(figures)])

    assert 0 == status
    written = json.loads(figures.read_text(encoding="utf-8"))
    assert {"call"} == set(written["rows"])
    assert {"asyncio"} == set(written["rows"]["call"])
    assert written["rows"]["call"]["asyncio"] > 0
    assert {"cpu", "cores", "python", "otp", "load"} <= set(written["machine"])
    assert "cast" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "side"),
    [(name, side) for name, row in ROWS.items() for side in row.sides if side not in ("otp", "elixir")],
)
def test_every_other_side_gives_the_right_result_on_its_rows(row: str, side: str) -> None:
    if side in ("pykka", "xoscar", "ray"):
        pytest.importorskip(side)
    if side == "elixir" and shutil.which("elixir") is None:
        pytest.skip("needs elixir")
    definition = replace(ROWS[row], sides=(side,))
    if side == "sqlite":
        definition = replace(definition, step=1)  # it changes one row; each commit waits for the disk

    with open_sides({side}) as sides:
        if side in APART and sides[side].absent:
            pytest.skip(f"needs {APART[side]}")
        result = run_row(definition, sides, Scale(seconds=0.01, rounds=1, size=0.02))

    assert {} == result.failed
    assert result.figures[side] > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("erlc") is None, reason="needs erl and erlc")
def test_otp_gives_the_right_result_on_every_row_of_its_own() -> None:
    rows = [replace(row, sides=("otp",)) for row in ROWS.values() if "otp" in row.sides]

    with open_sides({"otp"}) as sides:
        results = [run_row(row, sides, Scale(seconds=0.01, rounds=1, size=0.02)) for row in rows]

    assert {} == {result.row.name: result.failed for result in results if result.failed}
    assert all(result.variants["otp"] in {"+S 1", "default"} for result in results)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("elixir") is None, reason="needs elixir")
def test_elixir_gives_the_right_result_on_every_row_of_its_own() -> None:
    rows = [replace(row, sides=("elixir",)) for row in ROWS.values() if "elixir" in row.sides]

    with open_sides({"elixir"}) as sides:
        results = [run_row(row, sides, Scale(seconds=0.01, rounds=1, size=0.02)) for row in rows]

    assert {} == {result.row.name: result.failed for result in results if result.failed}
    assert all(result.variants["elixir"] in {"+S 1", "default"} for result in results)


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        (answering(5_000.0, checksum=7), "expected the checksum 285, got 7"),
        (answering(0.0), "expected a figure above 0"),
        (printing("warming up"), "expected a line of JSON"),
        (printing(""), "expected a line of JSON"),
        (printing("5000.0"), "expected a line of JSON"),
        (printing("{}", status=3), "exit status 3"),
        (Side("limit", broken="erlc: syntax error"), "syntax error"),
    ],
)
def test_a_side_that_fails_has_a_reason_and_no_figure_and_the_others_go_on(side: Side, reason: str) -> None:
    result = run_tasks(koboshi=answering(6_000.0), limit=side, rounds=2)

    assert {"koboshi": 6_000.0} == result.figures
    assert ["limit"] == list(result.failed)
    assert reason in result.failed["limit"]
    assert any("FAILED" in line and reason in line for line in row_lines(result))


def test_a_failed_side_makes_the_exit_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "ROWS", only("call", "mp_pool", "asyncio"))

    status = bench.main(["--quick"])

    assert 1 == status
    assert "mp_pool                FAILED: KeyError: 'call'" in capsys.readouterr().out


def test_a_side_that_is_absent_is_skipped_with_a_line_and_is_no_failure() -> None:
    result = run_tasks(koboshi=answering(6_000.0), limit=Side("limit", absent="no erl on the PATH"))

    assert {} == result.failed
    assert {"limit": "no erl on the PATH"} == result.skipped
    assert any("skipped: no erl on the PATH" in line for line in row_lines(result))


def test_otp_is_absent_when_erl_is_not_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with open_sides({"otp"}) as sides:
        assert "erl is not on the PATH" == sides["otp"].absent


def test_the_better_variant_counts() -> None:
    slow, fast = answering(100.0).variants[""], answering(300.0).variants[""]

    result = run_tasks(koboshi=answering(6_000.0), limit=Side("limit", variants={"slow": slow, "fast": fast}))

    assert 300.0 == result.figures["limit"]
    assert "fast" == result.variants["limit"]
    assert {"slow": [100.0], "fast": [300.0]} == result.rounds["limit"]


@pytest.mark.parametrize(
    ("row", "own", "other", "value", "reached"),
    [
        ("start", 500_000.0, 400_000.0, 1.25, True),
        ("start", 300_000.0, 400_000.0, 0.75, False),
        ("idle_bytes", 1_000.0, 2_500.0, 0.4, True),
        ("idle_bytes", 2_000.0, 2_500.0, 0.8, False),
        ("restart", 0.00001, 0.00004, 4.0, True),
        ("restart", 0.00002, 0.00004, 2.0, False),
    ],
)
def test_a_goal_compares_in_the_direction_of_its_unit(
    row: str, own: float, other: float, value: float, reached: bool
) -> None:
    result = RowResult(ROWS[row], figures={"koboshi": own, "otp": other})

    goal = document([result], {})["goals"][0]  # type: ignore[index]

    assert pytest.approx(value) == goal["value"]
    assert reached is goal["reached"]


def test_a_goal_without_a_side_is_about_koboshis_own_figure() -> None:
    result = run_tasks(koboshi=answering(19_999.0), limit=answering(50_000.0))

    goal = document([result], {})["goals"][0]  # type: ignore[index]

    assert {"row": "tasks", "side": None, "bound": 20_000.0, "value": 19_999.0, "reached": False} == goal


def test_a_goal_is_not_judged_when_a_figure_is_missing() -> None:
    result = run_tasks(koboshi=printing("", status=1), limit=answering(50_000.0))

    goal = document([result], {})["goals"][0]  # type: ignore[index]

    assert goal["value"] is None
    assert goal["reached"] is None


def test_every_row_names_known_sides_and_sizes_that_fit_its_step() -> None:
    for row in ROWS.values():
        assert set(row.sides) <= set(NAMES)
        assert {goal.side for goal in row.goals} <= {*row.sides, None}
        for side in row.sides:
            assert 0 == row.size_for(side, 1.0) % row.step
            assert 0 < row.size_for(side, 0.0001) <= row.size_for(side, 1.0)


def test_what_a_side_writes_and_starts_is_gone_after_it(tmp_path: Path) -> None:
    """The side fails while a process that it started is alive, in a directory that it made."""
    told = tmp_path / "told"
    program = (
        "import pathlib, subprocess, sys, tempfile;"
        "process = subprocess.Popen(['sleep', '50'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        f"pathlib.Path({str(told)!r}).write_text(f'{{process.pid}} {{tempfile.mkdtemp()}}');"
        "sys.exit(1)"
    )

    result = run_tasks(
        koboshi=answering(6_000.0), limit=Side("limit", variants={"": (sys.executable, "-c", program)})
    )

    pid, directory = told.read_text(encoding="utf-8").split()
    assert ["limit"] == list(result.failed)
    assert not Path(directory).exists()
    assert ends(int(pid))
