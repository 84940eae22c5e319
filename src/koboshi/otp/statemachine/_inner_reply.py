"""What `defer`, `forward` and `time_left` mean in the handler of an event that is not the message in hand.

A postponed call is handled in the turn of another message, and an inserted event in that of the call that
set it off. While such a handler runs, the actor's message in hand is exchanged for one with the event's own
caller.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from ..._kernel._cell import NO_KWARGS, Cell
from ..._kernel._reply import ReplyTo
from ._events import Event

__all__ = ["InHand"]


class InHand:
    """An event is the message in hand; `give_back` ends that."""

    __slots__ = ("_before", "_cell", "_event", "_holder")

    def __init__(self, cell: Cell, event: Event, message: Any) -> None:
        self._cell = cell
        self._event = event
        request = None if event.reply is None else event.reply.request
        if request is not None:
            request.deferred = False
        # Any: a task knows an item, a node whose actor runs without one a shortcut as well.
        self._holder: Any = cell.node if cell.task is None else cell.task
        self._before = self._holder.item
        self._holder.item = (message, (), NO_KWARGS, copy_context(), request)

    def give_back(self) -> None:
        """The handler is over. If it has deferred or forwarded the reply, the machine sends none."""
        self._holder.item = self._before
        reply = self._event.reply
        request = None if reply is None else reply.request
        if request is None:
            return
        if request.due_from(self._cell):
            request.deferred = True  # the machine's again
        else:
            self._event.reply = ReplyTo(None)
