"""What a call waits under, whoever makes it: its deadline, its caller's task, and no cycle of callers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from ._cell import REMOTE, Cell
from ._errors import CallCycle, CallTimeout, UsageError
from ._message import describe
from ._wait import Request, Wait

if TYPE_CHECKING:
    from ._node import Node
    from ._route import RemoteCell
    from ._task import CellTask

DEFAULT_DEADLINE = 5.0


def check_within(seconds: object) -> None:
    """Raise `UsageError` unless it is a time for `within`: seconds >= 0, or None."""
    if seconds is None:
        return
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
        raise UsageError(f"within takes seconds >= 0 or None, got {seconds!r}")


def set_deadline(request: Request, seconds: float | None, caller: Cell | None) -> None:
    """Give a call its deadline: its own, or the one that the caller itself is under, if sooner."""
    own = None if seconds is None else request.began + seconds
    inherited = deadline_of(caller)
    if inherited is not None and (own is None or inherited < own):
        request.deadline = inherited
        if inherited <= request.began:
            raise CallTimeout(request.target.label(), describe(request.message), 0.0, maybe_executed=False)
        request.target.node.deadlines.add_once(request, inherited)
    elif own is not None and seconds is not None:
        request.deadline = own
        request.target.node.deadlines.add(request, seconds)


def deadline_of(caller: Cell | None) -> float | None:
    """The loop's time by which the call in hand is to be answered, if there is one."""
    if caller is None or caller.task is None:
        return None
    request = caller.task.item[4]
    return None if request is None else request.deadline


def promised(cell: Cell, what: object, within: float | None) -> Request:
    """A call that no message stands for: whoever is given it may answer at any time.

    Its maker awaits the outcome, and then says `given_up`. One that only the cell will answer is owed by it.
    """
    request = Request(cell, what, cell.node.loop.time(), None)
    request.deferred = request.started = True
    set_deadline(request, within, cell.node.current)
    return request


def own_task(caller: Cell | None, node: Node) -> CellTask | None:
    """The caller's task, if it is what runs now and not an asyncio task started by its handler."""
    if caller is None or caller.task is None:
        return None
    # Typed for `Task`; a `CellTask` passes for one.
    running = cast("object", asyncio.current_task(node.loop))
    return caller.task if running is caller.task else None


def given_up(request: Request) -> None:
    """Nobody waits for the request any more: its deadline and its target need not keep it."""
    request.done = True
    request.future = None  # which has the reply, and a deadline's queue may keep the request for seconds
    if request.timer is not None:
        request.timer.cancel()


def refuse_cycle(caller: Cell, target: Cell, message: Any) -> RemoteCell | None:
    """Raise `CallCycle` when the target waits, through any chain of calls, for the caller.

    Returns the cell of another node that the target waits for, if the chain goes on there.
    """
    path = [caller.label()]
    cell = target
    for _ in range(len(cell.node.cells) + 1):
        path.append(cell.label())
        if cell is caller:
            raise CallCycle(path, describe(message))
        wait: Wait | None = None if cell.task is None else cell.task.wait
        if not isinstance(wait, Request) or wait.done or wait.deferred:
            break
        cell = wait.target
    return cast("RemoteCell", cell) if cell.state == REMOTE else None
