"""The face of `concurrent.futures` for a pool that runs already, for threads beside its event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from ..._kernel._errors import NotRunning, WrongThread
from ..._kernel._node import Node
from ..process._jobs import FunctionTable
from ._chunks import ChunkedExecutor
from ._engine import Engine
from ._futures import Inbox, pack

__all__ = ["PoolExecutor"]

P = ParamSpec("P")
R = TypeVar("R")


class PoolExecutor(ChunkedExecutor):
    """A pool as an executor, for any thread: made by `Jobs.as_executor`.

    The pool belongs to its supervisor: a shutdown of this ends nothing but this.

    Args:
        node: where the pool is.
        find: the engine of the pool as it is now; called on the node's thread.
        name: how the pool prints.
        retries: as of `Jobs.options`.
        limit: bytes that one argument list may take.
    """

    def __init__(
        self, node: Node, find: Callable[[object], Engine], name: str, *, retries: int, limit: int
    ) -> None:
        self._node = node
        self._find = find
        self._name = name
        self._limit = limit
        self._functions = FunctionTable()
        self._inbox = Inbox(self._soon, self._settled, retries)
        # Jobs without an outcome.
        self._out = 0
        self._idle = threading.Condition()
        self._shut = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have `fn(*args, **kwargs)` run in the pool; the future has its result, or what `Jobs.call` raises.

        Raises:
            RuntimeError: this executor was shut down.
            NotRunning: the event loop of the pool has ended.
        """
        packed = pack(self._functions, fn, args, kwargs, self._limit)
        future: Future[R] = Future()
        if isinstance(packed, Exception):
            future.set_running_or_notify_cancel()
            future.set_exception(packed)
            return future
        with self._idle:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._node.loop.is_closed():
                raise NotRunning(self._name, packed[0].name)
            self._out += 1
            self._inbox.put((*packed, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; the pool goes on.

        Args:
            wait: return only when the jobs that were given here have an outcome.
            cancel_futures: cancel what no worker has begun.

        Raises:
            WrongThread: it would wait on the thread of the pool's event loop, for itself.
        """
        with self._idle:
            self._shut = True
        if cancel_futures and not self._node.loop.is_closed():
            self._node.loop.call_soon_threadsafe(self._inbox.cancel)
        with self._idle:
            if not wait or not self._out:
                return
            if threading.get_ident() == self._node.thread:
                raise WrongThread(
                    "this would wait for jobs on the thread of the event loop that runs them; use "
                    "`await asyncio.to_thread(executor.shutdown)` or `shutdown(wait=False)`"
                )
            self._idle.wait_for(lambda: not self._out)

    def _soon(self, _: object) -> None:
        self._node.loop.call_soon_threadsafe(self._feed)

    def _feed(self) -> None:
        """Give the jobs to the pool that is there now: it may have been restarted."""
        try:
            self._inbox.engine = self._find(self)
        except NotRunning:
            self._inbox.fail(lambda name: NotRunning(self._name, name))
        self._inbox.feed()

    def _settled(self, jobs: int) -> None:
        with self._idle:
            self._out -= jobs
            if not self._out:
                self._idle.notify_all()

    def __repr__(self) -> str:
        return f"<PoolExecutor of {self._name}{', shut down' if self._shut else ''}>"
