"""How a cell ends. Every end passes through here.

In order: the coroutine in hand is cancelled and unwinds; `on_stop` runs (never after a kill); all that others could
see is released (names, timers, aliases); a reply promised by the last handler leaves; links and monitors are told;
calls that wait in vain are failed.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from types import CoroutineType
from typing import TYPE_CHECKING

from . import _bonds
from ._cell import DEAD, DOOMED, NO_PROTOCOL, RUNNING, Cell, Item
from ._context import correlation_id
from ._errors import NotRunning, StartError
from ._events import CrashReport, Ended, Stubborn
from ._message import describe
from ._reasons import NORMAL, Crashed, ExitReason, Killed, as_reason
from ._task import START, STOP, CellTask

if TYPE_CHECKING:
    from ._actor import Actor

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


def unlinked_end(cell: Cell, task: CellTask) -> None:
    """Somebody ended the cell before its start was complete: whoever waits for the start hears why."""
    assert task.ready is not None
    assert cell.doom is not None
    reason = cell.doom
    hear_by_error(cell)
    conclude(cell)
    if not task.ready.done():
        task.ready.set_result(StartError(cell.label(), reason))


def hear_by_error(cell: Cell) -> None:
    """Untie a cell that did not start from its starter, who gets an error; other links fire."""
    if cell.parent is not None:
        _bonds.unlink(cell, cell.parent)


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
