"""Keys in their order, in blocks of about a thousand.

One sorted list would move all that lies behind at each insert; blocks move a thousand pointers at most, and
finding the block costs one more bisection. No block is ever empty, and `_largest[i]` is the last key of
block i. Only `<` and `==` are asked of keys.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

# A block is split in two at twice this size.
BLOCK = 1000


class SortedKeys:
    """A sorted set of keys. Who adds and removes knows whether a key is in."""

    __slots__ = ("_blocks", "_largest")

    def __init__(self) -> None:
        self._blocks: list[list[Any]] = []
        self._largest: list[Any] = []

    def add(self, key: Any) -> None:
        """Take a key in that is not here.

        Raises:
            TypeError: it cannot be compared with those that are here; nothing has changed.
        """
        largest = self._largest
        if not largest:
            self._blocks.append([key])
            largest.append(key)
            return
        at = bisect_left(largest, key)
        if at == len(largest):
            at -= 1
            block = self._blocks[at]
            block.append(key)
            largest[at] = key
        else:
            block = self._blocks[at]
            block.insert(bisect_left(block, key), key)
        if len(block) >= 2 * BLOCK:
            upper = block[BLOCK:]
            del block[BLOCK:]
            self._blocks.insert(at + 1, upper)
            largest[at : at + 1] = [block[-1], upper[-1]]

    def remove(self, key: Any) -> None:
        """Take a key out that is here."""
        at = bisect_left(self._largest, key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if not block:
            del self._blocks[at], self._largest[at]
        else:
            self._largest[at] = block[-1]

    def first(self) -> list[Any]:
        """The smallest key, as a list of one; an empty list when there is none."""
        return self._blocks[0][:1] if self._blocks else []

    def last(self) -> list[Any]:
        """The greatest key, as a list of one or none."""
        return self._largest[-1:]

    def after(self, key: Any) -> list[Any]:
        """The next key behind `key`, which need not be here, as a list of one or none."""
        at = bisect_right(self._largest, key)
        if at == len(self._largest):
            return []
        block = self._blocks[at]
        return [block[bisect_right(block, key)]]

    def before(self, key: Any) -> list[Any]:
        """The next key before `key`, which need not be here, as a list of one or none."""
        at = bisect_left(self._largest, key)
        if at < len(self._largest):
            block = self._blocks[at]
            inside = bisect_left(block, key)
            if inside:
                return [block[inside - 1]]
        return [self._largest[at - 1]] if at else []

    def between(self, low: Any, high: Any) -> list[Any]:
        """All keys from `low` on and below `high`, in order."""
        found: list[Any] = []
        for at in range(bisect_left(self._largest, low), len(self._blocks)):
            block = self._blocks[at]
            end = bisect_left(block, high)
            found += block[bisect_left(block, low) : end]
            if end < len(block):
                break
        return found

    def clear(self) -> None:
        """Forget all keys."""
        self._blocks.clear()
        self._largest.clear()

    def __iter__(self) -> Iterator[Any]:
        for block in self._blocks:
            yield from block

    def __reversed__(self) -> Iterator[Any]:
        for block in reversed(self._blocks):
            yield from reversed(block)
