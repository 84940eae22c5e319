"""What a worker wrote to its standard error before it died: kept where the root can read it.

A line that is only in a pipe, or in a terminal, does not help whoever looks at a job that was put aside.
So what Python code writes to `sys.stderr`, logging included, also goes into a ring in the worker's journal,
which outlives it. What C code writes to descriptor 2 does not pass by here.
"""

from __future__ import annotations

import io
import threading
from typing import Any

from ._journal import TAIL, TAILED, Journal

__all__ = ["Tee", "last_lines"]

LINES = 20
LONGEST = 500


class Tee(io.TextIOBase):
    """A stand-in for `sys.stderr` that also writes into the journal's ring."""

    def __init__(self, stream: Any, journal: Journal) -> None:
        self._stream = stream
        self._journal = journal
        # Threads of a job write too.
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        self._keep(text.encode(errors="replace")[-TAIL:])
        return len(text) if self._stream is None else int(self._stream.write(text))

    def _keep(self, data: bytes) -> None:
        with self._lock:
            if self._journal.closed:
                return  # in a process that a job has forked
            words, ring = self._journal.words, self._journal.tail
            at = words[TAILED] % TAIL
            first = min(len(data), TAIL - at)
            ring[at : at + first] = data[:first]
            ring[: len(data) - first] = data[first:]
            words[TAILED] += len(data)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("there is no standard error")
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return self._stream is not None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def last_lines(journal: Journal) -> tuple[str, ...]:
    """The last lines in a journal's ring, the oldest first, cut to a bearable length."""
    total = journal.words[TAILED]
    at = total % TAIL
    data = bytes(journal.tail[:at]) if total <= TAIL else bytes(journal.tail[at:]) + bytes(journal.tail[:at])
    lines = data.decode(errors="replace").splitlines()
    if total > TAIL:
        del lines[:1]  # it has lost its beginning
    return tuple(line[:LONGEST] for line in lines[-LINES:])
