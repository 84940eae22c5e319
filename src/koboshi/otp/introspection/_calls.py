"""The functions that users call: what is asked is checked here, then sent to the actor."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, overload

from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._ref import ActorRef
from ..._kernel._system import ask
from ..._supervision._options import hashed, whole
from .._target import Target, ref_to
from . import _operations as operations
from ._events import TraceEvent
from ._operations import ActorStatus
from ._sinks import DONE, ActorStatistics, Hook

__all__ = [
    "DONE",
    "get_state",
    "get_status",
    "install",
    "log",
    "no_debug",
    "remove",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "trace",
]


async def get_state(ref: Target) -> Any:
    """The actor's attributes by name, in a new dict; of a supervisor, the status of each child by id.

    The values are the actor's own objects when it runs on this loop: look, and do not change them.

    Args:
        ref: a ref or a registered name, as in all functions of this kind; `ref.within(seconds)` sets
            another deadline than 5 s.

    Raises:
        CallTimeout: the actor is busy with a message.
        ActorExited, NotRunning, CallCycle: as `ref.call`.
        UsageError: it is a bare process.
    """
    return await ask(ref_to(ref, Actor), operations.get_state)


async def replace_state(ref: Target, fn: Callable[[Any], Any]) -> Any:
    """Have the actor go on with `fn(state)`, where `state` is what `get_state` gives; returns the new one.

    A function that raises, or returns what cannot be a state, leaves actor and state as they were. What it
    has changed inside of the objects of the state, and not by putting others in their place, stays changed.

    Raises:
        Exception: what `fn` raised.
        UsageError: `fn` returned what is no state, or the actor is a supervisor.
        NotPicklable: the actor is on another node, where a function goes by its name.
    """
    _check_callable("fn", fn)
    return await ask(ref_to(ref, Actor), operations.replace_state, fn)


async def suspend(ref: Target) -> None:
    """Have the actor handle no more mail until `resume`: it waits, in order. Twice is the same as once.

    What was sent before is handled first. `ref.suspend()` does not wait for that. Calls made meanwhile time
    out.
    """
    await ask(ref_to(ref, Actor), operations.suspend)


async def resume(ref: Target) -> None:
    """Have the actor handle its mail again; one that is not suspended does so anyway."""
    await ask(ref_to(ref, Actor), operations.resume)


async def get_status(ref: Target) -> ActorStatus:
    """What the actor says of itself, its state as `format_status` gives it.

    Raises:
        Exception: what `format_status` raised.
    """
    status: ActorStatus = await ask(ref_to(ref, Actor), operations.get_status)
    return status


async def trace(ref: Target, on: bool = True, *, to: ActorRef[Any] | None = None) -> None:
    """Tell of each message that the actor takes, each reply of its handlers, each change of its state.

    Args:
        on: False ends the trace that was begun with the same `to`.
        to: the process that each `TraceEvent` is sent to, as long as it lives. None, the default: events for
            `kb.listen`, and lines of the log.
    """
    if not isinstance(on, bool):
        raise UsageError(f"trace takes on=True or on=False, got {on!r}")
    if to is not None and not isinstance(to, ActorRef):
        raise UsageError(f"trace takes a ref or None for to, got {to!r}")
    await ask(ref_to(ref, Actor), operations.trace, on, to)


@overload
async def log(ref: Target, what: Literal["on", "off"] = "on", *, size: int = 10) -> None: ...
@overload
async def log(ref: Target, what: Literal["get"]) -> list[TraceEvent]: ...
async def log(ref: Target, what: str = "on", *, size: int = 10) -> list[TraceEvent] | None:
    """Keep the actor's last events in the actor: turn that "on" or "off", or "get" them, the oldest first.

    Args:
        size: how many are kept, 10 by default. A log that is on already keeps what it has, as far as it fits.
    """
    whole("size", size, 1)
    target = ref_to(ref, Actor)
    if what == "on":
        await ask(target, operations.log_on, size)
        return None
    if what == "off":
        await ask(target, operations.log_off)
        return None
    if what != "get":
        raise _no_such_choice("log", what)
    events: list[TraceEvent] = await ask(target, operations.log_get)
    return events


@overload
async def statistics(ref: Target, what: Literal["on", "off"]) -> None: ...
@overload
async def statistics(ref: Target, what: Literal["get"] = "get") -> ActorStatistics | None: ...
async def statistics(ref: Target, what: str = "get") -> ActorStatistics | None:
    """Count the actor's messages: turn that "on" or "off", or "get" the figures, None while it is off."""
    target = ref_to(ref, Actor)
    if what == "on":
        await ask(target, operations.statistics_on)
        return None
    if what == "off":
        await ask(target, operations.statistics_off)
        return None
    if what != "get":
        raise _no_such_choice("statistics", what)
    figures: ActorStatistics | None = await ask(target, operations.statistics_get)
    return figures


async def install(ref: Target, fn: Hook, state: Any = None, *, id: Any = None) -> bool:
    """Have `fn(state, event)` called in the actor with each event; it returns its next state, or `DONE`.

    A function that raises is removed, and the event `DebugRemoved` says so; the actor goes on.

    Args:
        fn: a plain function; for an actor of another node it goes by its name.
        state: its first state.
        id: what it is known by, the function itself by default. One that is installed already stays.

    Returns:
        False when one of this id is installed already.
    """
    _check_callable("fn", fn)
    if inspect.iscoroutinefunction(fn):
        raise UsageError(f"fn is called in the middle of a message, so it is a plain function; got {fn!r}")
    hashed("an id", id)
    done: bool = await ask(ref_to(ref, Actor), operations.install, fn if id is None else id, fn, state)
    return done


async def remove(ref: Target, id: Any) -> bool:
    """Remove a debug function by its id, or by itself if it has none; False when it is not installed."""
    try:
        hash(id)
    except TypeError:
        return False  # it is nobody's id
    done: bool = await ask(ref_to(ref, Actor), operations.remove, id)
    return done


async def no_debug(ref: Target) -> None:
    """Remove all that looks at the actor: trace, log, statistics and debug functions."""
    await ask(ref_to(ref, Actor), operations.no_debug)


def _check_callable(option: str, value: object) -> None:
    if not callable(value):
        raise UsageError(f"{option} takes a function, got {value!r}")


def _no_such_choice(function: str, what: object) -> UsageError:
    return UsageError(f'{function} takes "on", "get" or "off", got {what!r}')
