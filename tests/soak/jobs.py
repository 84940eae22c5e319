"""What the workers of the soak do: say in shared memory that they run a job, be busy, and answer."""

from __future__ import annotations

import mmap
import time

import koboshi as kb

_runs: dict[str, mmap.mmap] = {}


def runs_of(path: str) -> mmap.mmap:
    """The file that counts how often each job has begun, one byte each."""
    if path not in _runs:
        with open(path, "r+b") as file:
            _runs[path] = mmap.mmap(file.fileno(), 0)
    return _runs[path]


def work(path: str, number: int, microseconds: int) -> int:
    """Count job `number` as begun and hold a core for a while; returns its square."""
    runs_of(path)[number] += 1
    end = time.perf_counter_ns() + 1000 * microseconds
    while time.perf_counter_ns() < end:
        pass
    return number * number


class Laborer(kb.Actor):
    """The same as an actor."""

    def __init__(self, path: str) -> None:
        self.path = path

    @kb.message
    def work(self, number: int, microseconds: int) -> int:
        return work(self.path, number, microseconds)
