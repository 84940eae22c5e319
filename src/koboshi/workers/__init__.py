"""Worker processes: started cleanly, fed in batches, supervised, replaced when they die.

Layer 3: imports the wire and the kernel.
"""

from __future__ import annotations

from ._errors import (
    Dossier,
    ExecutorBroken,
    JobQueueFull,
    JobTimeout,
    Quarantined,
    RemoteTraceback,
    ResultNotPicklable,
    WorkerCrashed,
    WorkerError,
    WorkerStartFailed,
)
from ._executor import Executor
from ._exit import WorkerExit
from ._handle import Jobs, jobs
from ._pool import Pool
from ._pool_spec import pool
from ._pool_statistics import PoolStatistics, WorkerInfo
from ._process import WorkerDeath, WorkerProcess
from ._slot import Worker
from ._spawner import ForkServer, ForkServerStatistics
from ._stream import Stream
from ._takers import Progress, Results
from ._worker_statistics import WorkerStatistics
from .command import (
    Command,
    CommandError,
    CommandFailed,
    CommandInputClosed,
    CommandNotFound,
    CommandNotReady,
    CommandStalled,
    CommandStatistics,
    command,
)
from .flame import CodeMismatch, ExtraMissing, Flame, FlameStatistics, RunnerLost, Runners, flame, runners
from .nodes import WorkerNode, WorkerNodeStatistics, node, own_process, spread

__all__ = [
    "CodeMismatch",
    "Command",
    "CommandError",
    "CommandFailed",
    "CommandInputClosed",
    "CommandNotFound",
    "CommandNotReady",
    "CommandStalled",
    "CommandStatistics",
    "Dossier",
    "Executor",
    "ExecutorBroken",
    "ExtraMissing",
    "Flame",
    "FlameStatistics",
    "ForkServer",
    "ForkServerStatistics",
    "JobQueueFull",
    "JobTimeout",
    "Jobs",
    "Pool",
    "PoolStatistics",
    "Progress",
    "Quarantined",
    "RemoteTraceback",
    "ResultNotPicklable",
    "Results",
    "RunnerLost",
    "Runners",
    "Stream",
    "Worker",
    "WorkerCrashed",
    "WorkerDeath",
    "WorkerError",
    "WorkerExit",
    "WorkerInfo",
    "WorkerNode",
    "WorkerNodeStatistics",
    "WorkerProcess",
    "WorkerStartFailed",
    "WorkerStatistics",
    "command",
    "flame",
    "jobs",
    "node",
    "own_process",
    "pool",
    "runners",
    "spread",
]
