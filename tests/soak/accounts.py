"""Every job exactly once: what was given out, how often each ran, and what its caller got."""

from __future__ import annotations

import mmap
from collections import Counter
from pathlib import Path

__all__ = ["Accounts"]

CAPACITY = 1 << 22
"""Jobs that a run may give out; all memory for them is taken at the start, so that it does not grow."""

VALUE, CRASHED, RETRYING = 1, 2, 4
RETRIES = 3


class Accounts:
    """One byte per job for its outcome, and one, written by the workers, for how often it began.

    Args:
        path: where the second is; made here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(CAPACITY))
        with open(path, "r+b") as file:
            self.runs = mmap.mmap(file.fileno(), 0)
        self._outcomes = bytearray(b"\0" * CAPACITY)
        self.given = 0
        self.wrong: list[str] = []

    def new(self) -> int:
        """The number of one more job."""
        number, self.given = self.given, self.given + 1
        return number

    @property
    def full(self) -> bool:
        """Whether there is no number left."""
        return self.given >= CAPACITY

    def settle(self, number: int, outcome: int, *, retrying: bool) -> None:
        """A job has an outcome."""
        if self._outcomes[number]:
            self.wrong.append(f"job {number} has two outcomes")
        self._outcomes[number] = outcome | (RETRYING if retrying else 0)

    def count(self, outcome: int) -> int:
        """Jobs with that outcome."""
        kinds = Counter(self._outcomes[: self.given])
        return kinds[outcome] + kinds[outcome | RETRYING]

    def mistakes(self) -> list[str]:
        """What is not as it must be, one line each."""
        found = list(self.wrong)
        pairs = Counter(zip(self._outcomes[: self.given], self.runs[: self.given], strict=True))
        for (outcome, runs), jobs in sorted(pairs.items()):
            most = 1 + RETRIES if outcome & RETRYING else 1
            least = 1 if outcome & VALUE else 0
            if outcome & ~RETRYING == 0:
                found.append(f"{jobs} jobs have no outcome")
            elif not least <= runs <= most:
                told = "a value" if outcome & VALUE else "WorkerCrashed"
                found.append(f"{jobs} jobs with {told} and {most - 1} retries ran {runs} times")
        return found

    def close(self) -> None:
        """Give the memory back."""
        self.runs.close()
