"""What an actor that is looked at carries: who is to be told of its messages, and the taps that tell.

A tap is a class record of the actor's own whose functions report around those of its class. The actor is
given it with the first thing installed and gives it back with the last, so one that nobody looks at
runs what its class says and nothing else.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..._kernel._actor import ActorClass
from ..._kernel._end import shown_state
from ..._kernel._events import Event
from ..._kernel._message import Entry
from .._moves import moves
from ._events import MessageFailed, MessageIn, MessageOut, StateChange, TraceEvent

if TYPE_CHECKING:
    from ..._kernel._actor import Actor
    from ..._kernel._cell import Cell

# The callbacks that are mail like messages.
_MAIL = ("on_info", "on_down", "on_exit", "on_continue", "on_idle")


@dataclass(frozen=True, slots=True)
class DebugRemoved(Event):
    """Something that looked at an actor failed and was removed; the actor goes on."""

    removed: str
    error: str


class Sink(Protocol):
    """Is told of events. It is asked to be removed when it returns True."""

    # Whether it is worth comparing states for it.
    wants_state: bool
    # Whether it sends what it takes to another process, as a message.
    sends: bool

    def take(self, event: TraceEvent) -> bool: ...


class Debug:
    """What looks at one actor; there is none while nothing does."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        # By what each was installed as, in that order.
        self.sinks: dict[Any, Sink] = {}

    @property
    def wants_state(self) -> bool:
        return any(sink.wants_state for sink in self.sinks.values())

    def tell(self, event: TraceEvent, *, of_trace: bool) -> None:
        """Tell all sinks. One that fails is removed: looking must not harm what is looked at.

        Args:
            of_trace: the message in hand is itself a trace's, which is not sent on: two actors that are
                traced to each other, or one to itself, would have no end of messages.
        """
        for key, sink in tuple(self.sinks.items()):
            if of_trace and sink.sends:
                continue
            try:
                over = sink.take(event)
            except Exception as error:
                over = True
                told = DebugRemoved(self.cell.label(), repr(sink), repr(error))
                self.cell.node.instruments.emit(told)
            if over and self.sinks.get(key) is sink:
                drop(self.cell, key)


def debug_of(cell: Cell) -> Debug | None:
    """What looks at an actor now."""
    debug: Debug | None = None if cell.traits is None else cell.traits.kept.get("debug")
    return debug


def add(cell: Cell, key: Any, sink: Sink) -> None:
    """Have a sink told from the next message on."""
    debug = debug_of(cell)
    if debug is None:
        debug = cell.own_traits().kept["debug"] = Debug(cell)
        debug.sinks[key] = sink
        set_class(cell, cell.info)
    else:
        debug.sinks[key] = sink


def drop(cell: Cell, key: Any) -> bool:
    """Remove a sink; False when there was none."""
    debug = debug_of(cell)
    if debug is None or debug.sinks.pop(key, None) is None:
        return False
    if not debug.sinks:
        del cell.own_traits().kept["debug"]
        set_class(cell, _untapped(cell.info))
    return True


def set_class(cell: Cell, info: ActorClass) -> None:
    """Have the cell run what `info` says, by way of taps if something looks at it."""
    debug = debug_of(cell)
    target = _untapped(info) if debug is None else _tapped(_untapped(info), debug)
    run = moves(cell.info, target)
    cell.become(target, lambda fn: run.get(fn, fn))


def class_of(cell: Cell) -> ActorClass:
    """What the cell runs, without taps."""
    return _untapped(cell.info)


class _Tapped(ActorClass):
    """A class record whose functions tell of what they do; `base` is the one that it was made of."""

    __slots__ = ("base",)
    base: ActorClass


def _untapped(info: ActorClass) -> ActorClass:
    return info.base if isinstance(info, _Tapped) else info


def _tapped(base: ActorClass, debug: Debug) -> ActorClass:
    made = _Tapped.__new__(_Tapped)
    for name in ActorClass.__slots__:
        setattr(made, name, getattr(base, name))
    made.base = base
    made.by_name = None
    for name in _MAIL:
        fn = getattr(base, name)
        setattr(made, name, _tap(fn, f"{base.name}.{name}", debug))
    made.protocol = {}
    done: dict[int, Entry] = {}
    for fn, entry in base.protocol.items():
        tapped = done.get(id(entry))
        if tapped is None:
            tapped = done[id(entry)] = copy.copy(entry)
            tapped.fn = _tap(entry.fn, entry.name, debug)
        made.protocol[fn] = tapped
    return made


def _tap(fn: Callable[..., Any], message: str, debug: Debug) -> Callable[..., Any]:
    """A function that does what `fn` does and tells of it."""

    @functools.wraps(fn)
    def run(actor: Actor, *args: Any, **kwargs: Any) -> Any:
        look = _Look(debug, actor, message, args, kwargs)
        try:
            result = fn(actor, *args, **kwargs)
        except BaseException as error:
            look.failed(error)
            raise
        if result.__class__ is CoroutineType:
            return look.finish(cast("Coroutine[Any, Any, Any]", result))
        look.returned(result)
        return result

    return run


class _Look:
    """One message, from its beginning to its end."""

    __slots__ = ("actor", "before", "cell", "debug", "message", "of_trace")

    def __init__(self, debug: Debug, actor: Actor, message: str, args: tuple[Any, ...], kwargs: Any) -> None:
        self.debug = debug
        self.actor = actor
        self.cell = debug.cell
        self.message = message
        self.before = shown_state(actor) if debug.wants_state else None
        self.of_trace = bool(args) and isinstance(args[0], TraceEvent)
        self.tell(MessageIn(self.cell.label(), self.message, args, kwargs, self._reply_due()))

    def tell(self, event: TraceEvent) -> None:
        self.debug.tell(event, of_trace=self.of_trace)

    async def finish(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Go on with a handler that awaits."""
        try:
            result = await coro
        except BaseException as error:
            self.failed(error)
            raise
        self.returned(result)
        return result

    def returned(self, reply: Any) -> None:
        if self._reply_due():
            self.tell(MessageOut(self.cell.label(), self.message, reply))
        self._compare()

    def failed(self, error: BaseException) -> None:
        self.tell(MessageFailed(self.cell.label(), self.message, error))
        self._compare()

    def _compare(self) -> None:
        if self.before is not None and self.debug.wants_state:
            after = shown_state(self.actor)
            if after != self.before:
                self.tell(StateChange(self.cell.label(), self.message, self.before, after))

    def _reply_due(self) -> bool:
        """Whether what the handler returns is somebody's reply."""
        item = self.cell.node.item if self.cell.task is None else self.cell.task.item
        if item is None:
            return False
        return len(item) == 3 or (item[4] is not None and item[4].due_from(self.cell))
