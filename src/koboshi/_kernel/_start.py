"""How a cell begins. Every start passes through here.

A start that fails walks the way of an end before its caller hears of it, so a retry never meets its own remains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from ._cell import IDLE, NO_KWARGS, QUEUED, Cell, Item
from ._end import Stop, end, gone, hear_by_error, report
from ._errors import KoboshiError, NameTaken, StartError, StartTimeout
from ._events import Started
from ._reasons import KILLED, NORMAL, Crashed, ExitReason, Killed
from ._task import BODY, START, CellTask

if TYPE_CHECKING:
    from ._actor import ActorClass
    from ._node import Node


class Ignored(KoboshiError):
    """`on_start` returned `IGNORE`: nothing was started, and that is no error to a supervisor."""


class _Ignore:
    def __repr__(self) -> str:
        return "koboshi.IGNORE"


#: What `on_start` returns when there is nothing to start.
IGNORE = _Ignore()


def launch(
    node: Node,
    info: ActorClass,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parent: Cell | None,
    prepare: Callable[[Cell], None] | None = None,
    make: Callable[..., Any] | None = None,
) -> Cell:
    """Make a cell and its actor. `on_start` has run, unless it is a coroutine: then `started` waits for it.

    Args:
        prepare: sets links, names and options before any user code runs.
        make: makes the actor instead of its class.

    Raises:
        StartError: `__init__` or `on_start` raised, or asked to stop.
        NameTaken: raised by `prepare`; nothing was run.
    """
    cell = Cell(node, info, parent)
    outer, outer_item = node.current, node.item
    context = copy_context()
    try:
        if prepare is not None:
            prepare(cell)
        node.current = cell
        # Like a cast: a start that asks for the reply in hand must not get its starter's.
        node.item = (info.cls, (), NO_KWARGS, context, None)
        maker: Callable[..., Any] = make or info.cls
        actor: Any = context.run(maker, *args, **kwargs) if args or kwargs else context.run(maker)
        actor._kb_cell = cell
        cell.actor = actor
        result: Any = None if info.on_start is None else context.run(info.on_start, actor)
    except BaseException as error:
        node.current, node.item = outer, outer_item
        failure = start_failed(cell, error)
        if failure is error or isinstance(error, KeyboardInterrupt):
            raise
        raise failure from failure.__cause__
    node.current, node.item = outer, outer_item
    if result is None and cell.doom is None:
        is_up(cell)
    elif result.__class__ is CoroutineType:
        coro = cast("Coroutine[Any, Any, Any]", result)
        cell.task = CellTask(cell, coro, (info.cls.on_start, (), NO_KWARGS, context, None), START)
        cell.state = QUEUED
        node.enqueue(cell)
    elif cell.doom is not None or result is IGNORE:
        raise start_failed(cell, Ignored(info.name) if cell.doom is None else Stop(cell.doom))
    else:
        is_up(cell)
    return cell


def is_up(cell: Cell) -> None:
    """The start is complete: take messages."""
    if cell.info.on_stop is not None:
        cell.stop_due = True
    if cell.node.instruments.lifecycle:
        cell.node.instruments.emit(Started(cell.label()))
    if cell.mailbox is None and cell.traits is None:
        cell.state = IDLE
    else:
        cell.rest()


def start_failed(cell: Cell, error: BaseException) -> BaseException:
    """Undo a start; returns what its caller is to see."""
    if isinstance(error, Ignored | NameTaken):
        reason: ExitReason = NORMAL
    elif isinstance(error, Stop):
        reason = error.reason
    else:
        reason = Crashed(error)
        report(cell, error, "__init__", copy_context())
    hear_by_error(cell)
    end(cell, reason)
    if isinstance(error, Ignored | NameTaken):
        return error
    return StartError(cell.label(), reason)


async def started(cell: Cell, timeout: float | None) -> None:
    """Wait for a coroutine `on_start`; returns at once for any other.

    Raises:
        StartError, StartTimeout, Ignored: it failed, and nothing of it is left.
    """
    task = cell.task
    if task is None or task.kind is not START:
        return
    task.ready = cell.node.loop.create_future()
    try:
        async with asyncio.timeout(timeout):
            failure = await asyncio.shield(task.ready)
    except BaseException as error:
        hear_by_error(cell)
        cell.condemn(KILLED, kill=True)
        if isinstance(error, TimeoutError):
            await gone(cell)
            reason = Killed(f"on_start took longer than {timeout:g} s")
            raise StartTimeout(cell.label(), reason) from None
        raise
    if failure is not None:
        raise failure


def start_ended(task: CellTask, value: Any, failure: BaseException | None) -> None:
    """A coroutine `on_start` is over."""
    cell = task.cell
    if failure is None and cell.doom is None and value is not IGNORE:
        if task.ready is not None:
            task.ready.set_result(None)
        is_up(cell)
        return
    if failure is None:
        failure = Stop(cell.doom) if cell.doom is not None else Ignored(cell.info.name)
    ready = task.ready
    error = start_failed(cell, failure)
    if ready is not None and not ready.done():
        ready.set_result(error)


def run_body(cell: Cell, coro: Coroutine[Any, Any, Any], item: Item) -> None:
    """Give a bare process its coroutine; it begins at its first turn."""
    cell.task = CellTask(cell, coro, item, BODY)
    cell.state = QUEUED
    cell.node.enqueue(cell)
