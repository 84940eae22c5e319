"""What a client asked for and heard, in order, and what was found at the end: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Entry", "History", "Kept", "Operation"]

What = Literal["open", "out", "in", "note", "rang"]


@dataclass(frozen=True)
class Operation:
    """What a client asks of one account.

    `what` is the entry that it makes there: "open", "out" (a transfer to `other`), "note" (a reminder to follow).
    """

    id: str
    account: str
    what: What
    other: str = ""
    cents: int = 0
    #: It was recorded to be handled some time, so it says nothing about the order.
    posted: bool = False


@dataclass(frozen=True)
class Entry:
    """One turn of an account, as the account has written it down."""

    revision: int
    what: What
    id: str
    other: str = ""
    cents: int = 0


@dataclass(frozen=True)
class Kept:
    """One account at the end: its balance and revision, and all its turns."""

    cents: int
    revision: int
    entries: tuple[Entry, ...]


@dataclass
class History:
    """One run of a client. Moments are numbers that rise."""

    asked: dict[str, tuple[int, Operation]] = field(default_factory=dict)
    #: By id: when the reply came, and the revision that it told (0: none).
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Those of which the client was told that they were not and will not be done.
    refused: set[str] = field(default_factory=set)
    #: Those that should have got a reply by now.
    stuck: set[str] = field(default_factory=set)
    #: An older image came back: what was acknowledged between the two moments may be gone.
    restored: list[tuple[int, int]] = field(default_factory=list)
    _now: int = 0

    def moment(self) -> int:
        """The next moment."""
        self._now += 1
        return self._now

    def ask(self, operation: Operation) -> None:
        """The client has sent it."""
        self.asked[operation.id] = self.moment(), operation

    def acknowledge(self, id: str, revision: int = 0) -> None:
        """The client has got its reply."""
        self.acknowledged.setdefault(id, (self.moment(), revision))

    def restore(self, since: int) -> None:
        """An image of the moment `since` was put back now."""
        self.restored.append((since, self.moment()))

    def is_excused(self, id: str) -> bool:
        """Whether its reply may have been forgotten with an image that was put back."""
        at = self.acknowledged[id][0]
        return any(since <= at < until for since, until in self.restored)
