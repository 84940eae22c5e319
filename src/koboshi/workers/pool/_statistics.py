"""A pool and its workers at one moment, as values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolStatistics", "WorkerInfo"]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker of a pool. `pid` is None while it is being started; `done` counts since its first start."""

    slot: str
    pid: int | None
    restarts: int
    done: int
    busy: bool


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment.

    Attributes:
        size: workers that it is to have now.
        min, max: the bounds of that; the same for a pool of fixed size.
        workers: its workers, in the order of their slots.
        queued: jobs that no worker has yet.
        running: jobs at workers: in hand, or next in turn there.
        done: jobs with an outcome, those that failed included.
        failed: jobs that raised, or whose result could not be sent back.
        crashed: deaths of workers with a job in hand.
        retried: jobs that were started again after one.
        overdue: jobs that ran for longer than the pool's `timeout`.
        quarantined: jobs that killed too many workers.
        restarts: workers started again, for whatever reason.
        recycled: processes replaced because of their jobs, age or memory.
        spares: processes that are ready to take a worker's place.
    """

    size: int
    min: int
    max: int
    workers: tuple[WorkerInfo, ...]
    queued: int
    running: int
    done: int
    failed: int
    crashed: int
    retried: int
    overdue: int
    quarantined: int
    restarts: int
    recycled: int
    spares: int
