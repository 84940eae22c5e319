"""Keys in order: a list of short sorted lists, so that an insertion moves a few hundred keys and not all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any

__all__ = ["SortedKeys"]

# A block is cut in two when it is longer.
_LONGEST = 512


class SortedKeys:
    """Keys that compare with each other, each once.

    All methods take keys that are there or not; `after` and `before` are about order alone.
    """

    def __init__(self) -> None:
        self._blocks: list[list[Any]] = []
        # The last key of each block.
        self._lasts: list[Any] = []

    def add(self, key: Any) -> None:
        """Add a key that is not there. Raises `TypeError` for one that does not compare with the others."""
        if not self._blocks:
            self._blocks.append([key])
            self._lasts.append(key)
            return
        place = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[place]
        insort(block, key)
        if len(block) > _LONGEST:
            half = len(block) // 2
            self._blocks[place : place + 1] = [block[:half], block[half:]]
            self._lasts[place : place + 1] = [block[half - 1], block[-1]]
        else:
            self._lasts[place] = block[-1]

    def remove(self, key: Any) -> None:
        """Remove a key that is there."""
        place = bisect_left(self._lasts, key)
        block = self._blocks[place]
        del block[bisect_left(block, key)]
        if block:
            self._lasts[place] = block[-1]
        else:
            del self._blocks[place], self._lasts[place]

    def clear(self) -> None:
        """Remove all."""
        self._blocks.clear()
        self._lasts.clear()

    def first(self) -> Any:
        """The least key. Raises `IndexError` when there is none."""
        return self._blocks[0][0]

    def last(self) -> Any:
        """The greatest key. Raises `IndexError` when there is none."""
        return self._blocks[-1][-1]

    def after(self, key: Any) -> Any:
        """The least key greater than this one. Raises `IndexError` when there is none."""
        place = bisect_right(self._lasts, key)
        block = self._blocks[place]
        return block[bisect_right(block, key)]

    def before(self, key: Any) -> Any:
        """The greatest key less than this one. Raises `IndexError` when there is none."""
        place = bisect_left(self._lasts, key)
        if place < len(self._blocks):
            within = bisect_left(self._blocks[place], key)
            if within:
                return self._blocks[place][within - 1]
        if not place:
            raise IndexError("no key before")
        return self._blocks[place - 1][-1]

    def __iter__(self) -> Iterator[Any]:
        for block in list(self._blocks):
            yield from list(block)
