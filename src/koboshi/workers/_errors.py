"""Errors of worker processes, separated by whose fault they are."""

from __future__ import annotations

from ._exit import WorkerExit


class WorkerError(Exception):
    """Base of what can go wrong with work in another process."""


class WorkerCrashed(WorkerError):
    """The worker process died while it was running this job.

    `maybe_executed` is True when the job had begun; `exit` says what ended the process.
    """

    def __init__(self, function: str, exit: WorkerExit, *, maybe_executed: bool = True) -> None:
        self.function = function
        self.exit = exit
        self.maybe_executed = maybe_executed
        super().__init__(f"worker {exit.pid} {exit.describe()} while running {function}")

    def __reduce__(self) -> tuple[object, ...]:
        return _worker_crashed, (self.function, self.exit, self.maybe_executed)


def _worker_crashed(function: str, exit: WorkerExit, maybe_executed: bool) -> WorkerCrashed:
    return WorkerCrashed(function, exit, maybe_executed=maybe_executed)


class RemoteError(WorkerError):
    """A job raised something that cannot be rebuilt here, or must not be raised here.

    Carries the type's name, the message and the traceback text instead.
    """

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        super().__init__(f"{type_name}: {message}" if message else type_name)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.type_name, self.message, self.traceback)


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
        self.type_name = type_name
        self.problem = problem
        super().__init__(
            f"a result of type {type_name} cannot be sent back ({problem}): return plain data instead"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.type_name, self.problem)


class JobQueueFull(WorkerError):
    """The pool holds as many jobs as it may; try later, or use `map_unordered`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit:,} jobs are waiting or running, which is the queue limit: await some first")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.limit,)


class PoolClosed(WorkerError):
    """The pool was closed before this job had a result."""


class WorkerStartFailed(WorkerError):
    """A worker process, or the fork server that starts them, could not be started."""
