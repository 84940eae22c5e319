"""Counters of one worker process, as a value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WorkerStatistics"]


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """Counters of one worker since it started."""

    pid: int
    alive: bool
    sent: int
    done: int
    bytes_unsent: int
