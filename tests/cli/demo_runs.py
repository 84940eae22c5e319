"""Runs the demo as a process of its own and sees to it that nothing of it is left."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import uuid
from pathlib import Path

MARK = "KOBOSHI_DEMO_TEST"

# Runs the command after `plant` has changed something in the process: a fault, or the moment of its death.
PLANTED = """
import os, signal, sys
{plant}
if __name__ == "__main__":
    from koboshi.cli import main
    main()
"""

# Dies with SIGKILL when the connections of the store come to statement number `at` of the run proper.
DIE_AT = """
import sqlite3

left, begun = {at}, False
real = sqlite3.connect

def count(statement):
    global left
    left -= begun
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def connect(*args, **kwargs):
    connection = real(*args, **kwargs)
    connection.set_trace_callback(count)
    return connection

sqlite3.connect = connect

from koboshi.cli.demo import _main

class Run(_main.Run):
    def __init__(self, *arguments):
        global begun
        begun = True
        super().__init__(*arguments)

_main.Run = Run
"""


class DemoRun:
    """One started demo."""

    def __init__(self, *arguments: str | Path, script: Path | None = None) -> None:
        self._mark = uuid.uuid4().hex
        program = ["-m", "koboshi"] if script is None else [str(script)]
        self.process = subprocess.Popen(
            [sys.executable, *program, "demo", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, MARK: self._mark},
        )
        self.out = self.err = ""

    def read_line(self) -> str:
        """The next line of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def wait(self, timeout: float = 50.0) -> int:
        """Its exit status, once it and all its processes are gone."""
        self.out, self.err = self.process.communicate(timeout=timeout)
        self._wait_gone()
        return self.process.returncode

    def _wait_gone(self) -> None:
        """Descendants of a root that was killed have 5 seconds; then they are named."""
        for pid in self._descendants():
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                assert poller.poll(5000), f"process {pid} outlived the demo"
            finally:
                os.close(descriptor)

    def _descendants(self) -> list[int]:
        mark = f"{MARK}={self._mark}".encode()
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in entry.joinpath("environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue  # gone meanwhile, or another user's
        return found


def demo(*arguments: str | Path, script: Path | None = None) -> DemoRun:
    """A finished run."""
    run = DemoRun(*arguments, script=script)
    run.wait()
    return run
