"""`CheckoutPool`: the actor that lends workers, and starts and ends them. What to do is decided by `_desk`.

Workers are its children, never restarted by the rules of supervisors: whether one that has died is replaced
depends on who waits. Starts, resets and pings are waited for in the background, so the desk is never closed.
"""

from __future__ import annotations

import asyncio
from threading import get_ident
from typing import Any, Literal

from ..._kernel import _bonds
from ..._kernel._cell import IDLE, Cell
from ..._kernel._end import Stop
from ..._kernel._errors import StartError, UsageError
from ..._kernel._message import MARK, message
from ..._kernel._reasons import Down, FailedToStart, Shutdown, as_reason
from ..._kernel._ref import ActorRef
from ..._kernel._reply import take_reply
from ..._kernel._wait import Request
from ..._supervision._options import one_of, seconds, whole
from ..._supervision._restart import Backoff, backoff_of
from ..._supervision._spec import ChildSpec
from ._desk import Desk, Order
from ._loan import Loan
from ._outcomes import CheckoutStatistics, NoWorkerFree, TooManyWaiting
from ._workers import Workers

__all__ = ["CheckoutPool", "OnOwnerDeath", "at_hand"]

OnOwnerDeath = Literal["discard", "reuse"]

_BACKOFF = Backoff(0.1, 30.0, 2.0, 0.2)


class CheckoutPool(Workers):
    """Lends workers: `kb.child(otp.CheckoutPool, kb.child(Connection, dsn), size=10, overflow=5)`.

    Args:
        worker: how each worker is started.
        size: regular workers, 5 by default.
        overflow: how many more are started while all are lent, 10 by default; each is ended when it comes
            back and nobody waits.
        overflow_ttl: seconds that a worker beyond `size` stays free before it is ended; None, the default,
            ends it at once.
        strategy: "lifo" (default) lends the worker that came back last, "fifo" the one that is free longest.
        max_waiting: how many may wait for a worker; None, the default, any number.
        on_owner_death: "discard" (default) ends the worker whose owner has died, which may be at work for it;
            "reuse" lends it on.
        reset: a message without arguments that is called on a worker that comes back, before it is lent on;
            if it fails, or takes longer than `reset_timeout`, 5 s by default, the worker is replaced.
        ping, ping_every: a message that is called on each free worker every so many seconds, 30 by default,
            with the same consequence.
        max_lifetime: seconds after which a worker is replaced, once it is not lent.
        start_async: go on when the workers are still starting, and try again those that do not start.
        backoff: how long to wait before a failed start is tried again.

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        worker: ChildSpec[Any],
        *,
        size: int = 5,
        overflow: int = 10,
        overflow_ttl: float | None = None,
        strategy: Order = "lifo",
        max_waiting: int | None = None,
        on_owner_death: OnOwnerDeath = "discard",
        reset: Any = None,
        reset_timeout: float = 5.0,
        ping: Any = None,
        ping_every: float = 30.0,
        max_lifetime: float | None = None,
        start_async: bool = False,
        backoff: Backoff | tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self._made_with = (
            (worker,),
            {
                "size": size,
                "overflow": overflow,
                "overflow_ttl": overflow_ttl,
                "strategy": strategy,
                "max_waiting": max_waiting,
                "on_owner_death": on_owner_death,
                "reset": reset,
                "reset_timeout": reset_timeout,
                "ping": ping,
                "ping_every": ping_every,
                "max_lifetime": max_lifetime,
                "start_async": start_async,
                "backoff": backoff,
            },
        )
        if not isinstance(worker, ChildSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"worker takes a child spec, got {worker!r}; write kb.child(Connection, ...)")
        one_of("strategy", strategy, ("lifo", "fifo"))
        one_of("on_owner_death", on_owner_death, ("discard", "reuse"))
        if max_waiting is not None:
            whole("max_waiting", max_waiting, 0)
        seconds("overflow_ttl", overflow_ttl, none=True)
        seconds("reset_timeout", reset_timeout)
        seconds("ping_every", ping_every)
        seconds("max_lifetime", max_lifetime, none=True)
        for name, call in (("reset", reset), ("ping", ping)):
            if call is not None:
                _check_message(name, call, worker.target)
        self._worker = self._accept(worker.options(restart="temporary"))
        self._desk: Desk[Cell] = Desk(
            whole("size", size, 0), whole("overflow", overflow, 0), strategy, max_waiting
        )
        if not size + overflow:
            raise UsageError("size and overflow are both 0, so nobody would ever have a worker")
        self._on_owner_death = on_owner_death
        self._reset, self._reset_timeout = reset, reset_timeout
        self._ping, self._ping_every = ping, ping_every
        self._max_lifetime = max_lifetime
        self._overflow_ttl = overflow_ttl
        self._start_async = start_async
        self._retry_after = backoff_of(backoff) or _BACKOFF
        self._checkouts = 0

    # -- start and end ------------------------------------------------------------------------------

    async def on_start(self) -> None:
        self.trap_exits()
        _bonds.hold(self._kb_cell, self)
        if self._ping is not None:
            self.me.send_interval(self._ping_every, CheckoutPool.ping_round)
        first = [self._new_worker() for _ in range(self._desk.size)]
        if self._start_async:
            for child in first:
                self._begin(child)
            return
        results = await asyncio.gather(*(self._bring_up(child) for child in first), return_exceptions=True)
        for child, failure in zip(first, results, strict=True):
            if failure is None:
                assert child.cell is not None
                self._desk.starting -= 1
                self._desk.free.append(child.cell)
                self._keep_time(child.cell)
        for failure in results:
            if failure is not None:
                await self._stop_all()
                if not isinstance(failure, Exception):
                    raise failure
                reason = failure.reason if isinstance(failure, StartError) else as_reason(failure)
                raise Stop(Shutdown(FailedToStart("worker", reason))) from failure

    # -- the desk -----------------------------------------------------------------------------------

    @message
    def checkout(self, owner: ActorRef[Any] | None, token: Any, block: bool) -> ActorRef[Any]:
        """Lend a worker to `owner`; what the handle calls. Raises `NoWorkerFree`, `TooManyWaiting`."""
        cell = None if owner is None else owner._target()
        worker = self.lend_free(cell, token)
        if worker is not None:
            return worker
        desk, request = self._desk, take_reply()
        if request is None:
            pass  # nobody waits for the answer
        elif desk.may_grow:
            self.queue_up(request, cell, token)
            self._fill()
        elif not block:
            request.fail(NoWorkerFree(f"all {desk.total} workers of {self._kb_cell.label()} are lent"))
        elif desk.may_wait:
            self.queue_up(request, cell, token)
        else:
            waiting = f"{len(desk.waiters)} wait for a worker of {self._kb_cell.label()}"
            request.fail(TooManyWaiting(f"{waiting}, which is as many as may"))
        return None  # type: ignore[return-value]  # the reply is deferred

    def lend_free(self, owner: Cell | None, token: Any) -> ActorRef[Any] | None:
        """Lend a worker if one is free. Also in the turn of anybody to whom the pool is `at_hand`."""
        worker = self._desk.take_free()
        if worker is None:
            return None
        if self._idle:
            self._not_idle(worker)
        loan = self._desk.lent[worker] = Loan(token, owner, self._kb_cell)
        loan.worker = worker
        self._checkouts += 1
        return ActorRef(worker)

    @property
    def may_queue(self) -> bool:
        """Whether one more may wait, and no worker is to be started for it: that is for the pool's own turns."""
        return self._desk.may_queue

    def queue_up(self, request: Request, owner: Cell | None, token: Any) -> None:
        """Answer with a worker as soon as there is one for `owner`. Also in others' turns if it `may_queue`."""
        waiter = self._desk.waiters[token] = Loan(token, owner, self._kb_cell)
        waiter.request = request

    @message
    def checkin(self, ref: ActorRef[Any], token: Any = None) -> None:
        """Take a worker back; one that is not lent, or is lent under another `token`, is no error."""
        worker = ref._target()
        loan = self._desk.lent.get(worker)
        if loan is not None and (token is None or loan.token == token):
            del self._desk.lent[worker]
            self._came_back(worker, loan)

    def take_back(self, worker: Cell, token: Any) -> bool:
        """Take a worker back if nothing is to be done about it but to lend it on, or keep it.

        Also in others' turns, as `lend_free`. False: `checkin` is to see to it.
        """
        desk = self._desk
        loan = desk.lent.get(worker)
        if loan is None or (token is not None and loan.token != token):
            return False
        if self._reset is not None or worker in self._expired:
            return False
        if not desk.waiters and desk.total > desk.size:
            return False
        del desk.lent[worker]
        loan.end()
        self._offer(worker)
        return True

    @message
    def cancel(self, token: Any) -> None:
        """The caller has given up waiting, or never saw the worker that it was lent."""
        waiter = self._desk.waiters.pop(token, None)
        if waiter is not None:
            waiter.end()
            return
        worker = self._desk.lent_under(token)
        if worker is not None:
            self._came_back(worker, self._desk.lent.pop(worker))

    @message
    def status(self) -> CheckoutStatistics:
        """Figures of the pool."""
        desk = self._desk
        state = "full" if not desk.free and not desk.may_grow else "overflow" if desk.extra else "ready"
        return CheckoutStatistics(
            state,
            len(desk.free),
            len(desk.lent),
            desk.starting,
            len(desk.waiters),
            desk.extra,
            self._checkouts,
            self._discarded,
            self._failed_starts,
        )

    def on_down(self, down: Down) -> None:
        """An owner, or somebody who waits, has died."""
        loan: object = down.monitor
        if not isinstance(loan, Loan):
            return
        desk, worker = self._desk, loan.worker
        if desk.waiters.get(loan.token) is loan:
            del desk.waiters[loan.token]
        elif worker is not None and desk.lent.get(worker) is loan:  # else it has been given back meanwhile
            del desk.lent[worker]
            if self._on_owner_death == "discard":
                self._discard(worker)
            else:
                self._came_back(worker, loan)

    def owner_ended(self, cell: Cell) -> None:
        """The pool itself has ended, and is held by itself to hear of it however that came."""
        assert cell.doom is not None
        for loan in (*self._desk.lent.values(), *self._desk.waiters.values()):
            loan.give_up(cell.doom)

    def _came_back(self, worker: Cell, loan: Loan) -> None:
        loan.end()
        if worker in self._expired:
            self._discard(worker)
        elif self._reset is not None:
            self._hold(worker, self._reset)
        else:
            self._offer(worker)

    def _offer(self, worker: Cell) -> None:
        """Give a worker that is nobody's to the oldest waiter; else dismiss it, or keep it."""
        desk = self._desk
        while desk.waiters:
            if self._lend(worker, desk.waiters.popitem(last=False)[1]):
                return
        if desk.total + 1 > desk.size:
            if self._overflow_ttl is None or (worker in self._idle and self._idle[worker] is None):
                self._dismiss(worker)
                return
            if worker not in self._idle:  # one that only answered a ping has been free since before
                self._idle[worker] = self._after(self._overflow_ttl, Workers._idle_too_long, worker)
        desk.free.append(worker)

    def _lend(self, worker: Cell, waiter: Loan) -> bool:
        """Hand a worker over; False when who waited has given up, and the worker is still nobody's."""
        request, waiter.request = waiter.request, None
        if request is None or not request.answer(ActorRef(worker)):
            waiter.end()
            return False
        if self._idle:
            self._not_idle(worker)
        waiter.worker = worker
        self._desk.lent[worker] = waiter
        self._checkouts += 1
        return True

    @message
    def ping_round(self) -> None:
        """Ask every free worker whether it is well."""
        for worker in list(self._desk.free):
            self._desk.free.remove(worker)
            self._hold(worker, self._ping)


_PROTOCOL = CheckoutPool._kb_info.protocol


def at_hand(cell: Cell) -> CheckoutPool | None:
    """The pool itself, when a message to it would be handled on the spot, and by its own code alone.

    Then what would be asked of it may be done without the message, for no other is passed: it is idle, on this
    thread, nobody traces it, and the turn may still go on without those who wait for theirs.
    """
    node = cell.node
    if cell.state != IDLE or cell.protocol is not _PROTOCOL:
        return None
    if not node.inline_left or get_ident() != node.thread:
        return None
    pool: CheckoutPool = cell.actor
    return pool


def _check_message(option: str, call: Any, cls: Any) -> None:
    """Raise `UsageError` unless a call is a message of the workers' class that takes no arguments."""
    info = getattr(cls, "_kb_info", None)
    entry = info.protocol.get(call) if info is not None and getattr(call, MARK, False) else None
    if entry is None:
        raise UsageError(f"{option} takes a message of the worker's class, {_shown(cls)}, got {call!r}")
    if 0 not in entry.counts:
        raise UsageError(f"{option} is called without arguments, and {entry.name} needs some")


def _shown(cls: Any) -> str:
    return str(getattr(cls, "__qualname__", cls))
