"""`Ring`: the last things that happened, and no more than there is room for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from .._supervision._options import whole

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RingStatistics:
    """A ring at one moment.

    Attributes:
        size: items in it.
        maxlen: items that it has room for.
        dropped: items that had to go for newer ones since it was made.
    """

    size: int
    maxlen: int
    dropped: int


class Ring(Generic[T]):
    """A history of bounded length: the newest item takes the place of the oldest.

    For actors that accumulate: a list that only grows is a leak with a delay. Iteration is from the oldest
    to the newest. It pickles with its items and its count.

    Args:
        maxlen: how many items there is room for.
        items: what it begins with.

    Raises:
        UsageError: maxlen is no whole number >= 1.
    """

    __slots__ = ("_dropped", "_items")

    def __init__(self, maxlen: int, items: Iterable[T] = ()) -> None:
        self._items: deque[T] = deque(maxlen=whole("maxlen", maxlen, 1))
        self._dropped = 0
        self.extend(items)

    @property
    def maxlen(self) -> int:
        """How many items there is room for."""
        assert self._items.maxlen is not None
        return self._items.maxlen

    @property
    def dropped(self) -> int:
        """How many items had to go for newer ones since it was made."""
        return self._dropped

    def append(self, item: T) -> None:
        """Add the newest item."""
        if len(self._items) == self._items.maxlen:
            self._dropped += 1
        self._items.append(item)

    def extend(self, items: Iterable[T]) -> None:
        """Add items, the newest last; of a ring itself, those that it had."""
        for item in list(items) if items is self else items:
            self.append(item)

    def last(self, n: int = 1) -> list[T]:
        """The newest `n` items, the oldest of them first; fewer when there are fewer."""
        return list(islice(self._items, max(0, len(self._items) - whole("last", n, 0)), None))

    def snapshot(self) -> tuple[T, ...]:
        """All items, the oldest first, which later appends do not change."""
        return tuple(self._items)

    def clear(self) -> None:
        """Forget all items; they do not count as dropped."""
        self._items.clear()

    def statistics(self) -> RingStatistics:
        """Figures at this moment."""
        return RingStatistics(len(self._items), self.maxlen, self._dropped)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __reversed__(self) -> Iterator[T]:
        return reversed(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __getitem__(self, index: int) -> T:
        return self._items[index]

    def __eq__(self, other: object) -> bool:
        """Rings are equal when they have room for as much and hold the same; what was dropped is history."""
        if not isinstance(other, Ring):
            return NotImplemented
        return self.maxlen == other.maxlen and self._items == other._items  # pyright: ignore[reportUnknownMemberType]

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.maxlen, tuple(self._items), self._dropped)

    def __repr__(self) -> str:
        return f"<Ring {len(self._items)} of {self.maxlen}, {self._dropped} dropped>"


def _rebuilt(maxlen: int, items: tuple[T, ...], dropped: int) -> Ring[T]:
    ring = Ring(maxlen, items)
    ring._dropped = dropped
    return ring
