"""The trampoline's task: drives one coroutine for a cell and passes for an `asyncio.Task`.

Libraries written for asyncio look at `asyncio.current_task()`: timeouts and task groups cancel it,
anyio keeps its scopes by it, to_thread and sockets wake it from futures. So this is a `Future` with
the methods and the two private fields of a `Task` that such libraries touch, entered as the current
task around each step and stepped inside its own context. What a real `Task` costs on top, its own
entry in the loop for every step and a future for every wait on another actor, is what is left out.

The order of one wake: something settles what the coroutine waits for -> `wake` or `_future_done` ->
`step` sends or throws -> the coroutine yields the next thing to wait for, or ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ._cell import DOOMED, PARKED, QUEUED, RUNNING, STOPPING, Item
from ._wait import Wait

if TYPE_CHECKING:
    from ._cell import Cell

# What a loop's own tasks use to say which task runs; typed for `Task`, open to anything like one.
_tasks: Any = asyncio.tasks
_enter_task, _leave_task, _register_task = _tasks._enter_task, _tasks._leave_task, _tasks._register_task

# Calls that one step of a task may run on the spot. Past it a call goes through the queue, so two
# actors that only call each other still let everybody else have a turn.
INLINE_CALLS = 256

# What a task runs; the end of each means something else to its cell.
HANDLER = "handler"
START = "on_start"
STOP = "on_stop"
BODY = "body"


class CellTask(asyncio.Future[Any]):
    """Drives a coroutine on behalf of a cell."""

    # `_must_cancel` and `_fut_waiter` are read by anyio and by debuggers under these names.
    __slots__ = (
        "_cancel_msg",
        "_cancels",
        "_context",
        "_coro",
        "_error",
        "_fut_waiter",
        "_must_cancel",
        "_name",
        "_registered",
        "_round",
        "_value",
        "aborting",
        "cell",
        "item",
        "kind",
        "ready",
        "wait",
    )

    def __init__(self, cell: Cell, coro: Coroutine[Any, Any, Any], item: Item, kind: str) -> None:
        super().__init__(loop=cell.node.loop)
        self.cell = cell
        self.item = item
        self.kind = kind
        self.wait: Wait | None = None
        # Set once the cell is being ended: the coroutine only unwinds, its result is not used.
        self.aborting = False
        # For `on_start`: told how the start went, by whoever waits for it.
        self.ready: asyncio.Future[Any] | None = None
        self._coro = coro
        self._context: Context = item[3]
        self._value: Any = None
        self._error: BaseException | None = None
        self._must_cancel = False
        self._fut_waiter: asyncio.Future[Any] | None = None
        self._cancels = 0
        # anyio tells its own cancellations from others by their message, so it must get through.
        self._cancel_msg: Any = None
        # Set while the coroutine has given up the loop for one round (`sleep(0)`).
        self._round: asyncio.Handle | None = None
        self._registered = False
        self._name: str | None = None

    # -- stepping --------------------------------------------------------------------------

    def step(self) -> bool:
        """Run the coroutine to its next wait; True when it has ended and its cell lives on.

        The cell must be RUNNING or DOOMED. An end is handed to `Node.task_ended`.
        """
        cell = self.cell
        node = cell.node
        value, error = self._value, self._error
        self._value = self._error = None
        if self._must_cancel:
            self._must_cancel = False
            error = asyncio.CancelledError(*(() if self._cancel_msg is None else (self._cancel_msg,)))
            self._cancel_msg = None
        node.current = cell
        node.item = self.item
        node.tick += 1
        # When the caller has given up, the calls that are still made must fail and not run.
        request = self.item[4]
        node.inline_left = node.inline_calls if request is None or not request.done else 0
        _enter_task(node.loop, self)
        try:
            if error is None:
                yielded = self._context.run(self._coro.send, value)
            else:
                yielded = self._context.run(self._coro.throw, error)
        except StopIteration as end:
            _leave_task(node.loop, self)
            node.current = None
            return node.task_ended(self, end.value, None)
        except BaseException as failure:
            _leave_task(node.loop, self)
            node.current = None
            return node.task_ended(self, None, failure)
        _leave_task(node.loop, self)
        node.current = None
        self._waiting_for(yielded)
        return False

    def _waiting_for(self, yielded: Any) -> None:
        """The coroutine gave up the loop; arrange for what it waits for to wake it."""
        cell = self.cell
        if cell.state == RUNNING or cell.state == STOPPING:
            cell.state = PARKED
        elif cell.state == DOOMED:
            cell.node.enqueue(cell)
        if isinstance(yielded, Wait):
            self.wait = yielded
            if self._must_cancel:
                self._cancel_wait()
        elif yielded is None:
            # A round of asyncio's loop and not of our queue: after `sleep(0)` the tasks that the
            # handler has started must have begun, and sockets and timers had their turn.
            self._round = cell.node.loop.call_soon(self._round_over, context=cell.node.context)
        elif getattr(yielded, "_asyncio_future_blocking", None):
            yielded._asyncio_future_blocking = False
            if yielded is self or yielded.get_loop() is not cell.node.loop:
                what = "itself" if yielded is self else f"a future of another event loop: {yielded!r}"
                self._round = cell.node.loop.call_soon(self._round_over, context=cell.node.context)
                self._error = RuntimeError(f"{self!r} awaited {what}")
                return
            if not self._registered:
                # Only now can anybody outside of the cell have an interest in this task.
                self._registered = True
                _register_task(self)
            # In the node's context: the step enters our own, and no context can be entered twice.
            yielded.add_done_callback(self._future_done, context=cell.node.context)
            self._fut_waiter = yielded
            if self._must_cancel and yielded.cancel(self._cancel_msg):
                self._must_cancel = False
        else:
            what = f"something that is neither asyncio's nor koboshi's: {yielded!r}"
            self.wake(None, RuntimeError(f"{self!r} awaited {what}"))

    def wake(self, value: Any, error: BaseException | None) -> None:
        """What the coroutine waits for is there; go on at the cell's next turn."""
        self.wait = None
        self._value = value
        self._error = error
        cell = self.cell
        if cell.state == PARKED:
            cell.state = QUEUED
            cell.node.enqueue(cell)

    def _future_done(self, future: asyncio.Future[Any]) -> None:
        """A future that the coroutine awaits is done: the loop calls this, so go on at once."""
        if future is self._fut_waiter:  # else it was left, after this callback had been scheduled
            self._fut_waiter = None
            self._go_on()

    def _round_over(self) -> None:
        self._round = None
        self._go_on()

    def _go_on(self) -> None:
        cell = self.cell
        # A cell that is DOOMED is in the run queue, and its turn will see that nothing is awaited.
        if cell.state == PARKED and cell.task is self:
            cell.state = RUNNING
            if self.step():
                cell.rest()

    # -- ending ----------------------------------------------------------------------------

    def abort(self) -> bool:
        """Cancel the coroutine because its cell is to end; True when it is over already.

        As `Task.cancel` does, an awaited future is cancelled first and wakes us, so that the tasks
        of a task group are cancelled too and not left running.
        """
        if not self.aborting:
            self.aborting = True
            self._cancels += 1
        if self._fut_waiter is not None and self._fut_waiter.cancel():
            self.cell.state = PARKED
            return False
        self._must_cancel = True
        if self.wait is not None:
            self.wait.abandon()
            self.wait = None
        # Already done, and its callback is on the way: the cancellation goes in first.
        self._fut_waiter = None
        if self._round is not None:
            self._round.cancel()
            self._round = None
        self.step()
        return self.done()

    def close(self) -> BaseException | None:
        """End a coroutine that goes on after its cancellation; returns what it raised, if anything."""
        if self._fut_waiter is not None:
            self._fut_waiter.remove_done_callback(self._future_done)
            self._fut_waiter.cancel()
            self._fut_waiter = None
        if self._round is not None:
            self._round.cancel()
        node = self.cell.node
        failure: BaseException | None = None
        outer, node.current = node.current, self.cell
        _enter_task(node.loop, self)  # what unwinds may look for the task that it has entered
        try:
            self._context.run(self._coro.close)
        except BaseException as error:
            failure = error
        _leave_task(node.loop, self)
        node.current = outer
        self.finish(None)
        return failure

    def finish(self, value: Any) -> None:
        """Make the future part agree that the coroutine is over."""
        if not self.done():
            self.set_result(value)

    # -- what libraries ask of a task --------------------------------------------------------

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask for a `CancelledError` in the coroutine at its next step, as `asyncio.Task.cancel` does."""
        if self.done():
            return False
        self._cancels += 1
        if self._fut_waiter is not None and self._fut_waiter.cancel(msg):
            return True
        self._must_cancel = True
        self._cancel_msg = msg
        if self.wait is not None:
            self._cancel_wait()
        return True

    def _cancel_wait(self) -> None:
        """Leave the wait on another actor and go on with the cancellation."""
        wait, self.wait = self.wait, None
        assert wait is not None
        wait.abandon()
        self.wake(None, None)

    def cancelling(self) -> int:
        """How many cancellations have been asked for and not taken back."""
        return self._cancels

    def uncancel(self) -> int:
        """Take one cancellation back; returns how many are left."""
        if self._cancels > 0:
            self._cancels -= 1
            if self._cancels == 0:
                self._must_cancel = False
        return self._cancels

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        """The coroutine that this task drives."""
        return self._coro

    def get_context(self) -> Context:
        """The context in which it runs."""
        return self._context

    def get_name(self) -> str:
        """The cell's label, unless a name was set."""
        return self._name if self._name is not None else self.cell.label()

    def set_name(self, value: object) -> None:
        """Give the task a name of its own."""
        self._name = str(value)

    def get_stack(self, *, limit: int | None = None) -> list[Any]:
        """The innermost frame of the suspended coroutine, as debuggers ask for it."""
        frame = getattr(self._coro, "cr_frame", None)
        return [] if frame is None else [frame]

    def print_stack(self, *, limit: int | None = None, file: Any = None) -> None:
        """Print the coroutine's stack, as `asyncio.Task.print_stack` does."""
        asyncio.base_tasks._task_print_stack(self, limit, file)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<CellTask {self.kind} of {self.cell.label()}>"
