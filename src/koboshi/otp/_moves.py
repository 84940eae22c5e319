"""From one class record to another: what is run in the place of each function that mail may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._kernel._errors import UsageError
from .._kernel._events import Unhandled
from .._kernel._message import Entry, wire_name
from .._kernel._reply import defer

if TYPE_CHECKING:
    from .._kernel._actor import Actor, ActorClass

Run = Callable[..., Any]

_CALLBACKS = (
    *("on_info", "on_down", "on_exit", "on_continue", "on_idle"),
    *("parent_exit", "stop_request"),
)


def moves(old: ActorClass, new: ActorClass) -> dict[Run, Run]:
    """By each function of `old`, the one of the same name in `new`."""
    found: dict[Run, Run] = {getattr(old, name): getattr(new, name) for name in _CALLBACKS}
    by_name = {wire_name(entry): entry.fn for entry in new.protocol.values()}
    for entry in old.protocol.values():
        name = wire_name(entry)
        found[entry.fn] = by_name[name] if name in by_name else _gone(entry, new.name)
    return found


def _gone(entry: Entry, name: str) -> Run:
    """Answers mail for a message that the new class does not have."""

    def no_longer(actor: Actor, *args: Any, **kwargs: Any) -> None:
        reply = defer()
        if reply.wanted:
            reply.fail(UsageError(f"{entry.name} is not a message of {name}, which its actor is now"))
        else:
            cell = actor._kb_cell
            cell.node.instruments.emit(Unhandled(cell.label(), entry.name))

    no_longer.__qualname__ = entry.name
    return no_longer
