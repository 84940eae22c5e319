"""What a message leaves behind: a reply, a coroutine that goes on, an end."""

from __future__ import annotations

import asyncio
from types import CoroutineType
from typing import Any

from ._cell import DOOMED, RUNNING, STOPPING, SUSPENDED, Cell, Item
from ._end import Stop, conclude, crash, die, unlinked_end
from ._reasons import NORMAL, Crashed, Killed, Shutdown
from ._start import start_ended
from ._task import HANDLER, START, STOP, CellTask


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
