"""Errors of worker processes, separated by whose fault they are."""

from __future__ import annotations

import errno
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pickle import PicklingError

from .._kernel._errors import CallError, KoboshiError
from .._kernel._reasons import RemoteError
from ._exit import WorkerExit

__all__ = [
    "Dossier",
    "ExecutorBroken",
    "JobQueueFull",
    "JobTimeout",
    "Quarantined",
    "RemoteError",
    "RemoteTraceback",
    "ResultNotPicklable",
    "WorkerCrashed",
    "WorkerError",
    "WorkerStartFailed",
]


#: What a machine or a program can run short of for a while, and what to do when it stays so.
ADVICE = {
    errno.EAGAIN: ": raise `ulimit -u` or start fewer processes",
    errno.EMFILE: ": raise `ulimit -n` or close files",
    errno.ENFILE: ": close files, of whatever program",
    errno.ENOMEM: ": free memory",
}


class WorkerError(KoboshiError):
    """Base of what can go wrong with work in another process."""


class WorkerCrashed(WorkerError, CallError):
    """A worker process died: the error of the job that it was running, and its own exit reason.

    `exit` says what ended the process; `function` is the job that it was running, None when it was idle.
    """

    def __init__(
        self, function: str | None, exit: WorkerExit, *, worker: str = "", maybe_executed: bool = True
    ) -> None:
        name = f"{worker} (pid {exit.pid})" if worker else f"worker {exit.pid}"
        doing = "while idle" if function is None else f"while running {function}"
        super().__init__(
            f"{name} {exit.describe()} {doing}",
            target=worker or f"worker {exit.pid}",
            message=function or "",
            maybe_executed=maybe_executed,
        )
        self.function = function
        self.exit = exit


class JobTimeout(WorkerCrashed, TimeoutError):
    """A job ran for longer than the pool's `timeout`, in seconds, and was ended with its worker.

    With `max_concurrency` above 1 it may have been cancelled alone; `exit` then has neither code nor signal.
    """

    def __init__(
        self, function: str, exit: WorkerExit, timeout: float, *, worker: str = "", killed: bool = True
    ) -> None:
        super().__init__(function, exit, worker=worker)
        self.timeout = timeout
        end = f"its worker {worker or exit.pid} was killed" if killed else "it was cancelled"
        text = (
            f"{function} ran for longer than {timeout:g} s, the pool's `timeout`, so {end}: "
            "raise `timeout=`, or give it less to do"
        )
        self.args = (text,)


@dataclass(frozen=True, slots=True)
class Dossier:
    """What is known of a job that killed its workers.

    Attributes:
        function: its name.
        digest: SHA-256 of its packed arguments, in hex: the same for the same arguments.
        size: bytes of the packed arguments.
        exits: how each worker that it was running in ended, in order; each with its last lines.
    """

    function: str
    digest: str
    size: int
    exits: tuple[WorkerExit, ...]

    @property
    def peak_memory(self) -> int | None:
        """The most that any of these workers had resident, in bytes; None when nobody could tell."""
        return max((exit.peak_memory for exit in self.exits if exit.peak_memory is not None), default=None)

    def __str__(self) -> str:
        peak = "unknown" if self.peak_memory is None else f"{self.peak_memory / 2**20:.0f} MB"
        ends = ", ".join(exit.name for exit in self.exits)
        text = f"{ends}; peak memory {peak}; arguments sha256 {self.digest[:16]}, {self.size:,} bytes"
        lines = self.exits[-1].last_lines if self.exits else ()
        return text if not lines else text + "; the last lines of the last worker:\n  " + "\n  ".join(lines)


class Quarantined(WorkerCrashed):
    """A job killed as many workers as a pool puts up with from one job, and is not started again."""

    def __init__(self, dossier: Dossier, *, worker: str = "") -> None:
        super().__init__(dossier.function, dossier.exits[-1], worker=worker)
        self.dossier = dossier
        text = f"{dossier.function} killed {len(dossier.exits)} workers and is not started again: {dossier}"
        self.args = (text,)


class RemoteTraceback(WorkerError):
    """The `__cause__` of an exception that came from a worker: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class ResultNotPicklable(WorkerError, PicklingError):
    """The job ran, but what it returned cannot be sent back."""

    def __init__(self, type_name: str, problem: str) -> None:
        super().__init__(
            f"a result of type {type_name} cannot be sent back ({problem}): return plain data instead"
        )
        self.type_name = type_name
        self.problem = problem


class JobQueueFull(WorkerError, CallError):
    """A pool holds as many jobs as it may."""

    def __init__(self, limit: int, *, pool: str = "the pool", function: str = "a job") -> None:
        super().__init__(
            f"{limit:,} jobs wait or run in {pool}, which is its queue limit, so {function} was refused: "
            'use `jobs.options(when_full="wait")` or a map, or raise `queue=`',
            target=pool,
            message=function,
            maybe_executed=False,
        )
        self.limit = limit


class WorkerStartFailed(WorkerError):
    """A worker process, or the fork server that starts them, could not be started.

    `errno` is the operating system's number for it, where there is one.
    """

    def __init__(self, problem: str, *, errno: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.errno = errno

    @classmethod
    def because(cls, what: str, error: OSError) -> WorkerStartFailed:
        """Of an operating system that refuses something."""
        advice = ADVICE.get(error.errno or 0, "")
        return cls(f"{what}: {error}{advice}", errno=error.errno)

    @property
    def passing(self) -> bool:
        """Whether the machine or the program is short of something that others may give back."""
        return self.errno in ADVICE


class ExecutorBroken(WorkerError, CallError, BrokenExecutor):
    """An executor has no workers and gets none; `__cause__` says why.

    A worker that dies never does this. An initializer that fails does, and a machine that cannot start
    processes.
    """

    def __init__(self, problem: str, *, function: str = "", maybe_executed: bool = False) -> None:
        super().__init__(problem, target="executor", message=function, maybe_executed=maybe_executed)
        self.problem = problem
