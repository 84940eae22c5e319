"""The jobs of the rows about large arrays and about processors, the same for every side."""

from __future__ import annotations

import hashlib
from typing import Any

ARRAY_ITEMS = 10_000_000
"""Float64 numbers in one array: 80 MB."""

BLOCK = bytes(range(256)) * 4096
"""What is hashed: 1 MB."""


def make_array() -> Any:
    """The array that every job of `pool_array` is sent."""
    import numpy as np  # for this row alone: the others must not pay for it

    return np.ones(ARRAY_ITEMS)


def total(array: Any) -> int:
    """The job of `pool_array`."""
    return int(array.sum())


def digest(number: int) -> int:
    """The job of `pool_cpu` and `scale`: a number that only the hash of the whole block tells."""
    hashed = hashlib.sha256(number.to_bytes(8, "little"))
    hashed.update(BLOCK)
    return int.from_bytes(hashed.digest()[:4], "little")
