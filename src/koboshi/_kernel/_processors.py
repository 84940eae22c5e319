"""How many processors this process may use, which a container or `taskset` makes fewer than there are."""

from __future__ import annotations

import os

__all__ = ["processors"]


def processors() -> int:
    """The processors that this process may use now; at least 1."""
    return len(os.sched_getaffinity(0))
