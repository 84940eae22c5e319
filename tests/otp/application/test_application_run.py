"""A program of applications under `kb.run`, in real processes: signals and exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import koboshi as kb

pytestmark = pytest.mark.slow  # each test starts a process

SRC = str(Path(kb.__file__).parents[1])

PROGRAM = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import koboshi as kb
from koboshi import otp

class Part(kb.Actor):
    @kb.message
    def end(self, how):
        if how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        elif how == "crash":
            raise ValueError("broken")
        else:
            self.stop()

class Base(otp.Application):
    def start(self):
        return kb.child(Part).options(name=self.name)
    def prep_stop(self):
        print("prep_stop", self.name, flush=True)
    def stop(self):
        print("stop", self.name, flush=True)

class Store(Base):
    pass

class Web(Base):
    needs = ("store",)
    phases = ("open",)
    def start_phase(self, phase):
        kb.named(Part, "store").cast(Part.end, sys.argv[2])

kb.run(otp.Applications(Web(), Store()).main, log_level=None)
"""


@pytest.mark.parametrize(
    ("how", "status", "printed"),
    [
        ("signal", 0, ["prep_stop web", "stop web", "prep_stop store", "stop store"]),
        ("normal", 0, ["stop store", "prep_stop web", "stop web"]),
        ("crash", 70, ["stop store", "prep_stop web", "stop web"]),
    ],
)
def test_a_program_ends_in_order_with_the_status_of_its_end(
    how: str, status: int, printed: list[str]
) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, SRC, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert (status, printed) == (done.returncode, done.stdout.splitlines()), done.stderr
    assert ("the permanent application 'store' ended" in done.stderr) == (how == "crash")
