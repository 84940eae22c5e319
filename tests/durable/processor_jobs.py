"""What worker processes run in the tests of the task processor; they import it by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def double(payload: bytes) -> bytes:
    """The number twice; every hundredth job is bad."""
    number = int(payload)
    if number % 100 == 99:
        raise ValueError(f"bad number {number}")
    return str(2 * number).encode()


def kill_worker_on_zero(payload: bytes) -> bytes:
    """Job 0 takes its worker down each time."""
    if payload == b"0":
        os.kill(os.getpid(), signal.SIGKILL)
    return payload


def kill_worker_once(payload: bytes) -> bytes:
    """The payload is a path: without a file there, makes it and takes the worker down."""
    path = Path(os.fsdecode(payload))
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return b"survived"


def return_text(payload: bytes) -> bytes:
    """Returns the wrong type."""
    return payload.decode()  # type: ignore[return-value]
