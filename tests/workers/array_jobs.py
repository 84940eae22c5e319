"""Jobs and an actor that take and return large buffers."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import koboshi as kb

Array = npt.NDArray[Any]


def double(array: Array) -> Array:
    return array * 2


def total(array: Array) -> float:
    return float(array.sum())


def zero(array: Array) -> float:
    """The sum before all is set to zero, here."""
    before = float(array.sum())
    array[:] = 0
    return before


def zero_and_die_first(array: Array, mark: str) -> float:
    """The first time, spoil the argument and be killed."""
    before = zero(array)
    if not os.path.exists(mark):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return before


def ones(size: int) -> Array:
    return np.ones(size)


def kinds(*values: Any) -> list[tuple[str, int]]:
    return [(type(value).__name__, len(value)) for value in values]


def view_of(size: int) -> memoryview:
    return memoryview(bytearray(size))


_kept: list[Array] = []


def keep(array: Array) -> int:
    _kept.append(array)
    return len(_kept)


def segments_mapped() -> list[str]:
    """The inodes of the segments that are mapped here."""
    return mapped("self")


def mapped(pid: int | str) -> list[str]:
    with open(f"/proc/{pid}/maps") as maps:
        return [line.split()[4] for line in maps if "koboshi-buffers" in line]


def segments_open() -> int:
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            count += "koboshi-buffers" in os.readlink(f"/proc/self/fd/{fd}")
    return count


_hoard: list[int] = []


def hoard_descriptors() -> int:
    """Open as many as are allowed."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with contextlib.suppress(OSError):
        while True:
            _hoard.append(os.dup(0))
    return len(_hoard)


def let_go() -> None:
    while _hoard:
        os.close(_hoard.pop())


class Mixer(kb.Actor):
    """Adds arrays up."""

    def __init__(self, start: Array) -> None:
        self.sum = start

    @kb.message
    def add(self, array: Array) -> Array:
        self.sum = self.sum + array
        return self.sum
