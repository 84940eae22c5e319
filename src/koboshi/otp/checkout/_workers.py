"""The workers of a checkout pool: how they are started, ended, examined, and replaced when they are old.

Starts, resets and pings are waited for in the background, so the desk is never closed.
"""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from ..._kernel._cell import NO_KWARGS, Cell
from ..._kernel._errors import NameTaken, StartError, UsageError
from ..._kernel._events import RestartFailed
from ..._kernel._reasons import ExitReason, as_reason
from ..._kernel._ref import ActorRef
from ..._kernel._start import Ignored
from ..._supervision._child import Child
from ..._supervision._dynamic import DynamicSupervisor
from ..._supervision._restart import Backoff
from ..._supervision._root import request
from ..._supervision._spec import ChildSpec
from ._desk import Desk

__all__ = ["Workers"]

# The part of a worker's lifetime by which it is drawn shorter, so that those started together do not end so.
_LIFETIME_JITTER = 0.1


class Workers(DynamicSupervisor):
    """Keeps as many workers as the desk's books ask for; `CheckoutPool` lends them."""

    _worker: ChildSpec[Any]
    _desk: Desk[Cell]
    _reset_timeout: float
    _max_lifetime: float | None
    _retry_after: Backoff

    def __init__(self) -> None:
        super().__init__()
        # When a worker that is one too many has been free for long enough; None for one whose time has come
        # while it was asked whether it is well.
        self._idle: dict[Cell, asyncio.TimerHandle | None] = {}
        # Failed starts in a row, since when the time to the next attempt is counted.
        self._failures = 0
        # Old ones that are still lent, and are replaced when they come back.
        self._expired: set[Cell] = set()
        self._lifetimes: dict[Cell, asyncio.TimerHandle] = {}
        self._discarded = self._failed_starts = 0
        self._stopping = False

    async def on_stop(self, reason: Any) -> None:
        self._stopping = True
        for handle in (*self._lifetimes.values(), *self._idle.values()):
            if handle is not None:
                handle.cancel()
        await super().on_stop(reason)

    @abstractmethod
    def _offer(self, worker: Cell) -> None:
        """Give a worker that is nobody's to whoever waits, or keep it, or end it."""

    # -- workers come and go ------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start what is missing."""
        while self._desk.wants_start and not self._stopping:
            self._begin(self._new_worker())

    def _new_worker(self) -> Child:
        self._desk.starting += 1
        child = self._new_child(next(self._numbers), self._worker)
        child.status = "starting"
        return child

    def _begin(self, child: Child) -> None:
        """Start a worker in the background, after a while if the last ones have failed."""
        if self._failures:
            delay = self._retry_after.delay(self._failures, random.random)
            loop = self._kb_cell.node.loop
            item = (Workers._begin_now, (child,), NO_KWARGS, copy_context(), None)
            loop.call_later(delay, self._kb_cell.post, item, context=self._kb_cell.node.context)
        else:
            self._begin_now(child)

    def _begin_now(self, child: Child) -> None:
        if self._stopping or child.id not in self._children:
            return
        try:
            self._start_in_background(child, None)
        except (StartError, NameTaken, Ignored) as error:
            self._not_up(child, error)
        else:
            if child.cell is not None:
                self._restarted(child)

    def _restarted(self, child: Child) -> None:
        """A worker is up."""
        assert child.cell is not None
        self._failures = 0
        self._desk.starting -= 1
        self._keep_time(child.cell)
        self._offer(child.cell)
        self._fill()

    def _not_up(self, child: Child, error: Exception) -> None:
        """A worker did not start: whoever waits longest hears of it, if it was for somebody who waits."""
        self._desk.starting -= 1
        self._failed_starts += 1
        self._failures += 1
        self._forget(child)
        reason = error.reason if isinstance(error, StartError) else as_reason(error)
        self._kb_cell.node.instruments.emit(RestartFailed(self._kb_cell.label(), repr(child.id), reason))
        waiter = None if self._desk.alive else self._desk.oldest()
        if waiter is not None:  # there is no worker that might come back to it
            assert waiter.request is not None
            waiter.end()
            waiter.request.fail(StartError(f"a worker of {self._kb_cell.label()}", reason))
        self._fill()

    def _ended(self, child: Child, reason: ExitReason) -> Coroutine[Any, Any, None] | None:
        """A worker has died."""
        assert child.cell is not None
        self._leave(child.cell)
        following = super()._ended(child, reason)
        self._fill()
        return following

    def _leave(self, worker: Cell) -> None:
        """A worker is no more, or about to be."""
        loan = self._desk.leave(worker)
        if loan is not None:
            loan.end()
        self._expired.discard(worker)
        self._not_idle(worker)
        handle = self._lifetimes.pop(worker, None)
        if handle is not None:
            handle.cancel()

    def _discard(self, worker: Cell) -> None:
        """End a worker that nobody shall have again, and replace it."""
        self._discarded += 1
        self._dismiss(worker, kill=True)
        self._fill()

    def _dismiss(self, worker: Cell, *, kill: bool = False) -> None:
        """End a worker in the background."""
        self._leave(worker)
        child = self._by_cell.get(worker)
        if child is None:
            return
        task = worker.node.loop.create_task(self._end(child, kill=kill))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _end(self, child: Child, *, kill: bool) -> None:
        if kill and child.cell is not None:
            ActorRef[Any](child.cell).kill()
        await self._stop(child)
        self._children.pop(child.id, None)

    # A message is contravariant in its actor, so each one that is overridden narrows what it takes.
    @request
    async def start_child(self, spec: ChildSpec[Any]) -> ActorRef[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Refused: the pool starts its workers itself."""
        raise UsageError("a checkout pool starts its workers itself; give it another size")

    @request
    async def terminate_child(self, id: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Refused: a worker that is to go is killed, and replaced."""
        raise UsageError("a checkout pool ends its workers itself; kill the one that is to go")

    # -- looking after them -------------------------------------------------------------------------

    def _keep_time(self, worker: Cell) -> None:
        """Have a worker replaced when its time is over."""
        if self._max_lifetime is None:
            return
        delay = self._max_lifetime * (1 - _LIFETIME_JITTER * random.random())
        self._lifetimes[worker] = self._after(delay, Workers._too_old, worker)

    def _after(self, delay: float, fn: Any, worker: Cell) -> asyncio.TimerHandle:
        """Have the pool run `fn(pool, worker)` after a while."""
        item = (fn, (worker,), NO_KWARGS, copy_context(), None)
        cell = self._kb_cell
        return worker.node.loop.call_later(delay, cell.post, item, context=cell.node.context)

    def _idle_too_long(self, worker: Cell) -> None:
        if worker not in self._idle:
            return  # it has been lent, or has died, as the time came
        if worker in self._desk.held:
            self._idle[worker] = None
            return
        del self._idle[worker]
        if self._desk.extra:
            self._dismiss(worker)

    def _not_idle(self, worker: Cell) -> None:
        handle = self._idle.pop(worker, None)
        if handle is not None:
            handle.cancel()

    def _too_old(self, worker: Cell) -> None:
        self._lifetimes.pop(worker, None)
        if worker in self._desk.free:
            self._discard(worker)
        elif worker in self._desk.lent or worker in self._desk.held:
            self._expired.add(worker)

    def _hold(self, worker: Cell, call: Any) -> None:
        """Call a message on a worker in the background, and lend it on when it has answered."""
        self._desk.held[worker] = None
        task = worker.node.loop.create_task(self._examine(worker, call))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _examine(self, worker: Cell, call: Any) -> None:
        try:
            await ActorRef[Any](worker, within=self._reset_timeout).call(call)
        except Exception:  # whatever it is, this worker is not lent again; its own crash report says more
            well = False
        else:
            well = True
        self._kb_cell.post((Workers._examined, (worker, well), NO_KWARGS, copy_context(), None))

    def _examined(self, worker: Cell, well: bool) -> None:
        if worker not in self._desk.held:
            return  # it has died meanwhile
        del self._desk.held[worker]
        if well and worker not in self._expired:
            self._offer(worker)
        else:
            self._discard(worker)
