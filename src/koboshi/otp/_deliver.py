"""How those who tell many put a message into one mailbox: they never wait, and no receiver harms another."""

from __future__ import annotations

from .._kernel._cell import DEAD, Cell
from .._kernel._errors import KoboshiError
from .._kernel._events import Dropped
from .._kernel._ref import ActorRef


def deliver(cell: Cell, message: object) -> bool:
    """Tell a process; False, and a `Dropped` event, when its mailbox or its node refuses the message."""
    if cell.state == DEAD:
        return True  # nobody misses it
    try:
        ActorRef(cell).tell(message)
    except KoboshiError:  # its mailbox is full, or the message cannot be pickled for its node
        cell.node.instruments.emit(Dropped(cell.label(), repr(message), cell.limit))
        return False
    return True
