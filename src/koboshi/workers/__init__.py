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
from ._exit import WorkerExit
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
from .executor._executor import Executor
from .flame import CodeMismatch, ExtraMissing, Flame, FlameStatistics, RunnerLost, Runners, flame, runners
from .nodes import WorkerNode, WorkerNodeStatistics, node, own_process, spread
from .pool._handle import Jobs, jobs
from .pool._pool import Pool
from .pool._slot import Worker
from .pool._spec import pool
from .pool._statistics import PoolStatistics, WorkerInfo
from .pool._stream import Stream
from .pool._takers import Progress, Results
from .process._process import WorkerDeath, WorkerProcess
from .process._spawner import ForkServer, ForkServerStatistics
from .process._statistics import WorkerStatistics

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
