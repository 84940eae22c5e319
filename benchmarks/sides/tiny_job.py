"""The job of the `pool_tiny` and `tasks` rows: so small that only the way to it is measured."""

from __future__ import annotations

WORKERS = 2


def square(n: int) -> int:
    """The job of the pool rows."""
    return n * n
