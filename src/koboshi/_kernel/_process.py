"""Bare processes: a coroutine with a mailbox that it reads itself, with selection.

An actor's runtime takes its messages out for it; a bare process calls `receive`. Underneath both
are cells, so links, monitors, exits and names are the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import _bonds
from ._actor import Actor, ActorClass
from ._cell import NO_KWARGS, NO_PROTOCOL, Cell
from ._errors import NotInProcess, UsageError
from ._events import Started
from ._node import Node, this_node
from ._reasons import Timeout
from ._ref import ActorRef
from ._start import run_body, start_failed
from ._wait import ReceiveWait

if TYPE_CHECKING:
    from ._bonds import Monitor

P = ParamSpec("P")
T = TypeVar("T")
T2 = TypeVar("T2")

Selector = type[Any] | Callable[[Any], bool]


class Process(Actor):
    """Stands for bare processes where a type of actor is asked for: they answer no declared messages."""


def _mail(process: Any, message: Any) -> None:
    """Marks mail of a bare process; never run, since such a process takes its mail itself."""
    raise AssertionError(f"{message!r} of {process!r} was run instead of received")


def process_class(name: str) -> ActorClass:
    """The class record of a bare process running a function called `name`."""
    info = ActorClass(Process)
    info.name = name
    info.protocol = NO_PROTOCOL
    info.on_info = info.on_down = info.on_exit = info.on_continue = info.on_idle = _mail
    # Without a runtime that takes its mail there is nobody to obey a parent or a stop request in
    # its turn: the first is an ordinary exit message, the second ends the process at once.
    info.parent_exit = _mail
    info.stop_request = _mail
    info.system = None
    return info


_infos: dict[Any, ActorClass] = {}


def spawn_cell(
    node: Node,
    fn: Callable[..., Coroutine[Any, Any, Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parent: Cell | None,
    prepare: Callable[[Cell], None] | None = None,
    shown: Callable[..., Any] | None = None,
) -> Cell:
    """Make a bare process; its function begins to run at its first turn.

    Args:
        prepare: sets links and names before anything runs.
        shown: what the process and its crash report are named after, when `fn` only runs that one.
    """
    shown = fn if shown is None else shown
    info = class_of(shown)
    coro = fn(*args, **kwargs)
    if not asyncio.iscoroutine(coro):
        raise UsageError(f"spawn runs an async def function, and {fn!r} returned {coro!r}")
    cell = Cell(node, info, parent)
    try:
        if prepare is not None:
            prepare(cell)
    except BaseException as error:
        coro.close()
        raise start_failed(cell, error) from None
    begin(cell, coro, shown, args, kwargs or NO_KWARGS)
    return cell


def class_of(shown: Callable[..., Any]) -> ActorClass:
    """The class record of bare processes that are named after a function."""
    code = getattr(shown, "__code__", None)
    info = _infos.get(code)
    if info is None:
        info = process_class(getattr(shown, "__qualname__", repr(shown)).rpartition("<locals>.")[2])
        if code is not None:
            _infos[code] = info
    return info


def begin(
    cell: Cell, coro: Coroutine[Any, Any, Any], shown: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> None:
    """Have a bare process run what it is there for, from its first turn on."""
    run_body(cell, coro, (shown, args, kwargs, copy_context(), None))
    if cell.node.instruments.lifecycle:
        cell.node.instruments.emit(Started(cell.label()))


def spawn(
    fn: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs
) -> ActorRef[Process]:
    """Start a bare process that runs `fn(*args)`; it ends when the function returns or raises."""
    node = this_node()
    return ActorRef(spawn_cell(node, fn, args, kwargs, node.current))


def spawn_link(
    fn: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs
) -> ActorRef[Process]:
    """Like `spawn`, linked to the current process from the first moment."""
    me = current_cell("spawn_link")
    return ActorRef(spawn_cell(me.node, fn, args, kwargs, me, lambda cell: _bonds.link(cell, me)))


def spawn_monitor(
    fn: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs
) -> tuple[ActorRef[Process], Monitor]:
    """Like `spawn`, monitored by the current process from the first moment."""
    me = current_cell("spawn_monitor")
    cell = spawn_cell(me.node, fn, args, kwargs, me)
    ref: ActorRef[Process] = ActorRef(cell)
    return ref, _bonds.monitor(me, cell, ref)


def current_cell(what: str) -> Cell:
    """The cell whose code runs now.

    Raises:
        NotInProcess: there is none.
    """
    cell = this_node().current
    if cell is None:
        raise NotInProcess(
            f"{what} needs a current process, and none runs here: this is plain asyncio code, or a task "
            "that a handler has started; do it in the handler itself, or in a process made with kb.spawn"
        )
    return cell


@overload
async def receive(*, timeout: float | None = None) -> Any: ...
@overload
async def receive(selector: type[T], /, *, timeout: None = None) -> T: ...
@overload
async def receive(selector: type[T], /, *, timeout: float) -> T | Timeout: ...
@overload
async def receive(*selectors: Selector, timeout: float | None = None) -> Any: ...
async def receive(*selectors: Selector, timeout: float | None = None) -> Any:
    """Take the oldest message that a selector accepts out of the mailbox, waiting for one if need be.

    Args:
        selectors: classes, or functions that tell of a message whether it is wanted; none takes any.
        timeout: seconds to wait, after which a `Timeout()` is returned; 0 only looks; None waits on.

    Raises:
        NotInProcess: this is not a bare process.
    """
    cell = current_cell("receive")
    if cell.info.on_info is not _mail:
        raise NotInProcess(
            f"{cell.label()} is an actor: its messages come to its @message methods and callbacks; "
            "receive is for processes made with kb.spawn"
        )
    if asyncio.current_task(cell.node.loop) is not cell.task:  # type: ignore[comparison-overlap]
        raise NotInProcess(
            f"a task that {cell.label()} has started cannot receive its mail; receive in the process itself"
        )
    accepts = _acceptor(selectors)
    mailbox = cell.mailbox
    if mailbox:
        for index, item in enumerate(mailbox):
            if accepts is None or accepts(item[1]):
                del mailbox[index]
                _made_room(cell)
                return item[1]
    if timeout is not None and timeout <= 0:
        return Timeout()
    wait = ReceiveWait(cell, accepts)
    node = cell.node
    timer = None
    if timeout is not None:
        timer = node.loop.call_later(timeout, wait.wake, Timeout(), None, context=node.context)
    try:
        return await wait.outcome(cell.task, node.loop)
    except asyncio.CancelledError:
        if wait.taken is not None:  # cancelled between the message's arrival and our turn: it is not lost
            if cell.mailbox is None:
                cell.mailbox = deque()
            cell.mailbox.insert(*wait.taken)
        raise
    finally:
        wait.done = True
        if timer is not None:
            timer.cancel()


def _acceptor(selectors: tuple[Selector, ...]) -> Callable[[Any], bool] | None:
    if not selectors:
        return None
    types = tuple(each for each in selectors if isinstance(each, type))
    predicates = [each for each in selectors if not isinstance(each, type)]
    if not predicates:
        return lambda message: isinstance(message, types)
    return lambda message: isinstance(message, types) or any(each(message) for each in predicates)


def _made_room(cell: Cell) -> None:
    if not cell.mailbox:
        cell.mailbox = None
    if cell.traits is not None and cell.traits.room:
        cell.admit(cell.traits.room)
