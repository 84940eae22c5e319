"""What each system message does, on the node of its actor and in the actor's turn."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._kernel._actor import Actor
from ..._kernel._cell import Cell
from ..._kernel._errors import UsageError
from ..._kernel._main_alias import module_of
from ..._kernel._ref import ActorRef
from ._debug import add, debug_of, drop
from ._events import TraceEvent
from ._sinks import ActorStatistics, Count, Hook, Installed, Ring, TraceTo

_LOG, _STATISTICS = "log", "statistics"


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """An actor at one moment, as itself says.

    Attributes:
        ref: its pid ref.
        label: its path in its tree, or class and number.
        actor_class: its class, with the module.
        version: `version` of its class, None where that has none.
        suspended: whether it is suspended.
        mailbox: messages that wait.
        handled: messages handled so far.
        names: registered names.
        parent: who started it, None for plain asyncio code.
        looked_at_by: what is installed on it, as text.
        state: what its `format_status` gives, which leaves secrets out.
    """

    ref: ActorRef[Any]
    label: str
    actor_class: str
    version: Any
    suspended: bool
    mailbox: int
    handled: int
    names: tuple[Any, ...]
    parent: str | None
    looked_at_by: tuple[str, ...]
    state: Any


def get_state(cell: Cell) -> Any:
    """The state."""
    return cell.actor._kb_state()


def replace_state(cell: Cell, fn: Callable[[Any], Any]) -> Any:
    """Go on with `fn(state)`."""
    state = fn(get_state(cell))
    if inspect.iscoroutine(state):
        state.close()
        raise UsageError(f"replace_state takes a plain function, and {fn!r} is an async one")
    cell.actor._kb_put_state(state)
    return get_state(cell)


def suspend(cell: Cell) -> None:
    """Handle no mail from here on."""
    cell.own_traits().suspended = True


def resume(cell: Cell) -> None:
    """Handle mail again."""
    cell.node.resume(cell)


def get_status(cell: Cell) -> ActorStatus:
    """What can be said of the actor."""
    actor, bonds, debug = cell.actor, cell.bonds, debug_of(cell)
    cls: type[Actor] = actor.__class__
    state = actor.format_status()
    return ActorStatus(
        ref=ActorRef(cell),
        label=cell.label(),
        actor_class=f"{module_of(cls)}.{cls.__qualname__}",
        version=getattr(cls, "version", None),
        suspended=cell.traits is not None and cell.traits.suspended,
        mailbox=len(cell.mailbox or ()),
        handled=cell.handled,
        names=tuple(bonds.names or ()) if bonds is not None else (),
        parent=None if cell.parent is None else cell.parent.label(),
        looked_at_by=() if debug is None else tuple(repr(sink) for sink in debug.sinks.values()),
        state=actor._kb_attributes() if state is vars(actor) else state,
    )


def trace(cell: Cell, on: bool, to: ActorRef[Any] | None) -> None:
    """Turn a trace on or off."""
    if on:
        add(cell, ("trace", to), TraceTo(cell.node, to))
    else:
        drop(cell, ("trace", to))


def log_on(cell: Cell, size: int) -> None:
    """Keep the last events; a log of this size goes on."""
    debug = debug_of(cell)
    old = None if debug is None else debug.sinks.get(_LOG)
    ring = Ring(size)
    if isinstance(old, Ring):
        ring.events.extend(old.events)
    add(cell, _LOG, ring)


def log_get(cell: Cell) -> list[TraceEvent]:
    """The events that are kept, the oldest first."""
    debug = debug_of(cell)
    ring = None if debug is None else debug.sinks.get(_LOG)
    return list(ring.events) if isinstance(ring, Ring) else []


def log_off(cell: Cell) -> None:
    """Forget the log."""
    drop(cell, _LOG)


def statistics_on(cell: Cell) -> None:
    """Count from here on; a count that is on is left alone."""
    debug = debug_of(cell)
    if debug is None or _STATISTICS not in debug.sinks:
        add(cell, _STATISTICS, Count(cell.node.loop.time()))


def statistics_get(cell: Cell) -> ActorStatistics | None:
    """The figures, None when they are off."""
    debug = debug_of(cell)
    count = None if debug is None else debug.sinks.get(_STATISTICS)
    return count.read(cell.node.loop.time()) if isinstance(count, Count) else None


def statistics_off(cell: Cell) -> None:
    """Count no more."""
    drop(cell, _STATISTICS)


def install(cell: Cell, key: Any, fn: Hook, state: Any) -> bool:
    """Install a debug function; False when there is one of this key, which stays as it is."""
    debug = debug_of(cell)
    if debug is not None and ("hook", key) in debug.sinks:
        return False
    add(cell, ("hook", key), Installed(fn, state))
    return True


def remove(cell: Cell, key: Any) -> bool:
    """Remove a debug function; False when there is none of this key."""
    return drop(cell, ("hook", key))


def no_debug(cell: Cell) -> None:
    """Remove all that looks at the actor."""
    debug = debug_of(cell)
    for key in () if debug is None else tuple(debug.sinks):
        drop(cell, key)
