"""The shared page that makes a crash cost exactly one job.

A worker sends results in batches, so at any moment some are finished but not sent.
If they died with the worker, those jobs would have to be run again or be failed
though nothing was wrong with them. So the worker also writes each result into
memory that the root can read after its death:

    word 0  STARTED    jobs begun since the worker started
    word 1  COMMITTED  jobs whose result is in the journal or was sent
    word 2  BASE       number of the first job that the journal holds
    word 3  TAILED     bytes that the worker wrote to its standard error
    words 4...         end offset of each journalled result
    then               the pickled results, one after the other
    the last bytes     a ring with the end of what it wrote, see `_last_lines`

Each step is published by one aligned 8-byte store, and a kill falls between two of
them. So at a death: jobs below COMMITTED have a result, job COMMITTED was running if
STARTED is above it, and every later job was never touched.

The root may also read it from a living worker, to get at results that wait behind a
slow job. BASE is then read before and after: a change means that the worker has just
sent everything itself.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

__all__ = [
    "BASE",
    "COMMITTED",
    "ENDS",
    "ROOM",
    "SLOTS",
    "STARTED",
    "TAIL",
    "TAILED",
    "Journal",
    "JournalState",
]

STARTED, COMMITTED, BASE, TAILED, ENDS = 0, 1, 2, 3, 4
SLOTS = 4092
"""Results that fit by count."""
_DATA = (ENDS + SLOTS) * 8
TAIL = 8192
"""Bytes of standard error that are kept."""
SIZE = 256 * 1024 + TAIL
ROOM = SIZE - TAIL - _DATA
"""Bytes of results that fit."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """What the page said at one moment."""

    started: int
    committed: int
    base: int


class Journal:
    """One worker's page, mapped in the root and in the worker."""

    __slots__ = ("_map", "data", "tail", "words")

    def __init__(self, fd: int) -> None:
        """Map `fd`, made by `create`. The descriptor may be closed afterwards."""
        self._map = mmap.mmap(fd, SIZE)
        view = memoryview(self._map)
        self.words = view[:_DATA].cast("Q")
        self.data = view[_DATA:-TAIL]
        self.tail = view[-TAIL:]
        view.release()

    @staticmethod
    def create() -> int:
        """Return the descriptor of a new zeroed page; the caller closes it."""
        fd = os.memfd_create("koboshi-journal", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, SIZE)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def state(self) -> JournalState:
        """Read the three counters."""
        words = self.words
        return JournalState(words[STARTED], words[COMMITTED], words[BASE])

    def read(self, first: int, sent: int) -> list[bytes]:
        """Return the results of jobs `first` ... COMMITTED-1 that the journal still holds.

        Empty when the worker sent them itself in the meantime.

        Raises:
            ValueError: no worker that was sent `sent` jobs wrote this; a job's wild pointer may have, before
                the crash that it led to.
        """
        words = self.words
        if not (first <= words[STARTED] <= sent and words[COMMITTED] <= sent):
            raise ValueError(f"{self.state()} after {first} of {sent} jobs")
        base, committed = words[BASE], words[COMMITTED]
        if not base <= first < committed <= base + SLOTS:
            return []
        start = words[ENDS + first - base - 1] if first > base else 0
        blobs: list[bytes] = []
        for index in range(first - base, committed - base):
            end = words[ENDS + index]
            if not start <= end <= ROOM:
                raise ValueError(f"a result that ends at {end} of {ROOM} bytes")
            blobs.append(bytes(self.data[start:end]))
            start = end
        return blobs if words[BASE] == base else []

    @property
    def closed(self) -> bool:
        """Whether it is unmapped here."""
        return self._map.closed

    def close(self) -> None:
        """Unmap; harmless when repeated."""
        self.words.release()
        self.data.release()
        self.tail.release()
        self._map.close()
