"""Programs of tests, run as users run theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

HEAD = """
import os, signal, sys, threading, time
import koboshi as kb
from tests.workers import executor_jobs, hostile_jobs, worker_jobs
"""


def write(folder: Path, text: str) -> list[str]:
    """A program that sees koboshi and the jobs of the tests; the command that runs it."""
    path = folder / "program.py"
    path.write_text(HEAD + text)
    return [sys.executable, "-X", "dev", "-W", "error", str(path)]


def environment() -> dict[str, str]:
    """That of every program here."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PYTHONUNBUFFERED": "1"}


def run(folder: Path, text: str, *prefix: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; `prefix` is a command in front of it."""
    command = [*prefix, *write(folder, text)]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=40, check=False, **options
    )


@contextmanager
def running(folder: Path, text: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a session and process group of its own; killed at the end if it is still there."""
    with subprocess.Popen(
        write(folder, text),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def descendants(pid: int) -> list[int]:
    """All processes below one, the deepest last; what ends while it looks has none."""
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return found
    for task in tasks:
        try:
            children = (task / "children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in map(int, children.split()):
            found += [child, *descendants(child)]
    return found
