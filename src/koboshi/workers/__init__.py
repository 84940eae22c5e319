"""Worker processes: started cleanly, fed in batches, replaced when they die.

Layer 3: imports the wire and the kernel.
"""

from __future__ import annotations

from ._errors import (
    JobQueueFull,
    PoolClosed,
    RemoteError,
    RemoteTraceback,
    ResultNotPicklable,
    WorkerCrashed,
    WorkerError,
    WorkerStartFailed,
)
from ._exit import WorkerExit
from ._pool import PoolStatistics, ProcessPool
from ._process import WorkerDeath, WorkerProcess, WorkerStatistics
from ._spawner import ForkServer, ForkServerStatistics
from ._takers import Results

__all__ = [
    "ForkServer",
    "ForkServerStatistics",
    "JobQueueFull",
    "PoolClosed",
    "PoolStatistics",
    "ProcessPool",
    "RemoteError",
    "RemoteTraceback",
    "ResultNotPicklable",
    "Results",
    "WorkerCrashed",
    "WorkerDeath",
    "WorkerError",
    "WorkerExit",
    "WorkerProcess",
    "WorkerStartFailed",
    "WorkerStatistics",
]
