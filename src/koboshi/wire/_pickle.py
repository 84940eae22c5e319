"""Unpickling, as only this module and `_buffers` may, for anonymous socket pairs inside one process tree.

Nothing that crossed a network, a database or a file may reach `loads`: unpickling
runs whatever code the bytes ask for. A lint allows `pickle` here and nowhere else.
"""

from __future__ import annotations

import pickle
from typing import Any

__all__ = ["SMALL_TYPES", "all_small_ints", "dumps", "is_small", "loads"]

SMALL_TYPES: frozenset[type] = frozenset({int, float, bool, type(None)})
"""Immutable types whose values may wait in a batch and be pickled together.

Everything else is pickled by itself at once: inside a shared pickle two jobs would
receive the *same* object, and a value that waits could be changed by its owner."""

_SMALL_TEXT = 128
_SMALL_INT = 1 << 512


def is_small(value: object) -> bool:
    """Whether `value` is immutable, short and of an exact built-in type."""
    kind = type(value)
    if kind is int:
        return -_SMALL_INT < value < _SMALL_INT  # type: ignore[operator]
    return kind in SMALL_TYPES or ((kind is str or kind is bytes) and len(value) <= _SMALL_TEXT)  # type: ignore[arg-type]


def all_small_ints(values: list[Any]) -> bool:
    """Whether every value is an int that `is_small`; quick, for long lists of numbers."""
    return set(map(type, values)) == {int} and -_SMALL_INT < min(values) and max(values) < _SMALL_INT


def dumps(value: object) -> bytes:
    """Pickle with protocol 5."""
    return pickle.dumps(value, 5)


def loads(data: bytes | bytearray | memoryview) -> Any:
    """Unpickle what a process of our own tree packed."""
    return pickle.loads(data)
