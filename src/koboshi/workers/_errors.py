"""Errors of worker processes, separated by whose fault they are."""

from __future__ import annotations

from .._kernel._errors import CallError, KoboshiError
from .._kernel._reasons import RemoteError
from ._exit import WorkerExit

__all__ = [
    "JobQueueFull",
    "RemoteError",
    "RemoteTraceback",
    "ResultNotPicklable",
    "WorkerCrashed",
    "WorkerError",
    "WorkerStartFailed",
]


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


class RemoteTraceback(WorkerError):
    """The `__cause__` of an exception that came from a worker: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class ResultNotPicklable(WorkerError):
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
    """A worker process, or the fork server that starts them, could not be started."""
