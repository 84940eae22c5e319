"""The demo as a user runs it: proof, planted faults, kill -9 of the root, signals, views, wrong usage."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.cli.conftest import BROKEN, FILES
from tests.cli.demo_runs import DIE_AT, PLANTED, DemoRun, demo

KEYS = [
    *("jobs", "done", "dead", "kills", "restarts", "lost", "duplicated"),
    *("digest", "serial_digest", "ok", "seconds", "workers"),
]
OPTIONS = ["input", "workers", "kill-every", "seconds", "store", "resume", "headless", "json"]
HELP = """
import sys
from koboshi.cli import main
try:
    main()
finally:
    print("koboshi.cli.demo._main" in sys.modules)
"""


def proof_of(run: DemoRun) -> dict[str, object]:
    """The JSON of a run, which is all that it printed."""
    found: dict[str, object] = json.loads(run.out)
    return found


def test_one_pass_ends_with_the_proof_line_and_names_the_dead_letters(tree: Path) -> None:
    run = demo("--input", tree, "--headless", "--kill-every", "0")

    last = run.out.splitlines()[-1]
    assert 0 == run.process.returncode, run.err
    assert (
        f"{FILES} files, 0 workers killed, 0 restarts, {BROKEN} dead letters, 0 lost, 0 twice, "
        "digest equals the serial run"
    ) == last
    assert "dead letter broken.py: attempt 3: SyntaxError" in run.out
    assert "imported by most files: os 4" in run.out
    assert "" == run.err


def test_json_is_one_object_with_the_promised_keys(tree: Path) -> None:
    run = demo("--input", tree, "--json", "--workers", "1", "--kill-every", "0")
    proof = proof_of(run)

    assert 0 == run.process.returncode, run.err
    assert KEYS == list(proof)
    assert (FILES, FILES - BROKEN, BROKEN) == (proof["jobs"], proof["done"], proof["dead"])
    assert (0, 0, True, 1) == (proof["lost"], proof["duplicated"], proof["ok"], proof["workers"])
    assert proof["digest"] == proof["serial_digest"]
    assert re.fullmatch("[0-9a-f]{64}", str(proof["digest"]))


def test_killed_workers_are_replaced_and_every_pass_is_proved(tree: Path) -> None:
    run = demo("--input", tree, "--json", "--seconds", "5", "--kill-every", "0.1")
    proof = proof_of(run)

    assert 0 == run.process.returncode, run.err
    assert isinstance(proof["kills"], int)
    assert 3 <= proof["kills"]
    assert proof["kills"] == proof["restarts"]
    assert isinstance(proof["jobs"], int)
    assert FILES < proof["jobs"]
    assert 0 == proof["jobs"] % FILES


FAULTS = {
    "altered": (
        (
            "value = result.value.replace('\"lines\": ', '\"lines\": 1')\n"
            "    return real(totals, Result(result.position, result.id, value))"
        ),
        {"lost": 0, "duplicated": 0},
    ),
    "skipped": (
        "return totals if result.id == '1/match.py' else real(totals, result)",
        {"lost": 1, "duplicated": 0},
    ),
    "twice": (
        (
            "totals = real(totals, result)\n"
            "    return real(totals, result) if result.id == '1/match.py' else totals"
        ),
        {"lost": 0, "duplicated": 1},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_makes_the_proof_fail(tree: Path, tmp_path: Path, fault: str) -> None:
    body, expected = FAULTS[fault]
    plant = (
        "from koboshi.cli.demo import _aggregate\nfrom koboshi.durable import Result\n"
        f"real = _aggregate.fold\n\ndef fold(totals, result):\n    {body}\n\n_aggregate.fold = fold\n"
    )
    script = tmp_path / "planted.py"
    script.write_text(PLANTED.format(plant=plant))
    run = demo("--input", tree, "--json", "--kill-every", "0", script=script)
    proof = proof_of(run)

    assert 1 == run.process.returncode
    assert False is proof["ok"]
    assert expected == {name: proof[name] for name in expected}
    assert proof["digest"] != proof["serial_digest"]
    assert "koboshi demo: the proof fails: pass 1: " in run.err


def test_a_task_that_ended_without_a_result_or_a_dead_letter_is_counted_as_lost(
    tree: Path, tmp_path: Path
) -> None:
    store = tmp_path / "demo.db"
    assert 0 == demo("--input", tree, "--json", "--store", store).process.returncode
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE kb_task SET state = 'cancelled' WHERE state = 'done' AND turn = 20")
    connection.close()
    run = demo("--json", "--store", store, "--resume")

    assert 1 == run.process.returncode
    assert 1 == proof_of(run)["lost"]


# The whole run has about 300 statements; the last ones are of its final reads.
@pytest.mark.parametrize("at", [1, 4, 9, 15, 22, 30, 45, 70, 110, 160])
def test_a_root_that_dies_at_any_statement_can_be_resumed(tree: Path, tmp_path: Path, at: int) -> None:
    store, script = tmp_path / "demo.db", tmp_path / "dying.py"
    script.write_text(PLANTED.format(plant=DIE_AT.format(at=at)))
    cut = demo("--input", tree, "--headless", "--store", store, "--kill-every", "0.2", script=script)
    resumed = demo("--json", "--store", store, "--resume", "--kill-every", "0.2")

    assert -signal.SIGKILL == cut.process.returncode, cut.err
    assert 0 == resumed.process.returncode, resumed.err
    assert FILES == proof_of(resumed)["jobs"]


@pytest.mark.parametrize("seed", range(3))
def test_a_root_that_is_killed_again_and_again_can_be_resumed(tree: Path, tmp_path: Path, seed: int) -> None:
    store, chance = tmp_path / "demo.db", random.Random(seed)
    for number in range(3):
        more = ["--resume"] if number else ["--input", str(tree)]
        run = DemoRun("--headless", "--seconds", "60", "--store", store, "--kill-every", "0.2", *more)
        run.read_line()
        # Any moment will do: the poll is on a pipe that is ready only at the demo's next line.
        assert run.process.stdout is not None
        select.select([run.process.stdout], [], [], chance.uniform(0.05, 0.9))
        run.process.kill()
        run.wait()
    resumed = demo("--json", "--store", store, "--resume")
    proof = proof_of(resumed)

    assert 0 == resumed.process.returncode, resumed.err
    assert isinstance(proof["jobs"], int)
    assert 0 == proof["jobs"] % FILES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_good_order_and_says_how_to_resume(
    tree: Path, tmp_path: Path, number: signal.Signals
) -> None:
    store = tmp_path / "demo.db"
    run = DemoRun("--input", tree, "--headless", "--seconds", "60", "--store", store)
    run.read_line()
    progress = run.read_line()
    run.process.send_signal(number)

    assert "files" in progress
    assert 130 == run.wait()
    hint = f"continue with: koboshi demo --store {store} --resume"
    assert f"koboshi demo: stopped in good order before the end; {hint}\n" == run.err
    # The store was closed: its write-ahead log is gone.
    assert ["demo.db"] == sorted(path.name for path in tmp_path.glob("demo.db*"))
    assert 0 == demo("--json", "--store", store, "--resume").process.returncode


def test_a_database_on_a_server_keeps_a_run_as_a_file_does(tree: Path, postgres_url: str) -> None:
    cut = DemoRun("--input", tree, "--headless", "--seconds", "60", "--store", postgres_url)
    cut.read_line()
    cut.read_line()
    cut.process.kill()
    cut.wait()
    resumed = demo("--json", "--store", postgres_url, "--resume")

    assert 0 == resumed.process.returncode, resumed.err
    assert 0 == proof_of(resumed)["lost"] == proof_of(resumed)["duplicated"]


def test_a_finished_run_is_proved_again_by_resume(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "demo.db"
    first = proof_of(demo("--input", tree, "--json", "--store", store))
    again = proof_of(demo("--json", "--store", store, "--resume"))

    assert (first["digest"], first["jobs"], True) == (again["digest"], again["jobs"], again["ok"])


def test_the_live_view_shows_workers_and_gives_the_cursor_back(tree: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "koboshi",
            "demo",
            "--input",
            str(tree),
            "--seconds",
            "3",
            "--kill-every",
            "0.3",
        ],
        stdout=follower,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "100", "LINES": "30"},
    )
    os.close(follower)
    seen = bytearray()
    try:
        while chunk := os.read(leader, 65536):
            seen += chunk
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(leader)
    _, err = process.communicate(timeout=30)
    text = seen.decode()

    assert (0, b"") == (process.returncode, err)
    assert re.search(r"w1 +pid \d+ +(busy|idle) +\d+ restarts +\d+ jobs", text)
    assert "was killed by SIGKILL" in text
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")
    assert text.rstrip().endswith("digest equals the serial run")


def test_a_reader_that_leaves_ends_the_demo_without_a_traceback(tree: Path) -> None:
    run = DemoRun("--input", tree, "--headless", "--seconds", "60")
    run.read_line()
    assert run.process.stdout is not None
    run.process.stdout.close()
    run.process.stdout = None

    assert 1 == run.wait()
    assert "Traceback" not in run.err


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["--workers", "0"], "Invalid value for '--workers': 0 is not in the range", 2),
        (["--kill-every", "often"], "Invalid value for '--kill-every'", 2),
        (["--kill-every", "nan"], "--kill-every takes a number of seconds, got nan", 2),
        (["--seconds", "-1"], "Invalid value for '--seconds'", 2),
        (["--fast"], "No such option '--fast'", 2),
        (["extra"], "Got unexpected extra argument (extra)", 2),
        (["--input", ""], "--input '' names no folder", 2),
        (["--input", "{tmp}/missing"], "missing' does not exist; give a folder with Python files", 2),
        (["--input", "{tmp}/text"], "text' is not a folder; give a folder with Python files", 2),
        (["--input", "{tmp}/empty"], "empty' has no Python files (*.py) in it or below it", 2),
        (["--resume"], "--resume needs --store STORE", 2),
        (["--resume", "--store", "{tmp}/missing.db"], "nothing to resume: there is no file", 2),
        (["--store", "{tmp}/text"], "text as a store: it is not an SQLite database", 2),
        (["--store", "{tmp}/no/demo.db"], "there is no folder", 2),
        (["--store", "{tmp}/empty"], "it is a directory", 2),
        (["--store", "{tmp}/used.db"], "holds the jobs of an earlier run; add --resume", 2),
        (["--resume", "--store", "{tmp}/text"], "it is not an SQLite database", 2),
        (["--store", "postgresql+asyncpg://nobody@127.0.0.1:1/none"], "cannot be reached", 1),
        (["--resume", "--store", "{tmp}/used.db", "--input", "{tmp}/empty"], "is of a run over", 2),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    tmp_path: Path, refusals: Path, arguments: list[str], text: str, status: int
) -> None:
    run = demo(*(each.format(tmp=refusals) for each in arguments), "--headless")

    assert status == run.process.returncode
    assert "" == run.out
    assert 1 == len(run.err.splitlines()), run.err
    assert run.err.startswith("koboshi demo: ")
    assert text in run.err
    assert not (refusals / "missing.db").exists()


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things that the demo cannot work with, and the store of a finished run."""
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "empty").mkdir()
    (folder / "input").mkdir()
    (folder / "input" / "one.py").write_text("x = 1\n")
    (folder / "text").write_text(
        "this is no database, and long enough not to be taken for an empty one\n" * 20
    )
    run = demo("--input", folder / "input", "--json", "--store", folder / "used.db", "--kill-every", "0")
    assert 0 == run.process.returncode, run.err
    return folder


def test_the_command_without_a_verb_says_which_there_are() -> None:
    run = subprocess.run([sys.executable, "-m", "koboshi"], capture_output=True, text=True, check=False)

    assert (2, "koboshi: a command is missing: db, demo; or --help\n") == (run.returncode, run.stderr)


def test_help_names_every_option_and_imports_no_runtime() -> None:
    run = subprocess.run(
        [sys.executable, "-c", HELP, "demo", "--help"], capture_output=True, text=True, check=True
    )

    for option in OPTIONS:
        assert f"--{option}" in run.stdout
    assert run.stdout.rstrip().endswith("False")
