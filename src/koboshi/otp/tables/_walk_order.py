"""The order in which an unordered table is walked key by key, made when somebody first does so.

A dict has an order but no way to the key behind another one. So the first walk lists the keys; from then on
new keys go to the end, and a deleted key keeps its place in the list, where walks pass over it. While the
table is fixed the way on from a deleted key is kept as well. A list that is half holes is made anew, unless
the table is fixed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# A list this short is not worth making anew.
SMALL = 64


class WalkOrder:
    """Places of keys. `living` are the keys that the table has, and is asked at each step."""

    __slots__ = ("_keys", "_living", "_places", "fixed")

    def __init__(self, living: Collection[Any]) -> None:
        self._living = living
        self._keys: list[Any] | None = None
        self._places: dict[Any, int] = {}
        # How many have the table fixed now.
        self.fixed = 0

    def added(self, key: Any) -> None:
        """The table has a new key."""
        if self._keys is not None and (key not in self._places or not self.fixed):
            self._places[key] = len(self._keys)
            self._keys.append(key)

    def removed(self, key: Any) -> None:
        """The table has lost a key."""
        if self._keys is not None and not self.fixed:
            del self._places[key]
            self._tidy()

    def cleared(self) -> None:
        """The table is empty."""
        if not self.fixed:
            self._keys = None
            self._places = {}

    def release(self) -> None:
        """One of those that had it fixed has done."""
        self.fixed -= 1
        if not self.fixed and self._keys is not None and len(self._places) > len(self._living):
            self._keys = None
            self._places = {}

    def first(self) -> list[Any]:
        """The first key that lives, as a list of one or none."""
        return self._from(0, 1)

    def last(self) -> list[Any]:
        """The last key that lives, as a list of one or none."""
        return self._from(len(self._listed()) - 1, -1)

    def after(self, key: Any) -> list[Any]:
        """The next one that lives behind `key`. Raises `KeyError` when there is no way on from it."""
        self._listed()
        return self._from(self._places[key] + 1, 1)

    def before(self, key: Any) -> list[Any]:
        """The next one that lives before `key`. Raises `KeyError` when there is no way on from it."""
        self._listed()
        return self._from(self._places[key] - 1, -1)

    def _from(self, place: int, step: int) -> list[Any]:
        keys = self._listed()
        while 0 <= place < len(keys):
            key = keys[place]
            # A key that was deleted and came back has a place further on, but for fixed tables.
            if key in self._living and self._places.get(key) == place:
                return [key]
            place += step
        return []

    def _listed(self) -> list[Any]:
        if self._keys is None:
            self._keys = list(self._living)
            self._places = {key: place for place, key in enumerate(self._keys)}
        return self._keys

    def _tidy(self) -> None:
        assert self._keys is not None
        if len(self._keys) > SMALL and len(self._keys) > 2 * len(self._living):
            self._keys = None
            self._places = {}
