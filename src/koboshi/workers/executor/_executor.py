"""`Executor`: worker processes for plain synchronous programs, with the face of `ProcessPoolExecutor`."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ..._kernel._processors import processors
from .._errors import ExecutorBroken
from ..pool._chunks import ChunkedExecutor
from ..pool._futures import pack
from ..process._jobs import FunctionTable
from ._run import FRAME_LIMIT, Plan, Run, is_exiting

__all__ = ["Executor"]

P = ParamSpec("P")
R = TypeVar("R")


class Executor(ChunkedExecutor):
    """A drop-in for `ProcessPoolExecutor` whose workers may crash.

    A worker that dies, by whatever cause, fails the job that it was running with `WorkerCrashed`; it is
    replaced, and the executor goes on. It needs no event loop: the first job starts one on a thread, with
    the workers. `shutdown`, or the end of a `with` block, ends them all.

    Args:
        max_workers: worker processes; one for each core that this program may use, by default.
        initializer, initargs: called in each worker before its first job. When it raises, there are
            no workers: jobs then fail with `ExecutorBroken`, which is a `BrokenExecutor`.
        max_tasks_per_child: jobs after which a worker is replaced by a new one; None, the default, is
            any number.
        timeout: seconds that a job may run. The worker is killed then, and the job fails with
            `JobTimeout`, which is a `TimeoutError`. None, the default, is for ever.

    Raises:
        ValueError, TypeError: an argument has no such value.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        timeout: float | None = None,
    ) -> None:
        workers = processors() if max_workers is None else max_workers
        if workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers!r}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, got {initializer!r}")
        if max_tasks_per_child is not None and not isinstance(max_tasks_per_child, int):
            raise TypeError(f"max_tasks_per_child must be an integer, got {max_tasks_per_child!r}")
        if max_tasks_per_child is not None and max_tasks_per_child <= 0:
            raise ValueError(f"max_tasks_per_child must be >= 1, got {max_tasks_per_child!r}")
        if timeout is not None and not 0 < timeout < math.inf:
            raise ValueError(f"timeout takes seconds > 0 or None, got {timeout!r}")
        self._max_workers = workers
        self._functions = FunctionTable()
        self._run = Run(Plan(workers, initializer, tuple(initargs), max_tasks_per_child, timeout))
        self._shut = False
        self._collected = weakref.finalize(self, self._run.close)
        self._collected.atexit = False

    @property
    def _broken(self) -> ExecutorBroken | None:
        """Why there are no workers; under the name that those of the standard library have."""
        return self._run.broken

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have `fn(*args, **kwargs)` run in a worker; the future has its result.

        The arguments are packed here and now. What cannot be packed fails its own future.

        Raises:
            ExecutorBroken: no worker could be set up.
            RuntimeError: the executor was shut down, or the interpreter ends.
        """
        packed = pack(self._functions, fn, args, kwargs, FRAME_LIMIT)
        future: Future[R] = Future()
        with self._run.lock:
            self._check_open()
            if not isinstance(packed, Exception):
                if self._run.thread is None:
                    self._run.start()
                    self._check_open()
                self._run.put((*packed, future))
                return future
        future.set_running_or_notify_cancel()
        future.set_exception(packed)
        return future

    def _check_open(self) -> None:
        run = self._run
        if run.broken is not None:
            raise run.refused()
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if is_exiting():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if run.pid != os.getpid():
            raise RuntimeError("this executor belongs to the process that forked this one; make another here")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs, finish those that there are, and end the workers.

        Args:
            wait: return only when nothing is left of it, neither thread nor process.
            cancel_futures: cancel what no worker has begun.
        """
        self._end(wait=wait, cancel=cancel_futures, kill=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut down; at a KeyboardInterrupt the jobs are not waited for, and their workers killed."""
        interrupted = isinstance(error, KeyboardInterrupt)
        self._end(wait=True, cancel=interrupted, kill=interrupted)

    def _end(self, *, wait: bool, cancel: bool, kill: bool) -> None:
        with self._run.lock:
            self._shut = True
            self._run.close(cancel=cancel, kill=kill)
        if wait and self._run.thread is not None:
            self._run.thread.join()

    def __repr__(self) -> str:
        state = "broken" if self._run.broken is not None else "shut down" if self._shut else "open"
        return f"<Executor of {self._max_workers} workers, {state}>"
