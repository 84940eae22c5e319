"""`wait_idle`: until every message has been handled that can be."""

from __future__ import annotations

import asyncio
from time import monotonic

from .._kernel._cell import DOOMED, QUEUED, RUNNING, STOPPING, SUSPENDED, Cell
from .._kernel._errors import KoboshiError
from .._kernel._node import Node, this_node
from .._kernel._process import Process
from .._supervision._options import seconds
from ._time import VirtualLoop

# Passes of the loop in a row that must find nothing to do. One callback may schedule the next, as the end
# of a task does with whoever awaits it, and a loop that does not show its callbacks shows only this.
QUIET_PASSES = 5


class StillBusy(KoboshiError):
    """`wait_idle` has waited in vain.

    Attributes:
        seconds: how long, in real time.
        busy: what was still at work, a line each.
    """

    def __init__(self, seconds: float, busy: tuple[str, ...]) -> None:
        shown = "; ".join(busy) or "callbacks of the event loop"
        super().__init__(f"not idle after {seconds:g} s: {shown}")
        self.seconds = seconds
        self.busy = busy


async def wait_idle(timeout: float = 5.0) -> None:
    """Return when no actor on this loop has mail or runs, and the loop has nothing to do before a timer.

    A suspended actor is idle whatever its mailbox holds, and so is a bare process whose mail it has not
    selected. An actor that waits inside a handler is idle unless there is more mail for it.

    Args:
        timeout: real seconds, also in virtual time.

    Raises:
        StillBusy: it is over; the error says what was busy.
    """
    seconds("timeout", timeout)
    node = this_node()
    until = monotonic() + timeout
    quiet = 0
    while quiet < QUIET_PASSES:
        await asyncio.sleep(0)
        if _loop_has_more(node):
            quiet = 0
        elif busy := busy_cells(node):
            quiet = 0
            if all(each.task is not None for each in busy) and _time_passes(node):
                # They wait for something inside a handler: give it the time.
                await asyncio.sleep(0.001)
        else:
            quiet += 1
            continue
        if monotonic() >= until:
            raise StillBusy(timeout, tuple(_describe(each) for each in busy_cells(node)))


def busy_cells(node: Node) -> list[Cell]:
    """The cells with something to do, without the one that asks."""
    return [cell for cell in node.cells.values() if cell is not node.current and _busy(cell)]


def _busy(cell: Cell) -> bool:
    if cell.state in (QUEUED, RUNNING, STOPPING, DOOMED):
        return True
    return bool(cell.mailbox) and cell.state != SUSPENDED and cell.info.cls is not Process


def _loop_has_more(node: Node) -> bool:
    ready = getattr(node.loop, "_ready", None)
    return node.queued > 0 or bool(ready)


def _time_passes(node: Node) -> bool:
    return not isinstance(node.loop, VirtualLoop) or node.loop.autojump


def _describe(cell: Cell) -> str:
    waiting = len(cell.mailbox or ())
    return f"{cell!r} with {waiting} message{'' if waiting == 1 else 's'} waiting"
