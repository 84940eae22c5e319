"""Which jobs a worker with several in hand has begun, in memory that the root can read after its death.

The page is that of the journal, and each place for a job in hand has two of its words:

    MARK   0, or (number of the job + 1) * 2, plus 1 once it is known to be a coroutine
    SINCE  when it began, in nanoseconds of the monotonic clock, which all processes share

SINCE is stored first and MARK by one aligned 8-byte store before the first line of the job. It is cleared
once the kernel has all of the outcome. So a job with a mark and no outcome at the worker's death had begun;
one without either was never touched.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MOST_IN_HAND", "Begun", "clear", "mark", "read_begun"]

MOST_IN_HAND = 1024
"""Jobs that one worker may have in hand at once, at most; the page has room for them."""


@dataclass(frozen=True, slots=True)
class Begun:
    """One job in hand: when it began, in seconds of the monotonic clock, and whether it can be cancelled."""

    since: float
    cancellable: bool


def mark(words: memoryview[int], place: int, number: int, since_ns: int) -> None:
    """Say that a job begins."""
    words[2 * place + 1] = since_ns
    words[2 * place] = (number + 1) * 2


def mark_cancellable(words: memoryview[int], place: int) -> None:
    """Say that the job at a place has turned out to be a coroutine."""
    words[2 * place] |= 1


def clear(words: memoryview[int], place: int) -> None:
    """Say that the outcome of the job at a place is on its way."""
    words[2 * place] = 0


def read_begun(words: memoryview[int], places: int) -> dict[int, Begun]:
    """The jobs that have begun and are not done, by number; whoever knows better sorts out nonsense."""
    found: dict[int, Begun] = {}
    for place in range(places):
        word = words[2 * place]
        if word:
            found[(word >> 1) - 1] = Begun(words[2 * place + 1] / 1e9, bool(word & 1))
    return found
