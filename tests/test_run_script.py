"""`./run` as far as it can be tried without a network: what it refuses, and when it installs again."""

from __future__ import annotations

import ast
import fcntl
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUN = Path(__file__).resolve().parent.parent / "run"


def load() -> ModuleType:
    """The script as a module: it has no suffix, so its loader must be named."""
    loader = importlib.machinery.SourceFileLoader("koboshi_run", str(RUN))
    specification = importlib.util.spec_from_loader("koboshi_run", loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return load()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that holds the script and a lock that nothing can satisfy."""
    shutil.copy(RUN, tmp_path / "run")
    tmp_path.joinpath("requirements.lock").write_text("koboshi-has-no-such-package==0.0.1\n")
    tmp_path.joinpath("pyproject.toml").write_text("[project]\nname = 'nothing'\nversion = '0'\n")
    return tmp_path


def run(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start the checkout's script with this interpreter and nothing of this environment but `variables`."""
    command = [sys.executable, "run", *arguments]
    return subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **variables}
    )


def test_an_unknown_verb_exits_2_with_one_line_that_names_the_verbs(checkout: Path) -> None:
    done = run(checkout, "dmeo")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "run: unknown verb 'dmeo'; expected one of demo, test, bench, soak, chaos, lint, tox, clean\n"
    )
    assert not checkout.joinpath(".venv").exists()


def test_a_missing_verb_exits_2_with_one_line(checkout: Path) -> None:
    done = run(checkout)

    assert done.returncode == 2
    assert done.stderr.startswith("run: a verb is missing; expected one of demo,")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["lint", "clean"])
def test_an_argument_to_a_verb_that_takes_none_exits_2(checkout: Path, verb: str) -> None:
    done = run(checkout, verb, "--fast")

    assert done.returncode == 2
    assert done.stderr == f"run: {verb} takes no arguments, got '--fast'\n"


def test_help_is_printed_without_installing_anything(checkout: Path) -> None:
    done = run(checkout, "--help")

    assert done.returncode == 0
    assert done.stdout.startswith("usage: ./run VERB")
    assert not checkout.joinpath(".venv").exists()


@pytest.mark.parametrize("older", [(3, 7, 0), (3, 9, 18), (3, 10, 13)])
def test_an_old_python_is_told_what_to_install_in_one_line(checkout: Path, older: tuple[int, ...]) -> None:
    # The check reads nothing but sys.version_info, so another value there is an older Python to it.
    pretend = "import sys, runpy; sys.version_info = {!r}; runpy.run_path('run', run_name='__main__')"
    command = [sys.executable, "-c", pretend.format(older)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)

    assert done.returncode == 1
    assert f"Python 3.11 or newer is needed, this is 3.{older[1]}" in done.stderr
    assert "install python3 and python3-venv" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_script_is_written_in_a_grammar_that_old_pythons_read_to_the_version_check() -> None:
    text = RUN.read_text()
    tree = ast.parse(text, feature_version=(3, 7))

    # Before 3.7 this import is a syntax error, whatever stands above it.
    assert "__future__" not in {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_a_python_without_ensurepip_is_told_to_install_venv(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(script.Refusal, match="apt-get install python3-venv"):
        script.refuse_without_venv(sys.executable)


def test_the_whole_suite_is_spread_over_the_processors_and_a_part_of_it_is_not(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(3)))
    whole, part = script.test_command(["-k", "restart"]), script.test_command(["-q", f"{__file__}::test_it"])

    assert ["-n", "3", "--dist", "loadfile", "-k", "restart"] == whole[6:]
    assert "-n" not in part


def test_the_stamp_changes_with_lock_project_python_and_place(script: ModuleType, tmp_path: Path) -> None:
    def stamp(lock: str = "a", project: str = "b", version: str = "3.11.7", place: str = "here") -> str:
        root = tmp_path / place
        root.mkdir(exist_ok=True)
        root.joinpath("requirements.lock").write_text(lock)
        root.joinpath("pyproject.toml").write_text(project)
        return str(script.stamp_of(root, version))

    others = [stamp(lock="x"), stamp(project="x"), stamp(version="3.12.1"), stamp(place="there")]

    assert stamp() == stamp()
    assert len({stamp(), *others}) == 5
    assert stamp(lock="ab", project="") != stamp(lock="a", project="b")


def test_an_environment_is_current_only_with_its_stamp_and_its_python(
    script: ModuleType, tmp_path: Path
) -> None:
    assert not script.is_current(tmp_path, "s")

    tmp_path.joinpath("koboshi-stamp").write_text("s")
    assert not script.is_current(tmp_path, "s")

    tmp_path.joinpath("bin").mkdir()
    tmp_path.joinpath("bin/python").touch()
    assert script.is_current(tmp_path, "s")
    assert not script.is_current(tmp_path, "t")


def test_the_lock_is_held_inside_and_free_after(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "state" / "venv.lock"

    with script.exclusive(path), open(path) as second, pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)

    with open(path) as second:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_file_that_clean_removed_while_we_waited_is_not_trusted(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "venv.lock"
    real = fcntl.flock
    calls: list[int] = []

    def flock_after_clean(handle: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            path.unlink()
        real(handle, operation)

    monkeypatch.setattr(script.fcntl, "flock", flock_after_clean)

    with script.exclusive(path):
        assert path.exists()
    assert len(calls) == 2


@pytest.mark.slow
def test_a_failed_install_is_one_sentence_that_names_the_log(checkout: Path) -> None:
    # A closed port of this machine stands for an index that cannot be reached.
    nowhere = dict.fromkeys(("PIP_INDEX_URL", "UV_INDEX_URL"), "http://127.0.0.1:9/")

    done = run(checkout, "demo", PIP_CONFIG_FILE="/dev/null", PIP_NO_INPUT="1", **nowhere)
    first, second = done.stderr.splitlines()
    log = checkout / ".run" / "venv.log"

    assert done.returncode == 1
    assert first == "run: installing the locked packages into .venv, once"
    assert second == (
        f"run: could not install the locked packages (is a package index reachable?); see {log}"
    )
    assert "koboshi-has-no-such-package" in log.read_text()
    assert not checkout.joinpath(".venv/koboshi-stamp").exists()


def test_clean_removes_what_can_be_made_again_and_nothing_else(checkout: Path) -> None:
    made = [".venv/bin", ".run/mypy", "src/a/__pycache__", ".hypothesis", "build"]
    kept = ["src/a/b.py", "docs/build/page.md", "requirements.lock", "run"]
    for folder in made:
        checkout.joinpath(folder).mkdir(parents=True)
    for name in kept:
        checkout.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        checkout.joinpath(name).touch()

    done = run(checkout, "clean")

    assert (0, "") == (done.returncode, done.stderr)
    assert [] == [folder for folder in made if checkout.joinpath(folder).exists()]
    assert [] == [name for name in kept if not checkout.joinpath(name).exists()]
    assert 0 == run(checkout, "clean").returncode
