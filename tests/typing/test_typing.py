"""Programs as users write them, run through two strict type checkers: right ones pass, mistakes do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRIPTS = Path(sys.executable).parent
GOOD = sorted(HERE.joinpath("good").glob("*.py"))
BAD = sorted(HERE.joinpath("bad").glob("*.py"))

Found = dict[tuple[str, int], str]


def mypy(tmp_path: Path) -> Found:
    """File and line of each error that mypy reports, and what it says."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    command += [
        "--no-pretty",
        "--cache-dir",
        str(tmp_path / "mypy"),
        "--config-file",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(
        [*command, *map(str, GOOD + BAD)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: Found = {}
    for line in done.stdout.splitlines():
        place, kind, text = line.partition(": error: ")
        if kind:
            name, number = place.split(":")[:2]
            found[Path(name).name, int(number)] = text
    return found


def basedpyright(tmp_path: Path) -> Found:
    """File and line of each error that basedpyright reports, and what it says."""
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(path) for path in GOOD + BAD],
                "pythonVersion": "3.11",
                "typeCheckingMode": "strict",
                "venvPath": str(ROOT),
                "extraPaths": [str(ROOT / "src")],
                # Replies that are not used are no mistake of these programs.
                "reportUnusedCallResult": False,
            }
        )
    )
    done = subprocess.run(
        [str(SCRIPTS / "basedpyright"), "--outputjson", "--pythonpath", sys.executable, "-p", str(config)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"]
        for each in diagnostics
        if each["severity"] == "error"
    }


def planted() -> set[tuple[str, int]]:
    """File and line of each mistake that was planted."""
    return {
        (path.name, number)
        for path in BAD
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.endswith("# refused")
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [mypy, basedpyright], ids=["mypy", "basedpyright"])
def test_every_planted_mistake_is_refused_on_its_line_and_nothing_else_is(
    checker: object, tmp_path: Path
) -> None:
    assert callable(checker)
    found: Found = checker(tmp_path)
    expected = planted()

    assert len(expected) >= 30
    assert {} == {place: text for place, text in found.items() if place not in expected}
    assert set() == expected - set(found)
