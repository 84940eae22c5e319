"""A supervisor as the root of a program: `async with`, and methods that go through its mailbox."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, cast

from .._kernel._bonds import Monitor, monitor
from .._kernel._cell import NO_KWARGS, Cell
from .._kernel._end import gone
from .._kernel._errors import SupervisorGaveUp, UsageError
from .._kernel._message import Message, message
from .._kernel._node import this_node
from .._kernel._reasons import KILLED, SHUTDOWN, Down, ExitReason, GaveUp, Shutdown, first_error
from .._kernel._ref import ActorRef
from .._kernel._start import launch
from .._kernel._task import START
from .._kernel._watchdog import watch
from ._child import expect_start, wait_start

if TYPE_CHECKING:
    from .._kernel._actor import Actor

S = TypeVar("S", bound="Actor")
P = ParamSpec("P")
R = TypeVar("R")


def request(
    fn: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Message[S, P, R, Coroutine[Any, Any, R]]:
    """A message that may also be called as a method on the object itself, from anywhere on the loop.

    `await tree.start_child(spec)` on the object that `async with` gave must not run beside the
    supervisor's own turn, so from outside it becomes a call to the supervisor, without a deadline.
    """

    @functools.wraps(fn)
    async def run(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        cell = self._kb_running()
        if cell.node.current is cell:
            return await fn(self, *args, **kwargs)
        ref: ActorRef[S] = ActorRef(cell, within=None)
        return await ref.call(marked, *args, **kwargs)

    marked: Message[S, P, R, Coroutine[Any, Any, R]] = message(cast("Any", run))
    return marked


class RootContext:
    """What makes a supervisor an `async with`: it starts, guards the body, and stops in reverse."""

    if TYPE_CHECKING:
        _kb_cell: Cell
        _kb_info: Any

    _root_task: asyncio.Task[Any] | None = None
    _exit_reason: ExitReason | None = None
    _cancelled_body = False
    _owner: Monitor | None = None

    async def __aenter__(self) -> Self:
        node = this_node()
        if self._root_task is not None:
            raise UsageError(f"{self!r} was entered before; make a new one, its children have ended with it")
        self._root_task = asyncio.current_task()
        self._unwatch = watch(node)
        node.trees += 1
        owner = node.current
        try:
            cell = launch(node, self._kb_info, (), NO_KWARGS, owner, make=lambda: self)
            await self._wait_up(cell)
        except BaseException:
            self._unwatch()
            await node.tree_ended()
            raise
        if owner is not None:
            # A monitor and no link: the end of the tree is to be an exception in the body, and the end
            # of the actor whose handler has the body is to end the tree, even when it was killed.
            self._owner = monitor(cell, owner, ActorRef(owner))
        self._guard = asyncio.ensure_future(self._guard_body(cell))
        return self

    async def _wait_up(self, cell: Cell) -> None:
        """Wait for the start; a cancelled wait stops in reverse what has been started so far."""
        ready = expect_start(cell)
        if ready is None:
            return
        try:
            await wait_start(cell, ready, None)
        except asyncio.CancelledError:
            if cell.task is not None and cell.task.kind is START:
                cell.task.cancel()
            else:
                _ask_to_end(cell)
            await self._see_end(cell, hurried=False)
            raise

    def on_down(self, down: Down) -> Any:
        """The actor in whose handler this tree was entered has ended."""
        if down.monitor is self._owner:
            self._kb_cell.condemn(down.reason)
            return None
        return super().on_down(down)  # type: ignore[misc]

    async def _see_end(self, cell: Cell, *, hurried: bool) -> None:
        """Wait until the tree has ended.

        A first cancellation of this wait, as by a signal after the body's own end, is kept until the tree
        has stopped in good order; in a hurry, as it is from the second one on, the tree is killed.
        """
        cancelled: asyncio.CancelledError | None = None
        waiting = asyncio.ensure_future(_gone((cell,)))
        while not waiting.done():
            try:
                await asyncio.shield(waiting)
            except asyncio.CancelledError as error:
                cancelled = error
                if hurried:
                    waiting.cancel()
                    waiting = asyncio.ensure_future(_gone(_kill_tree(cell)))
                hurried = True
        self._exit_reason = cell.doom
        if cancelled is not None:
            raise cancelled

    async def _guard_body(self, cell: Cell) -> None:
        """Interrupt the body of the `async with` when the supervisor ends under it."""
        self._exit_reason = await gone(cell)
        self._cancelled_body = True
        assert self._root_task is not None
        self._root_task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._guard.cancel()
        try:
            if self._exit_reason is None:
                _ask_to_end(self._kb_cell)
                await self._see_end(self._kb_cell, hurried=isinstance(error, asyncio.CancelledError))
        finally:
            self._unwatch()
            await self._kb_cell.node.tree_ended()
        ours = False
        if self._cancelled_body and self._root_task is not None:
            ours = self._root_task.uncancel() == 0 and isinstance(error, asyncio.CancelledError)
        reason = self._exit_reason
        if reason is not None and not reason.clean and (error is None or ours):
            raise gave_up(reason)
        return ours


async def _gone(cells: Iterable[Cell]) -> None:
    for cell in cells:
        await gone(cell)


def _kill_tree(root: Cell) -> list[Cell]:
    """Kill a supervisor and all below it, since one that is in its `on_stop` does not heed its links."""
    killed = [cell for cell in root.node.cells.values() if _is_below(cell, root)]
    for cell in killed:
        cell.condemn(KILLED, kill=True)
    return killed


def _is_below(cell: Cell | None, root: Cell) -> bool:
    while cell is not None and cell is not root:
        cell = cell.parent
    return cell is root


def _ask_to_end(cell: Cell) -> None:
    """Have the supervisor stop its children and end, as its parent would ask it to."""
    cell.post((cell.info.parent_exit, SHUTDOWN, None, copy_context(), None))


def gave_up(reason: ExitReason) -> SupervisorGaveUp:
    """The error for a root supervisor that ended on its own, with the first failure as its cause."""
    detail = reason.detail if isinstance(reason, Shutdown) else None
    if isinstance(detail, GaveUp):
        text = f"the child {detail.child!r} ended too often, the last time with {detail.reason!r}"
    else:
        text = f"the supervisor ended with {reason!r}"
    error = SupervisorGaveUp(text, reason)
    error.__cause__ = first_error(reason)
    return error
