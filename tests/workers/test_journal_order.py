"""What the root may read from the journal between any two stores of the worker."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from koboshi.workers.process._journal import ROOM, Journal
from koboshi.workers.process._limits import result_frame_limit
from koboshi.workers.process._worker import _Worker

LIMIT = result_frame_limit(0)
TOO_BIG = ROOM + 1


class Watched:
    """The worker's words; after each store it notes what a reader that waits for job `first` would get."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.first = 0
        self.read: list[list[bytes]] = []

    def __setitem__(self, index: int, value: int) -> None:
        self.journal.words[index] = value
        self.read.append(self.journal.read(self.first, 1 << 40))


def in_band(size: int) -> str:
    return "x" * size


@pytest.mark.parametrize("big", [in_band, bytes], ids=["in band", "out of band"])
def test_a_result_too_big_for_the_journal_is_never_mistaken_for_an_older_one(big: Any) -> None:
    page = Journal.create()
    journal = Journal(page)
    os.close(page)
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * ROOM)
    with ours, theirs:
        words: Any = Watched(journal)
        worker = _Worker(ours, journal, LIMIT)
        worker.journal = Holder(words, journal.data)  # type: ignore[assignment]
        worker.run_jobs(len, [("older",)])
        worker.flush()
        words.first, words.read = worker.count, []
        worker.run_jobs(big, [(TOO_BIG,)])

        assert [] == [blobs for blobs in words.read if blobs]
    journal.close()


class Holder:
    def __init__(self, words: Watched, data: memoryview) -> None:
        self.words = words
        self.data = data
