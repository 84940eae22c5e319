"""How a cell begins and how it ends. Every start and every end passes through here.

The end, in order: the coroutine in hand is cancelled and unwinds; `on_stop` runs (never after a
kill); all that others could see is released (names, timers, aliases); a reply promised by the last
handler leaves; links and monitors are told; calls that wait in vain are failed. A start that fails
walks the same way back before its caller hears of it, so a retry never meets its own remains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from . import _bonds
from ._cell import (
    DEAD,
    DOOMED,
    IDLE,
    NO_KWARGS,
    NO_PROTOCOL,
    QUEUED,
    RUNNING,
    STOPPING,
    SUSPENDED,
    Cell,
    Item,
)
from ._context import correlation_id
from ._errors import KoboshiError, NameTaken, NotRunning, StartError, StartTimeout
from ._events import CrashReport, Ended, Started, Stubborn
from ._message import describe
from ._reasons import KILLED, NORMAL, Crashed, ExitReason, Killed, Shutdown, as_reason
from ._task import BODY, HANDLER, START, STOP, CellTask

if TYPE_CHECKING:
    from ._actor import Actor, ActorClass
    from ._node import Node

# Characters of an actor's state in a crash report.
MAX_STATE = 2_000
# How long a killed coroutine may await in its `finally` blocks before it is closed by force.
KILL_GRACE = 0.1


class Stop(BaseException):
    """Raise it anywhere in a process to end that process now, with `reason`; no crash is reported.

    It is no `Exception`, so that `except Exception` in between does not keep the process alive.
    """

    def __init__(self, reason: object = NORMAL) -> None:
        super().__init__(reason)
        self.reason = as_reason(reason)


class Ignored(KoboshiError):
    """`on_start` returned `IGNORE`: nothing was started, and that is no error to a supervisor."""


class _Ignore:
    def __repr__(self) -> str:
        return "koboshi.IGNORE"


#: What `on_start` returns when there is nothing to start.
IGNORE = _Ignore()


# -- beginning ---------------------------------------------------------------------------------


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


def hear_by_error(cell: Cell) -> None:
    """Untie a cell that did not start from its starter, who gets an error; other links fire."""
    if cell.parent is not None:
        _bonds.unlink(cell, cell.parent)


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


async def gone(cell: Cell, timeout: float | None = None) -> ExitReason | None:
    """Wait until the cell has ended; its reason, or None when `timeout` seconds went by first."""
    if cell.state == DEAD:
        return cell.doom
    bonds = _bonds.bonds_of(cell)
    future: asyncio.Future[ExitReason] = cell.node.loop.create_future()
    if bonds.waiters is None:
        bonds.waiters = []
    bonds.waiters.append(future)
    try:
        async with asyncio.timeout(timeout):
            return await future
    except TimeoutError:
        return None
    finally:
        if future in bonds.waiters:
            bonds.waiters.remove(future)


# -- ending ------------------------------------------------------------------------------------


def crash(cell: Cell, error: BaseException, item: Item) -> None:
    """An exception escaped from the cell's code, or a rule broke it: report, and condemn."""
    if isinstance(error, Stop):
        reason = error.reason
    else:
        reason = Crashed(error)
        report(cell, error, describe(item[0]), item[3])
    if item[4] is not None and cell.held is None and item[4].target is cell:  # else: forwarded
        cell.held = (item[4], None, False)
    if cell.task is None and cell.state != DOOMED and not isinstance(cell.doom, Killed):
        cell.doom = None  # it had asked for its end itself, and did not get there
    cell.condemn(reason)


def report(cell: Cell, error: BaseException, message: str, context: Context) -> None:
    """Emit the crash report, if anybody wants it; `context` is the one that the code ran in."""
    if not cell.node.instruments.wants(CrashReport.level):
        return
    cell.node.instruments.emit(
        CrashReport(
            process=cell.label(),
            error=error,
            message=message,
            state="-" if cell.actor is None else shown_state(cell.actor),
            links=() if cell.bonds is None else tuple(peer.label() for peer in cell.bonds.links),
            ancestors=cell.ancestors(),
            waiting=len(cell.mailbox) if cell.mailbox else 0,
            correlation_id=context.get(correlation_id),
        )
    )


def shown_state(actor: Actor) -> str:
    """An actor's state as logs and observers may see it: through its `format_status`, and not too long."""
    try:
        state = repr(actor.format_status())
    except Exception as unprintable:
        state = f"<format_status failed: {unprintable!r}>"
    if len(state) > MAX_STATE:
        state = f"{state[:MAX_STATE]}... ({len(state):,} characters)"
    return state


def task_ended(task: CellTask, value: Any, failure: BaseException | None) -> bool:
    """A cell's coroutine is over; True when the cell is RUNNING still and may take its next message."""
    cell = task.cell
    task.finish(value)
    cell.task = None
    if (
        failure is not None
        and isinstance(failure, asyncio.CancelledError)
        and task.cancelling()
        and not task.aborting
    ):
        # Somebody cancelled our task as they would any other, as `asyncio.run` does at its end. That is
        # an order to stop and not a crash; a CancelledError that nobody asked for is one.
        failure = Stop(Shutdown("cancelled"))
    if task.aborting:
        if task.kind is START and task.ready is not None:
            unlinked_end(cell, task)
        else:
            if task.item[4] is not None and cell.held is None and task.item[4].target is cell:
                cell.held = (task.item[4], None, False)
            conclude(cell)
    elif task.kind is HANDLER:
        if failure is None and cell.state == RUNNING and cell.doom is None:
            request = task.item[4]
            if request is not None and request.due_from(cell):
                request.answer(value)
            return True
        if failure is None:
            if task.item[4] is not None and task.item[4].due_from(cell):
                cell.held = (task.item[4], value, cell.state != DOOMED)
        else:
            crash(cell, failure, task.item)
        die(cell)
    elif task.kind is START:
        start_ended(task, value, failure)
    else:
        if failure is not None:
            crash(cell, failure, task.item)
        if task.kind is STOP:
            # A crash in on_stop replaces the reason, whatever decided on the end before.
            if failure is not None and not isinstance(cell.doom, Killed):
                cell.doom = failure.reason if isinstance(failure, Stop) else Crashed(failure)
        elif cell.doom is None:
            cell.doom = NORMAL
        conclude(cell)
    if failure is not None and isinstance(failure, KeyboardInterrupt):
        raise failure
    return False


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


def unlinked_end(cell: Cell, task: CellTask) -> None:
    """Somebody ended the cell before its start was complete: whoever waits for the start hears why."""
    assert task.ready is not None
    assert cell.doom is not None
    reason = cell.doom
    hear_by_error(cell)
    conclude(cell)
    if not task.ready.done():
        task.ready.set_result(StartError(cell.label(), reason))


def die(cell: Cell) -> None:
    """Begin the end of a cell that is DOOMED or STOPPING, at the top of the loop's stack."""
    task = cell.task
    if task is None:
        conclude(cell)
        return
    cell.state = RUNNING  # while it unwinds, so that a kill that it meets meanwhile is seen
    if isinstance(cell.doom, Killed):
        cell.node.loop.call_later(KILL_GRACE, force, task)
    task.abort()


def force(task: CellTask) -> None:
    """The grace of a kill is over: close a coroutine that did not end on its cancellation."""
    cell = task.cell
    if cell.state != DEAD and cell.task is task:
        task.close()
        cell.task = None
        cell.node.instruments.emit(Stubborn(cell.label(), describe(task.item[0])))
        if task.item[4] is not None and cell.held is None and task.item[4].target is cell:
            cell.held = (task.item[4], None, False)
        if task.kind is START and task.ready is not None:
            unlinked_end(cell, task)
        else:
            conclude(cell)


def conclude(cell: Cell) -> None:
    """Nothing of the cell's code is suspended any more: run `on_stop` if it is due, then end."""
    reason = cell.doom
    assert reason is not None
    interrupt: KeyboardInterrupt | None = None
    if cell.stop_due:  # also when the reason is `Killed` but came through a link: that is no kill of ours
        cell.stop_due = False
        node, info = cell.node, cell.info
        assert info.on_stop is not None
        context = copy_context()
        item: Item = (info.on_stop, reason, None, context, None)
        cell.state = RUNNING
        outer, node.current, node.item = node.current, cell, item
        try:
            result = context.run(info.on_stop, cell.actor, reason)
        except BaseException as error:
            node.current = outer
            interrupt = error if isinstance(error, KeyboardInterrupt) else None
            cell.doom = error.reason if isinstance(error, Stop) else Crashed(error)
            if not isinstance(error, Stop):
                report(cell, error, describe(info.on_stop), context)
        else:
            node.current = outer
            if result.__class__ is CoroutineType:
                cell.task = CellTask(cell, result, item, STOP)
                cell.task.step()
                return
    assert cell.doom is not None
    end(cell, cell.doom)
    if interrupt is not None:
        raise interrupt


def end(cell: Cell, reason: ExitReason) -> None:
    """The cell is gone: release, then tell."""
    node = cell.node
    mailbox, bonds, traits, held = cell.mailbox, cell.bonds, cell.traits, cell.held
    cell.state = DEAD
    cell.doom = reason
    cell.protocol = NO_PROTOCOL
    cell.actor = cell.mailbox = cell.held = None
    node.cells.pop(cell.id, None)
    if cell.parent is not None and cell.parent.state == DEAD:
        # Else each process of a row in which every one starts the next would keep all before it.
        cell.parent = cell.parent.parent
    if bonds is not None:
        _bonds.release(bonds, cell)
    if traits is not None and traits.idle_timer is not None:
        traits.idle_timer.cancel()
    if node.instruments.lifecycle:
        node.instruments.emit(Ended(cell.label(), reason))
    if held is not None and held[2]:
        held[0].answer(held[1])
    if bonds is not None:
        _bonds.tell(bonds, cell, reason)
    if held is not None:
        held[0].target_ended(reason)
    for item in mailbox or ():
        if item[4] is not None:
            item[4].target_ended(reason)
    for request in tuple(bonds.owed or ()) if bonds is not None else ():
        request.target_ended(reason)
    for wait, _ in (traits.room or ()) if traits is not None else ():
        wait.wake(None, NotRunning(cell.label(), "send"))


# -- one message -------------------------------------------------------------------------------


def completed(cell: Cell, item: Item, result: Any) -> bool:
    """See to what a plain handler left besides a result of None: a coroutine, a reply, an end.

    Returns True when the cell is RUNNING still and may take its next message in this turn.
    """
    if result.__class__ is CoroutineType:
        if cell.traits is not None:
            if cell.traits.room:
                cell.admit(cell.traits.room)  # the mailbox is one shorter, for as long as this takes
            if cell.state == SUSPENDED:
                cell.state = RUNNING  # once the coroutine is over
        task = cell.task = CellTask(cell, result, item, HANDLER)
        return task.step()
    request = item[4]
    if cell.state == RUNNING:
        if request is not None and request.due_from(cell):
            request.answer(result)
        if cell.traits is not None and cell.traits.suspended:
            cell.rest()  # it was a system message, and no other message may follow in this turn
            return False
        return True
    if request is not None and request.due_from(cell):
        if cell.doom is None:
            request.answer(result)
        else:
            # One that asked for its end itself still answers; one that a signal has ended does not.
            cell.held = (request, result, cell.state != DOOMED)
    leave(cell)
    return False


def leave(cell: Cell) -> None:
    """A turn ended early: something other than the next message is due."""
    if cell.state == DOOMED or cell.state == STOPPING:
        die(cell)


def run_body(cell: Cell, coro: Coroutine[Any, Any, Any], item: Item) -> None:
    """Give a bare process its coroutine; it begins at its first turn."""
    cell.task = CellTask(cell, coro, item, BODY)
    cell.state = QUEUED
    cell.node.enqueue(cell)
