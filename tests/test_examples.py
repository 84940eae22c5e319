"""Every file of `examples/` runs as its header says and prints what it promises."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

# The arguments that make it quick, and the whole of what it prints, as a pattern.
EXPECTED = {
    "durable_bank.py": (
        [],
        r"5 kills, \d+ payments acknowledged, 0 lost, the sum is 10000 of 10000\n",
    ),
    "durable_indexer.py": (
        [],
        r"killed [2-9] times; 400 of 400 blocks, the sum is 80200 of 80200\n",
    ),
    "game.py": (
        [],
        (
            r"eve heard: eve is here; joe is here; kim is here; ada has gone\n"
            r"in the hall: eve, joe, kim\n"
            r"after a restart: \{'ada': 2, 'eve': 1, 'joe': 1, 'kim': 0\}\n"
        ),
    ),
    "orders.py": (
        [],
        (
            r"o-1: 3 tea for 900 cents\n"
            r"o-2: 7 tea are left, not 9\n"
            r"o-3: the card was declined\n"
            r"7 tea left; the provider was called 2 times and charged 900 cents\n"
        ),
    ),
    "bank.py": (
        [],
        (
            r"500 transfers, \d\d+ crashes of accounts\n"
            r"some were made, some refused, some taken back\n"
            r"the sum is 10000 of 10000\n"
        ),
    ),
    "worker_pool.py": (
        [],
        (
            r"round robin: anna ben carla anna ben carla\n"
            r"least busy: \{'ben': 5, 'carla': 5\} beside anna\n"
            r"without ben: anna carla anna carla\n"
            r"with ben: anna ben carla\n"
            r"restarts: 3\n"
            r"given up: ben is broken\n"
            r"jobs after one_for_all: \[0, 0, 0\]\n"
        ),
    ),
    "pool.py": (
        [],
        (
            r"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\n"
            r"10000 digests in order: True\n"
            r"2 workers replaced, \d+ jobs started again\n"
            r"\d+ bytes\n"
            r"crashed alone: ValueError\('no image'\)\n"
            r"True\n"
        ),
    ),
    "image_farm.py": (
        ["20"],
        (
            r"image 13: its worker was killed by SIGKILL; the others go on\n"
            r"19 thumbnails of 20 images; image \d+ is the brightest\n"
        ),
    ),
    "chat.py": (
        [],
        (
            r"Ada read:\n"
            r"  \* Bob comes in\n  Ada: hello\n  Ada: anybody there\?\n  Bob: me\n  \* Bob has left\n"
            r"Cy read:\n"
            r"  Ada: anybody there\?\n  Bob: me\n  \* Bob has left\n"
        ),
    ),
    "indexer.py": (
        [],
        (
            r"restored: \[\]\nfrom socket\nfrom http\n"
            r"restored: \[\('clay', 2\), \('paper', 2\), \('tea', 2\)\]\nfrom socket\nfrom http\n"
        ),
    ),
    "registration.py": (
        [],
        (
            r"\[False, True\]\n\[False, False, False\]\n"
            r"Registration does not take 'confirm' in state REFUSED\n"
            r"ada confirmed after 1 mails and 2 tries\n"
            r"bob expired after \d mails and 0 tries\n"
            r"eve refused after 1 mails and 3 tries\n"
        ),
    ),
    "hashit.py": (
        [],
        (
            r"a hashing process ended with Killed\(cause=None\)\n" * 2
            + r"the same digest after the fall: True\n"
            + r"7a5eb5b1940680691815ea416c1e6156d773106c94ef6c9da5816e8e6718086c\n" * 2
            + r"restarts: \[\('md5', 1\), \('sha256', 1\)\]\n"
        ),
    ),
    "command.py": ([], r"hello\nhello True\n"),
    "restored_rooms.py": (
        [],
        (
            r"opened: cell with 1 seats, hall with 200 seats\n"
            r"after a crash of their supervisor: cell with 1 seats, hall with 200 seats\n"
            r"after a restart of the program: cell with 1 seats, hall with 200 seats\n"
        ),
    ),
    "crawler.py": (["60"], r"60 pages, 120180 words; the most frequent: \w+\n"),
    "inference.py": (
        ["400"],
        (
            r"400 of 400 answered, most of them (cat|dog|owl)\n"
            r"one worker was killed, and 3 have answered in all\n"
            r"9\d % went to the worker that knew their client\n"
            r"a bad request costs itself alone: expected 16 features, got 1\n"
        ),
    ),
}


def test_every_example_is_run() -> None:
    assert set(EXPECTED) == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_is_short_and_says_how_to_run_it(name: str) -> None:
    lines = EXAMPLES.joinpath(name).read_text().splitlines()

    assert len(lines) < 100
    assert any(f"Run it with:  .venv/bin/python examples/{name}" in line for line in lines[:8])


@pytest.mark.slow
def test_the_command_of_a_header_works_in_a_checkout_whose_environment_was_made() -> None:
    header = EXAMPLES.joinpath("bank.py").read_text().partition("Run it with:")[2]
    command = shlex.split(header.partition("\n")[0])
    if not (EXAMPLES.parent / command[0]).exists():
        pytest.skip("these tests run in another environment than .venv, which `./run test` makes")
    # As in a shell of a user: this suite's own settings do not help it find the library.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=EXAMPLES.parent, env=env, capture_output=True, text=True, timeout=50, check=False
    )

    assert re.fullmatch(EXPECTED["bank.py"][1], done.stdout), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    if name == "image_farm.py" and importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is not installed")
    arguments, output = EXPECTED[name]
    done = run(tmp_path, name, *arguments)

    assert re.fullmatch(output, done.stdout), done.stdout + done.stderr
    assert 0 == done.returncode


def test_the_image_farm_says_what_to_install_when_numpy_is_missing(tmp_path: Path) -> None:
    tmp_path.joinpath("numpy.py").write_text("raise ImportError('as if it were missing')\n")
    done = run(tmp_path, "image_farm.py", PYTHONPATH=str(tmp_path))

    assert 1 == done.returncode
    assert "image_farm: numpy is missing; install it with `pip install numpy`\n" == done.stderr


def run(folder: Path, name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
