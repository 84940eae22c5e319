"""Jobs of the tests of `kb.Executor`: those that break where an argument or a result travels."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from pickle import PicklingError, UnpicklingError
from typing import Any

STATE = "not set up"


def set_up(value: str) -> None:
    global STATE
    STATE = value


def state() -> str:
    return STATE


def refuse_to_set_up() -> None:
    raise ValueError("no set-up today")


def fail(how: str) -> None:
    """Fail in the way that is named."""
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(30)
    if how == "exit":
        raise SystemExit(1)
    raise PicklingError(f"failed: {how}")


def fail_on_arrival(how: str) -> None:
    if how == "error":
        raise UnpicklingError("failed on arrival")
    fail(how)


class AtPickle:
    """Fails where it is packed."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        fail(self.how)


class AtUnpickle:
    """Fails where it is unpacked."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return fail_on_arrival, (self.how,)


def give(kind: type, how: str) -> object:
    return kind(how)


def crash_with(_: object) -> None:
    fail("crash")


def leave_mark(path: str) -> None:
    Path(path).touch()


def wait_for(path: str) -> str:
    """Read a named pipe to its end: returns when somebody has opened and closed it for writing."""
    return Path(path).read_text()


def compute(seconds: float) -> None:
    """Be busy for that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class TellsOfItsEnd:
    """Writes into a named pipe, in a worker, when it is collected there."""

    def __init__(self, path: str, owner: int | None = None) -> None:
        self.path = path
        self.owner = owner or os.getpid()

    def __reduce__(self) -> Any:
        return TellsOfItsEnd, (self.path, self.owner)

    def __del__(self) -> None:
        if os.getpid() != self.owner:
            Path(self.path).write_text("gone")
