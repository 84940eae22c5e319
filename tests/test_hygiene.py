"""The suite's own promise: a test that leaves something behind fails, and says what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

PROCESS = """
import subprocess, sys
kept = []
def test_leaves_a_process():
    kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
def test_ends_it():
    kept[0].communicate()
"""

ZOMBIE = """
import os
pids = []
def test_leaves_a_zombie():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    pids.append(pid)
def test_waits_for_it():
    os.waitpid(pids[0], 0)
"""

THREAD = """
import threading
release = threading.Event()
def test_leaves_a_thread():
    threading.Thread(target=release.wait, name="straggler").start()
def test_ends_it():
    release.set()
"""

DESCRIPTOR = """
import os
kept = []
def test_leaves_a_descriptor():
    kept.extend(os.pipe())
def test_closes_it():
    for descriptor in kept:
        os.close(descriptor)
"""

ORPHAN = """
import os, subprocess, sys
def test_leaves_an_orphan():
    # The middle process ends at once, so its child is nobody's that the fixture could see.
    nap = "import sys; sys.stdin.read()"
    middle = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).pid)"
    reader = os.environ["KEPT_OPEN"]
    with open(reader) as held:
        subprocess.run([sys.executable, "-c", middle, nap], stdin=held, stdout=subprocess.DEVNULL, check=True)
"""

CLEAN = """
import asyncio, os, subprocess, sys, threading
def test_cleans_up():
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    for descriptor in os.pipe():
        os.close(descriptor)
async def test_async_tests_run_on_a_loop():
    assert await asyncio.to_thread(int) == 0
"""


def run_suite(folder: Path, text: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run one test file under a copy of this suite's conftest; its exit status and what it printed."""
    folder.joinpath("conftest.py").write_text(CONFTEST.read_text())
    folder.joinpath("test_inner.py").write_text(text)
    folder.joinpath("pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)]
    # The conftest takes fixtures from this suite's own packages.
    environment = {**os.environ, "PYTHONPATH": str(CONFTEST.parent.parent), **variables}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "named"),
    [
        (PROCESS, "input()"),
        (ZOMBIE, "a zombie"),
        (THREAD, "thread straggler"),
        (DESCRIPTOR, ": pipe:["),
    ],
    ids=["process", "zombie", "thread", "descriptor"],
)
def test_a_leaking_test_fails_and_names_the_leak(tmp_path: Path, text: str, named: str) -> None:
    status, output = run_suite(tmp_path, text)

    assert status == 1
    assert "the test left behind" in output
    assert named in output
    assert "2 passed, 1 error" in output


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tests_that_clean_up_pass_on_either_loop(tmp_path: Path, loop: str) -> None:
    status, output = run_suite(tmp_path, CLEAN, f"--loop={loop}")

    assert status == 0, output
    assert "2 passed" in output


@pytest.mark.slow
def test_a_process_that_outlived_its_parent_fails_the_run(tmp_path: Path) -> None:
    fifo = tmp_path / "open"
    os.mkfifo(fifo)
    # The orphan reads this pipe, so it lives exactly until we close our end.
    keeper = os.open(fifo, os.O_RDWR)
    try:
        status, output = run_suite(tmp_path, ORPHAN, KEPT_OPEN=str(fifo))
    finally:
        os.close(keeper)

    assert status == 1, output
    assert "left by the tests: process" in output
    assert "1 passed" in output
