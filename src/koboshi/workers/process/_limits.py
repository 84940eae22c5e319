"""Frame sizes that follow from the limit on one message.

The limit that users set bounds one function, one argument list, one result. A frame
carries a batch of them, so the two readers allow for that on top.
"""

from __future__ import annotations

from ._journal import ROOM

__all__ = [
    "BATCH_BYTES",
    "MESSAGE_SIZE",
    "job_frame_limit",
    "result_frame_limit",
]

BATCH_BYTES = 1 << 20
"""Bytes of packed arguments after which a batch is closed (one job always fits)."""


def job_frame_limit(limit: int) -> int:
    """Largest frame from the root: a batch, its last job and its function at the limit."""
    return 2 * limit + 2 * BATCH_BYTES


def result_frame_limit(limit: int) -> int:
    """Largest frame from a worker: a full journal, or one result at the limit."""
    return max(limit, 2 * ROOM) + 4096


MESSAGE_SIZE = 1 << 17
"""Largest packet between the root and its fork server, bytes."""
