"""A job that needs more memory than a small cgroup has."""

from __future__ import annotations

SIZE = 256 << 20


def eat() -> int:
    """Fill as many bytes as `SIZE`, and say how many."""
    filled = 0
    held = []
    while filled < SIZE:
        held.append(bytes([1]) * (4 << 20))
        filled += len(held[-1])
    return filled
