"""The node behind an `Executor`: a thread with an event loop, a pool on it, and jobs from other threads.

Nothing here refers to the `Executor`, so that one which is dropped without a shutdown is collected, and
its thread ends when the jobs are done.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from ..._kernel._end import gone
from ..._kernel._errors import ActorExited, StartError
from ..._kernel._node import this_node
from ..._kernel._reasons import SHUTDOWN, ExitReason, first_error
from ..._kernel._ref import ActorRef
from ..._kernel._self import start
from .._errors import ExecutorBroken, WorkerCrashed
from ..pool._engine import Refusal
from ..pool._futures import Inbox, Job
from ..pool._pool import GRACE, START_ATTEMPTS, Pool
from ..process._jobs import Entry as Arguments
from ..process._jobs import FunctionRef, encode_arguments
from ..process._shared import borrow, give_back

__all__ = ["FRAME_LIMIT", "Plan", "Run", "is_exiting"]

#: Bytes of one argument list or result: a drop-in has no limit, and this is beyond any machine.
FRAME_LIMIT = 1 << 40
_NO_LIMIT = 1 << 60

_numbers = count(1)
# Where the standard library's own executors report initializers that fail.
_logger = logging.getLogger("concurrent.futures")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an executor was made with."""

    workers: int
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    jobs_per_worker: int | None
    timeout: float | None


def initialize(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    """The first job of each worker; what the initializer returns stays there."""
    initializer(*initargs)


class ExecutorPool(Pool):
    """The pool of one executor: it accepts any number of jobs and puts up with any number of crashes."""

    def __init__(self, run: Run) -> None:
        plan = run.plan
        super().__init__(
            size=plan.workers,
            queue=_NO_LIMIT,
            timeout=plan.timeout,
            quarantine=_NO_LIMIT,
            max_jobs=plan.jobs_per_worker,
            max_restarts=_NO_LIMIT,
            within=0.001,
            frame_limit=FRAME_LIMIT,
        )
        self._plan = plan
        self._refuse = run._refuse
        run.pool = self

    async def wait_left(self) -> None:
        """Wait until nothing is left of a pool whose start was cancelled."""
        vigil = getattr(self, "_vigil", None)
        if vigil is not None:
            await asyncio.wait([vigil])
        leaving = getattr(self, "_leaving", None)
        if leaving is not None:
            await leaving

    def _pack_set_up(self) -> tuple[FunctionRef, Arguments] | None:
        if self._plan.initializer is None:
            return None
        ref = self.engine.functions.ref(initialize, FRAME_LIMIT)
        args = (self._plan.initializer, self._plan.initargs)
        return ref, encode_arguments(ref, args, {}, FRAME_LIMIT)

    def _refusal(self, reason: ExitReason) -> Refusal:
        return lambda name, begun: self._refuse(name, begun, reason)


class Run:
    """One thread with its pool, from the first job to the end of the last.

    `start`, `put` and `close` are for other threads, one at a time; the rest runs on the loop.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.broken: ExecutorBroken | None = None
        self.pid = os.getpid()
        self.thread: threading.Thread | None = None
        # Held while it is decided whether a job is accepted, so that none comes in behind the last.
        self.lock = threading.Lock()
        self.ended = False
        self.inbox = Inbox(self._soon, self._settled)
        self._loop: asyncio.AbstractEventLoop | None = None
        # Set once the fork server's process exists, or there will be none.
        self._up = threading.Event()
        # Jobs put in without an outcome: added by whoever submits, before the loop can know of them.
        self._put = 0
        self._over = 0
        # In this order only: a close that cancels, or kills, closes as well.
        self._closing = self._cancelling = self._killing = False
        self._finished: asyncio.Event | None = None
        self._patience: asyncio.TimerHandle | None = None
        self.pool: ExecutorPool | None = None

    # -- from other threads ------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; returns when its fork server exists, which a late start could not make any more.

        An interpreter that is ending starts neither threads nor processes.
        """
        name = f"koboshi-executor-{next(_numbers)}"
        thread = threading.Thread(target=self._main, name=name, daemon=True)
        thread.start()
        self.thread = thread
        _running.add(self)
        self._up.wait()

    def put(self, job: Job) -> None:
        """Add a job; not after `close`."""
        self._put += 1
        self.inbox.put(job)

    def close(self, *, cancel: bool = False, kill: bool = False) -> None:
        """Let the thread end after the jobs that it has; may be called by the garbage collector."""
        self._killing |= kill
        self._cancelling |= cancel
        self._closing = True
        self._soon(self._check)

    def _soon(self, callback: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended in the meantime
                loop.call_soon_threadsafe(callback)

    # -- the thread --------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            # What asyncio reports in development mode is about our code, not about the user's.
            with asyncio.Runner(debug=False) as runner:
                runner.run(self._serve())
        except Exception as error:
            self._break(error)
        finally:
            self._up.set()
            with self.lock:
                self.ended = True
            self.inbox.fail(self.refused)
            _running.discard(self)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        node = this_node()
        server = borrow(node)
        try:
            server._ensure_running()
            self._up.set()
            ref = await self._started()
            if ref is not None:
                await self._until_finished(ref)
        finally:
            await give_back(node, server)

    async def _started(self) -> ActorRef[ExecutorPool] | None:
        """Start the pool; a worker that dies in its initializer is given another chance or two."""
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                return await self._start_pool()
            except StartError as error:
                cause = first_error(error.reason) or error
                if attempt == START_ATTEMPTS or not isinstance(cause, WorkerCrashed):
                    self._break(cause)
                    return None
        return None

    async def _start_pool(self) -> ActorRef[ExecutorPool] | None:
        """Start the pool, unless it is given up in the meantime: an initializer may take for ever."""
        assert self._finished is not None
        finished = asyncio.ensure_future(self._finished.wait())
        starting = asyncio.ensure_future(start(ExecutorPool, self))
        try:
            await asyncio.wait([finished, starting], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                return starting.result()
            starting.cancel()
            await asyncio.wait([starting])
            if self.pool is not None:
                await self.pool.wait_left()
            return None
        finally:
            finished.cancel()

    async def _until_finished(self, ref: ActorRef[ExecutorPool]) -> None:
        assert self._finished is not None
        cell = ref._target()
        pool = cell.actor
        assert isinstance(pool, ExecutorPool)
        self.inbox.engine = pool.engine
        self.inbox.feed()
        # Behind the engine's own turn: a job that comes first begins, whatever is asked for so soon.
        asyncio.get_running_loop().call_soon(self._check)
        finished = asyncio.ensure_future(self._finished.wait())
        ended = asyncio.ensure_future(gone(cell))
        try:
            await asyncio.wait([finished, ended], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                if self._killing:
                    pool.grace = 0.0
                with contextlib.suppress(ActorExited):  # it gave up at this very moment
                    await ref.stop(SHUTDOWN, timeout=None)
            reason = await ended
            if reason is not None and not reason.clean:
                self._break(first_error(reason) or ExecutorBroken(repr(reason)))
        finally:
            self.inbox.engine = None
            finished.cancel()

    def _settled(self, jobs: int) -> None:
        self._over += jobs
        if self._closing:
            self._check()

    def _give_up_set_up(self) -> None:
        if self.inbox.engine is None:
            self._killing = True
        self._check()

    def _check(self) -> None:
        """Do what `close` asked for."""
        if self._cancelling and (self._killing or self.inbox.engine is not None):
            self._cancelling = False
            self.inbox.cancel()
        elif self._cancelling and self._patience is None and self._loop is not None:
            # Nothing can begin before the workers are set up, and that need not come to an end.
            self._patience = self._loop.call_later(GRACE, self._give_up_set_up)
        if self._finished is not None and self._closing and (self._killing or self._over == self._put):
            self._finished.set()

    # -- the end of all workers ----------------------------------------------------------------------

    def _break(self, cause: BaseException) -> None:
        """No job will have a result any more."""
        if self.broken is None:
            self.broken = self._refuse("", False, None, cause)
            if self.plan.initializer is not None:
                _logger.critical("Exception in initializer:", exc_info=cause)

    def refused(self, name: str = "") -> ExecutorBroken:
        """The error of a job that came too late for there being workers."""
        cause = None if self.broken is None else self.broken.__cause__
        return self._refuse(name, False, None, cause)

    def _refuse(
        self, name: str, begun: bool, reason: ExitReason | None, cause: BaseException | None = None
    ) -> ExecutorBroken:
        """The error of one job; each has its own, since raising it adds to its traceback."""
        cause = cause or (None if reason is None else first_error(reason))
        what = "could not be set up" if self.plan.initializer is not None else "could not be started"
        job = f", so {name} was not run" if name and not begun else ""
        why = "the executor was stopped" if cause is None else f"a worker {what}: {cause!r}"
        error = ExecutorBroken(why + job, function=name, maybe_executed=begun)
        error.__cause__ = cause
        return error


# -- the end of the interpreter ------------------------------------------------------------------------

_running: set[Run] = set()
_exiting = False


def is_exiting() -> bool:
    """Whether the interpreter ends."""
    return _exiting


@atexit.register
def _at_exit() -> None:
    """Let every executor finish what it has, as those of the standard library do."""
    global _exiting
    _exiting = True
    runs = list(_running)
    for run in runs:
        run.close()
    for run in runs:
        if run.thread is not None:
            run.thread.join()


def _forget() -> None:
    """In a forked child: the threads are the parent's."""
    _running.clear()


os.register_at_fork(after_in_child=_forget)
