"""What a supervisor does when a child has ended: the verdicts of `_restart`, carried out.

A failed restart is retried by a message to itself, so that the supervisor answers requests between two
attempts, each of which spends from the budget. One child restarted alone is not waited for. A group
is: its members are stopped in reverse order, marked "restarting", and started in order; when one does
not start, it is the one to be retried, and those behind it stay marked.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from .._kernel._cell import DEAD, NO_KWARGS
from .._kernel._errors import NameTaken, StartError
from .._kernel._events import GivenUp, Parked, Restarted, RestartFailed
from .._kernel._reasons import NORMAL, SHUTDOWN, Exit, ExitReason, GaveUp, Shutdown, as_reason
from .._kernel._start import Ignored
from ._child import ON_THE_WAY, Child
from ._children import Children
from ._restart import (
    AutoShutdown,
    Backoff,
    Budget,
    Strategy,
    affected,
    auto_shuts_down,
    refund,
    should_restart,
)

Step = Coroutine[Any, Any, None] | None


class Restarting(Children):
    """Children, and what follows when one of them ends."""

    def __init__(
        self, strategy: Strategy, budget: Budget, auto_shutdown: AutoShutdown, backoff: Backoff | None
    ) -> None:
        super().__init__()
        self._strategy: Strategy = strategy
        self._budget = budget
        self._auto_shutdown: AutoShutdown = auto_shutdown
        self._backoff = backoff
        # When restarts spent from the budget, as far back as its window goes.
        self._history: tuple[float, ...] = ()
        self._restarts = 0
        # The member of a group that keeps the ones behind it waiting.
        self._retrying: Child | None = None

    def on_exit(self, exit: Exit) -> Step:
        cell = exit.sender._cell
        child = self._by_cell.get(cell)
        if child is not None and child.cell is cell and cell.state == DEAD:
            return self._ended(child, exit.reason)
        if cell.parent is not self._kb_cell or cell.state != DEAD:
            self.on_info(exit)  # a stranger's signal, or one that a child sent while it lives
        return None

    def _ended(self, child: Child, reason: ExitReason) -> Step:
        assert child.cell is not None
        self._by_cell.pop(child.cell, None)
        child.cell = child.place.cell = None
        child.last = reason
        child.attempt += 1
        backoff = child.spec.backoff or self._backoff
        if backoff is None or backoff.forgets(self._kb_cell.node.loop.time() - child.up_since):
            child.failures = 0
        if should_restart(child.spec.restart, reason):
            return self._restart(child)
        child.status = "stopped"
        self._over(child)
        others = any(
            each.spec.significant and (each.status == "running" or each.status in ON_THE_WAY)
            for each in self._children.values()
        )
        if auto_shuts_down(
            self._auto_shutdown,
            significant=child.spec.significant,
            restart=child.spec.restart,
            reason=reason,
            others_active=others,
        ):
            self.stop(SHUTDOWN)
        return None

    def _over(self, child: Child) -> None:
        """A child has ended by itself and is not restarted."""
        if child.spec.restart == "temporary":
            self._forget(child)

    # -- restarts --------------------------------------------------------------------------------

    def _restart(self, child: Child) -> Step:
        """Spend from the budget; then restart a child that failed, and whom its strategy takes with it."""
        now = self._kb_cell.node.loop.time()
        self._history, allowed = self._budget.spend(self._history, now)
        # Without a budget of its own it is refused no earlier, but what it spent is still to be known.
        child.history, allowed_own = (child.spec.budget or self._budget).spend(child.history, now)
        if not (allowed and allowed_own):
            return self._give_up(child)
        child.failures += 1
        backoff = child.spec.backoff or self._backoff
        delay = 0.0 if backoff is None else backoff.delay(child.failures, random.random)
        if self._strategy != "one_for_one":
            return self._restart_group(child, delay)
        if delay > 0:
            child.status = "backing_off"
            self._retry(child, delay)
        else:
            self._restart_alone(child)
        return None

    def _retry(self, child: Child, delay: float) -> None:
        cell = self._kb_cell
        item = (Restarting._again, (child, child.attempt), NO_KWARGS, copy_context(), None)
        if delay > 0:
            cell.node.loop.call_later(delay, cell.post, item, context=cell.node.context)
        else:
            cell.post(item)

    def _again(self, child: Child, attempt: int) -> Step:
        """The wait before a restart is over, or a failed one is to be tried again."""
        if child.attempt != attempt:
            return None  # it was stopped, deleted or started by hand meanwhile
        if child.status != "backing_off":
            return self._restart(child)
        if self._strategy != "one_for_one":
            return self._restart_group(child, 0.0)
        self._restart_alone(child)
        return None

    def _restart_alone(self, child: Child) -> None:
        child.status = "restarting"
        try:
            self._start_in_background(child, None)
        except (StartError, NameTaken, Ignored) as error:
            self._not_up(child, error)
        else:
            if child.cell is not None:
                self._restarted(child)

    async def _restart_group(self, failed: Child, delay: float) -> None:
        failed.status = "backing_off" if delay > 0 else "restarting"
        order = tuple(self._children)
        members = [self._children[id] for id in affected(self._strategy, order, failed.id)]
        for child in reversed(members):
            if child is failed or child.status == "parked":
                continue
            await self._stop(child)
            if child.spec.restart == "temporary":
                self._forget(child)
            else:
                child.status = "restarting"
        if delay > 0:
            self._retrying = failed
            self._retry(failed, delay)
        else:
            await self._start_pending()

    async def _start_pending(self) -> None:
        """Start the members that a group restart has stopped, up to the first that does not start."""
        self._retrying = None
        for child in tuple(self._children.values()):
            if child.status != "restarting":
                continue
            try:
                await self._bring_up(child)
            except (StartError, NameTaken, Ignored) as error:
                self._not_up(child, error)
                if not isinstance(error, Ignored):
                    self._retrying = child
                    return
            else:
                self._restarted(child)

    def _restarted(self, child: Child) -> None:
        child.restarts += 1
        self._restarts += 1
        instruments = self._kb_cell.node.instruments
        if instruments.wants(Restarted.level):
            reason = child.last or NORMAL
            instruments.emit(Restarted(self._kb_cell.label(), repr(child.id), reason, child.restarts))

    def _not_up(self, child: Child, error: Exception) -> None:
        if isinstance(error, Ignored):
            self._leave_down(child)
            return
        child.last = error.reason if isinstance(error, StartError) else as_reason(error)
        child.status = "restarting"
        child.attempt += 1
        instruments = self._kb_cell.node.instruments
        instruments.emit(RestartFailed(self._kb_cell.label(), repr(child.id), child.last))
        self._retry(child, 0.0)

    def _give_up(self, child: Child) -> Step:
        last = child.last or NORMAL
        label, instruments = self._kb_cell.label(), self._kb_cell.node.instruments
        child.attempt += 1
        if child.spec.on_give_up == "escalate":
            child.status = "stopped"
            instruments.emit(GivenUp(label, repr(child.id), last))
            self.stop(Shutdown(GaveUp(child.id, last)))
            return None
        child.status = "parked"
        # Its siblings keep their share of the budget, and a restart by hand begins anew.
        self._history = refund(self._history, child.history)
        child.history, child.failures = (), 0
        instruments.emit(Parked(label, repr(child.id), last))
        self._tell_ready()
        return self._start_pending() if self._retrying is child else None
