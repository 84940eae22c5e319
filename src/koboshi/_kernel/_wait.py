"""What a parked task waits for: a reply, a message, or room in a mailbox.

None of these is an asyncio future. A task parks by yielding its `Wait` to the trampoline, and
whoever has the answer puts the task's cell straight into the run queue. Plain asyncio code
cannot yield to our trampoline, so for it the same `Wait` carries a future.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol

from ._cell import DOOMED, REMOTE
from ._errors import ActorExited, CallTimeout
from ._reasons import ExitReason

if TYPE_CHECKING:
    from ._cell import Cell, Item
    from ._task import CellTask


class Cancellable(Protocol):
    """What can be called off, such as a timer."""

    def cancel(self) -> object: ...


class Wait:
    """Something that one task waits for. It is settled once; what comes later goes nowhere."""

    __slots__ = ("done", "future", "settled", "task")

    def __init__(self) -> None:
        self.done = False
        # The outcome, when it came before anybody began to wait for it.
        self.settled: tuple[Any, BaseException | None] | None = None
        self.task: CellTask | None = None
        self.future: asyncio.Future[Any] | None = None

    def wake(self, value: Any, error: BaseException | None) -> bool:
        """Settle with a value or an error; False when it was settled or abandoned before."""
        if self.done:
            return False
        self.done = True
        if self.task is not None:
            self.task.wake(value, error)
        elif self.future is not None and not self.future.done():
            if error is None:
                self.future.set_result(value)
            else:
                self.future.set_exception(error)
        else:
            self.settled = value, error
        return True

    def abandon(self) -> None:
        """The waiter has gone: whoever was to answer need not."""
        self.done = True
        self.task = None

    def mail(self, item: Item) -> None:
        """New mail reached the cell whose task waits here; only `receive` cares."""

    async def outcome(self, task: CellTask | None, loop: asyncio.AbstractEventLoop) -> Any:
        """Wait for the value: parked on the trampoline as `task`, or on a future as anybody else."""
        if self.settled is not None:
            if task is not None and task.cell.state == DOOMED:
                await park(Wait())  # whose end has been decided meanwhile gets no further
            value, error = self.settled
            if error is not None:
                raise error
            return value
        if task is not None:
            self.task = task
            return await park(self)
        self.future = loop.create_future()
        try:
            return await self.future
        finally:
            self.done = True
            if self.future.done() and not self.future.cancelled():
                self.future.exception()  # seen, even if the waiter was cancelled at that very moment


@types.coroutine
def park(wait: Wait) -> Generator[Wait, Any, Any]:
    """Give the wait to the trampoline; it comes back with the value."""
    return (yield wait)


class Request(Wait):
    """One call in flight.

    `started` becomes True when the callee begins on it; from then on a failure has to say that
    it may have been executed. `deferred` is True when the handler has returned and the reply
    will come later, from it or from somebody else.
    """

    __slots__ = ("began", "deadline", "deferred", "message", "started", "target", "timer")

    def __init__(self, target: Cell, message: Any, began: float, deadline: float | None) -> None:
        self.done = False
        self.settled = None
        self.task = None
        self.future = None
        self.target = target
        self.message = message
        self.began = began
        self.deadline = deadline
        self.started = False
        self.deferred = False
        # Cancelled when nobody waits any more: the deadline's timer, or what a route keeps of the call.
        self.timer: Cancellable | None = None

    def due_from(self, cell: Cell) -> bool:
        """Whether what this cell's handler returns is the reply: it is neither deferred nor forwarded."""
        return not self.deferred and self.started and self.target is cell

    def answer(self, value: Any) -> bool:
        """Give the caller its reply; False when it has one already or has given up."""
        return self.wake(value, None)

    def fail(self, error: BaseException) -> bool:
        """Give the caller an error instead of a reply."""
        return self.wake(None, error)

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        if not self.done:
            self.fail(
                CallTimeout(
                    self.target.label(),
                    _name(self.message),
                    now - self.began,
                    maybe_executed=self.started,
                    elsewhere=self.target.state == REMOTE,
                )
            )

    def overdue(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the deadline has passed; a loop that was held up may not have come to its timer yet."""
        if self.deadline is None or (now := loop.time()) < self.deadline:
            return False
        self.expire(now)
        return True

    def target_ended(self, reason: ExitReason) -> None:
        """The callee ended without answering."""
        if not self.done:
            self.fail(
                ActorExited(self.target.label(), _name(self.message), reason, maybe_executed=self.started)
            )


def _name(message: Any) -> str:
    return str(getattr(message, "__qualname__", message))


class ReceiveWait(Wait):
    """A bare process waits for a message that one of its selectors accepts."""

    __slots__ = ("accepts", "cell", "taken")

    def __init__(self, cell: Cell, accepts: Callable[[Any], bool] | None) -> None:
        super().__init__()
        self.cell = cell
        self.accepts = accepts
        # What was taken out of the mailbox for this wait, and where from.
        self.taken: tuple[int, Item] | None = None

    def mail(self, item: Item) -> None:
        message = item[1]
        try:
            wanted = self.accepts is None or self.accepts(message)
        except BaseException as error:  # the receiver's mistake must not hit the sender, whose stack this is
            self.wake(None, error)
            return
        if wanted:
            mailbox = self.cell.mailbox
            assert mailbox is not None
            mailbox.pop()  # it is the newest: `mail` is called as it arrives
            self.taken = len(mailbox), item
            self.wake(message, None)
