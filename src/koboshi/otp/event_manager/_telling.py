"""How the process that supervises a handler hears of its end: nothing may refuse or lose that."""

from __future__ import annotations

import dataclasses
from contextvars import copy_context
from typing import Any

from ..._kernel._cell import Cell
from ..._kernel._errors import MailboxFull
from ..._kernel._events import Dropped
from ..._kernel._reasons import Crashed, portable_error
from ..._kernel._ref import ActorRef
from ...wire import WireError
from ._handler import EventHandler
from ._notices import HandlerGone

_MAX_STATE = 2_000


def tell_owner(manager: Cell, owner: ActorRef[Any], notice: HandlerGone) -> None:
    """Post the notice past the limit of the owner's mailbox, as an exit signal is."""
    cell = owner._target()
    try:
        cell.post((cell.info.on_info, notice, None, copy_context(), None))
    except WireError:  # an error of the user's own that cannot be sent to the owner's node
        reason = notice.reason
        if isinstance(reason, Crashed):
            reason = Crashed(portable_error(reason.error))
        told = dataclasses.replace(notice, reason=reason)
        try:
            cell.post((cell.info.on_info, told, None, copy_context(), None))
        except (WireError, MailboxFull) as refused:
            manager.node.instruments.emit(Dropped(cell.label(), f"{told!r} ({refused})", cell.limit))
    except MailboxFull as full:  # on another node, which has said so
        manager.node.instruments.emit(Dropped(cell.label(), repr(notice), full.limit))


def shown(handler: EventHandler) -> str:
    """A handler's state as logs may see it."""
    try:
        state = repr(handler.format_status())
    except Exception as unprintable:
        state = f"<format_status failed: {unprintable!r}>"
    return state if len(state) <= _MAX_STATE else f"{state[:_MAX_STATE]}... ({len(state):,} characters)"
