"""Where the value of one task arrives, and how its owner waits for the values of several.

A `Result` is settled once: by the value, which the task sends before it ends, or by the end of the
task when no value came. Both reach it in that order, from this node or from another one. It is a
watch over the task's process and no monitor, so nothing of it ever lies in its owner's mailbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..._kernel._bonds import bonds_of
from ..._kernel._calls import own_task  # pyright: ignore[reportPrivateUsage]
from ..._kernel._cell import DEAD, Cell
from ..._kernel._node import Node
from ..._kernel._reasons import NOPROC, Crashed, ExitReason
from ..._kernel._wait import Request, Wait
from ._outcomes import Failed, Ok, Outcome


class Listener(Protocol):
    """Who is to hear, at once and once, that a result is there."""

    def heard(self, result: Result) -> None: ...


class Result(Request):
    """The value of one task, or why there is none."""

    __slots__ = ("listener", "verdict")

    def __init__(self, target: Cell, fn: Any, began: float) -> None:
        # The fields of a request, one by one: three constructors in a row would cost a task a tenth of its time.
        self.done = False
        self.settled = self.task = self.future = self.timer = self.deadline = None
        self.target = target
        self.message = fn
        self.began = began
        # As for a call whose reply comes later: only a reply or an end settles it.
        self.deferred = self.started = True
        self.verdict: Outcome[Any] | None = None
        self.listener: Listener | None = None

    def wake(self, value: Any, error: BaseException | None) -> bool:
        """The task's reply; what could not be sent back from another node is an error."""
        if self.done:
            return False
        self._settle(Ok(value) if error is None else Failed(Crashed(error)))
        return True

    def fire(self, reason: ExitReason) -> None:
        """The task's process has ended. A value that has arrived stays."""
        if not self.done:
            self._settle(Failed(reason))

    def target_ended(self, reason: ExitReason) -> None:
        """The same, as the route tells of it when a node is lost."""
        self.fire(reason)

    def _settle(self, outcome: Outcome[Any]) -> None:
        self.done = True
        self.verdict = outcome
        if self.timer is not None:  # what the route keeps for a reply that may not come any more
            self.timer.cancel()
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.heard(self)

    def watch(self) -> None:
        """Have `fire` called when the process ends, at once if it has ended."""
        cell = self.target
        if cell.state == DEAD:
            self.fire(cell.doom or NOPROC)
            return
        bonds = bonds_of(cell)
        if bonds.watched_by is None:
            bonds.watched_by = {}
        bonds.watched_by[self] = None

    def hear_last(self) -> None:
        """Have `target_ended` called when the process ends, after all others that are told.

        Only of a process of this node that has just been made: it takes the place of a call in hand.
        """
        self.target.held = (self, None, False)

    def give_up(self) -> None:
        """Nobody wants the value any more: what comes later goes nowhere."""
        self.done = True
        self.listener = None
        if self.timer is not None:
            self.timer.cancel()
        bonds = self.target.bonds
        if bonds is not None and bonds.watched_by is not None:
            bonds.watched_by.pop(self, None)


class Gathering(Wait):
    """Waits until so many of some results are there, or until one of them is a failure."""

    __slots__ = ("fail_fast", "failed", "missing", "results")

    def __init__(self, results: Sequence[Result], count: int, *, fail_fast: bool) -> None:
        super().__init__()
        self.results = results
        self.fail_fast = fail_fast
        self.missing = count
        # The first failure in time, which need not be the first in order.
        self.failed: Result | None = None

    def heard(self, result: Result) -> None:
        """One more is there."""
        self.missing -= 1
        if self.failed is None and isinstance(result.verdict, Failed):
            self.failed = result
        if self.missing <= 0 or (self.fail_fast and self.failed is not None):
            self.wake(None, None)

    async def wait(self, node: Node, until: float | None) -> None:
        """Return when what is waited for is there, or at the loop's time `until`."""
        for result in self.results:
            if result.verdict is not None:
                self.heard(result)
        if self.done:
            return
        for result in self.results:
            if result.verdict is None:
                result.listener = self
        timer = None
        if until is not None:
            timer = node.loop.call_at(until, self.wake, None, None, context=node.context)
        try:
            await self.outcome(own_task(node.current, node), node.loop)
        finally:
            self.done = True
            if timer is not None:
                timer.cancel()
            for result in self.results:
                if result.listener is self:
                    result.listener = None
