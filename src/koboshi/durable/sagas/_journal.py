"""What a saga's journal holds, and the reading of it while `run` is repeated. No clock, no input or output.

The rules:

- Each operation of `run` has a label that is its own. `Began` is recorded before anything of it is done, and `Ended`
  before anything that depends on it is done. `Value` is both at once.
- `run` is repeated after a restart. What is read is given out in the order of the journal: an `Ended` only after
  all that was begun before it was begun again. So what runs side by side meets in the same order as before.
- Between two `Ended` the order of what is begun is free, because tasks that run side by side share it. All else is
  a change of the code, and refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = [
    "Again",
    "Began",
    "Cancelled",
    "Ended",
    "Entry",
    "Failed",
    "Failure",
    "Interrupted",
    "Mismatch",
    "Reading",
    "Signalled",
    "Started",
    "Tried",
    "Trying",
    "Undone",
    "Value",
    "decode",
    "encode",
    "open_labels",
]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error, as it is stored. `kind` says what it becomes again."""

    kind: str
    type: str
    detail: str
    report: str = ""
    args: bytes | None = None


class Started(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """The first entry: what `run` was given."""

    input: bytes


class Began(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """An operation is begun. `until`: when a wait is over, by the database's clock."""

    label: str
    undo: bool = False
    until: float | None = None


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """An operation is over. `signal`: which one it has consumed, counted from 1."""

    label: str
    value: bytes = b""
    failure: Failure | None = None
    signal: int = 0


class Tried(msgspec.Struct, frozen=True, array_like=True, tag="try"):
    """An attempt has failed; the next one is not before that time."""

    label: str
    attempt: int
    not_before: float
    failure: Failure


class Trying(msgspec.Struct, frozen=True, array_like=True, tag="trying"):
    """An attempt begins which is not a step's first: for that one it is `Began` that says so."""

    label: str


class Interrupted(msgspec.Struct, frozen=True, array_like=True, tag="cut"):
    """An attempt has ended with its program, as so many of it; the next one is not before that time."""

    label: str
    times: int
    not_before: float


class Value(msgspec.Struct, frozen=True, array_like=True, tag="value"):
    """Something that would be another at each repetition: the time, a random number."""

    label: str
    value: bytes


class Signalled(msgspec.Struct, frozen=True, array_like=True, tag="signal"):
    """An event was sent to the saga."""

    name: str
    value: bytes


class Cancelled(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """From here on nothing new is begun."""


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="fail"):
    """`run` has raised: from here on it is undone."""

    failure: Failure
    cancelled: bool = False


class Undone(msgspec.Struct, frozen=True, array_like=True, tag="undone"):
    """A step is undone."""

    label: str


class Again(msgspec.Struct, frozen=True, array_like=True, tag="again"):
    """Compensations that had failed for good are tried again."""


Entry = (
    Started
    | Began
    | Ended
    | Tried
    | Trying
    | Interrupted
    | Value
    | Signalled
    | Cancelled
    | Failed
    | Undone
    | Again
)

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Entry)


def decode(blob: bytes) -> Entry:
    """An entry from its bytes."""
    entry: Entry = _decoder.decode(blob)
    return entry


def open_labels(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The labels of what is begun and not ended."""
    found: dict[str, None] = {}
    for entry in entries:
        if isinstance(entry, Began):
            found[entry.label] = None
        elif isinstance(entry, Ended):
            found.pop(entry.label, None)
    return tuple(found)


class Mismatch(Exception):
    """The code does something else than the journal says."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected = expected
        self.found = found


class Reading:
    """A journal that is read while `run` is repeated."""

    __slots__ = ("_at", "_begun", "_entries")

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._at = 0
        # Labels that the code has begun again.
        self._begun: set[str] = set()

    @property
    def over(self) -> bool:
        """Whether all of it is read: what comes now happens for the first time."""
        return self._at >= len(self._entries)

    def add(self, entry: Entry) -> None:
        """Something that has come in while it is being read."""
        self._entries.append(entry)

    def begin(self, label: str) -> Began | Value | None:
        """The code begins an operation: what the journal has on it; None if it is new.

        Raises:
            Mismatch: the journal has something else here.
        """
        first: Began | Value | None = None
        for entry in self._entries[self._at :]:
            if isinstance(entry, Ended | Failed):
                break
            if isinstance(entry, Began | Value) and entry.label not in self._begun:
                if entry.label == label:
                    self._begun.add(label)
                    return entry
                first = first or entry
        if first is not None:
            raise Mismatch(first.label, label)
        return None

    def next(self) -> Entry | None:
        """The next entry that may be given out now; None: the code has to begin something first, or it is over."""
        while self._at < len(self._entries):
            entry = self._entries[self._at]
            if isinstance(entry, Began | Value):
                if entry.label not in self._begun:
                    return None
                self._at += 1
                continue
            self._at += 1
            return entry
        return None

    @property
    def expected(self) -> str:
        """What the code has to begin next, for errors."""
        entry = self._entries[self._at] if not self.over else None
        return repr(getattr(entry, "label", "nothing"))
