"""Worker processes: started cleanly, fed in batches, supervised, replaced when they die.

Layer 3: imports the wire and the kernel.
"""

from __future__ import annotations

from ._errors import (
    JobQueueFull,
    RemoteTraceback,
    ResultNotPicklable,
    WorkerCrashed,
    WorkerError,
    WorkerStartFailed,
)
from ._exit import WorkerExit
from ._handle import Jobs, jobs
from ._pool import Pool, PoolStatistics, WorkerInfo
from ._pool_spec import pool
from ._process import WorkerDeath, WorkerProcess, WorkerStatistics
from ._slot import Worker
from ._spawner import ForkServer, ForkServerStatistics
from ._takers import Results

__all__ = [
    "ForkServer",
    "ForkServerStatistics",
    "JobQueueFull",
    "Jobs",
    "Pool",
    "PoolStatistics",
    "RemoteTraceback",
    "ResultNotPicklable",
    "Results",
    "Worker",
    "WorkerCrashed",
    "WorkerDeath",
    "WorkerError",
    "WorkerExit",
    "WorkerInfo",
    "WorkerProcess",
    "WorkerStartFailed",
    "WorkerStatistics",
    "jobs",
    "pool",
]
