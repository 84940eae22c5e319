"""What a process asks about itself and does to its ties: module-level functions of the public face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, overload

from . import _bonds
from ._actor import Actor
from ._bonds import Monitor
from ._cell import DEAD, STATE_NAMES, Cell
from ._errors import ActorExited, UsageError
from ._events import Instrument
from ._node import this_node
from ._place import NamePlace
from ._process import current_cell
from ._reasons import NOPROC, Exit, Normal
from ._ref import ActorRef
from ._start import launch, started
from ._watchdog import watchdog_of

AA = TypeVar("AA", bound=Actor)
P = ParamSpec("P")


def me() -> ActorRef[Any]:
    """The address of the current process."""
    return ActorRef(current_cell("me"))


async def start(cls: Callable[P, AA], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[AA]:
    """Start an actor that no supervisor looks after; returns when its `on_start` is done.

    Raises:
        StartError: `__init__` or `on_start` failed; nothing of it is left.
        Ignored: `on_start` returned `IGNORE`.
    """
    node = this_node()
    cell = launch(node, actor_class(cls), args, kwargs, node.current)
    if cell.task is not None:
        await started(cell, None)
    return ActorRef(cell)


async def start_link(cls: Callable[P, AA], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[AA]:
    """Like `start`, linked to the current process from the first moment.

    A failed start raises, and ends a caller that does not trap exits through the link, unless the
    reason is `Normal()`. A caller that traps gets the error and no exit message.
    """
    parent = current_cell("start_link")
    try:
        cell = launch(
            parent.node,
            actor_class(cls),
            args,
            kwargs,
            parent,
            lambda cell: _bonds.link_to_parent(cell, parent),
        )
        await started(cell, None)
    except Exception as error:
        reason = getattr(error, "reason", Normal())
        if not (parent.bonds is not None and parent.bonds.traps) and not isinstance(reason, Normal):
            parent.condemn(reason)
        raise
    return ActorRef(cell)


def actor_class(cls: Any) -> Any:
    """The runtime's record of an actor class.

    Raises:
        UsageError: it is not one.
    """
    if isinstance(cls, type) and issubclass(cls, Actor):
        return cls._kb_info
    raise UsageError(
        f"expected a subclass of kb.Actor, got {cls!r}; write `class Name(kb.Actor): ...`"
        + (
            ", and pass the class with its arguments rather than an instance"
            if isinstance(cls, Actor)
            else ""
        )
    )


def link(ref: ActorRef[Any]) -> None:
    """Tie the current process to another: the abnormal end of one ends the other, or tells it.

    Raises:
        ActorExited: nobody is there (`NoProc`), and the caller does not trap exits. One that traps gets
            an `Exit` message instead.
    """
    cell, target = current_cell("link"), ref._target()
    if target.state != DEAD:
        _bonds.link(cell, target)
    elif cell.bonds is not None and cell.bonds.traps:
        cell.post((cell.info.on_exit, Exit(ref, NOPROC), None, cell.node.context.copy(), None))
    else:
        raise ActorExited(repr(ref), "link", NOPROC, maybe_executed=False)


def unlink(ref: ActorRef[Any]) -> None:
    """Untie the two. No exit of this link comes later; one that is in the mailbox already stays."""
    _bonds.unlink(current_cell("unlink"), ref._target())


def monitor(ref: ActorRef[Any]) -> Monitor:
    """Have a `Down` sent to the current process when that incarnation ends, at once if it has ended.

    A stable ref is resolved now: the monitor does not follow it to the next incarnation.
    """
    return _bonds.monitor(current_cell("monitor"), ref._target(), ref)


def trap_exits(on: bool = True) -> None:
    """Have exit signals to the current process arrive as `Exit` messages."""
    _bonds.bonds_of(current_cell("trap_exits")).traps = on


def register(name: Any, ref: ActorRef[Any] | None = None) -> None:
    """Give a process a name on this node: the current one, or the one at `ref`.

    Names are any hashable value, strings or tuples by custom; `1`, `1.0` and `True` are one name. A
    name is free again before anybody hears of its owner's end.

    Raises:
        NameTaken: a living process holds it.
        UsageError: the name cannot be hashed.
        ActorExited: nobody is at `ref` (`NoProc`).
    """
    cell = current_cell("register") if ref is None else ref._target()
    try:
        hash(name)
    except TypeError:
        raise UsageError(f"a name must be hashable, such as a string or a tuple, got {name!r}") from None
    if cell.state == DEAD:
        raise ActorExited(repr(ref), "register", NOPROC, maybe_executed=False)
    _bonds.register(cell, name)


def unregister(name: Any) -> bool:
    """Free a name; False when nobody holds it."""
    owner = this_node().names.get(name)
    if owner is None:
        return False
    _bonds.unregister(owner, name)
    return True


def whereis(name: Any) -> ActorRef[Any] | None:
    """A pid ref to whoever holds the name now."""
    owner = this_node().names.get(name)
    return None if owner is None else ActorRef(owner)


@overload
def named(cls: type[AA], name: Any, /) -> ActorRef[AA]: ...
@overload
def named(name: Any, /) -> ActorRef[Any]: ...
def named(cls: Any, name: Any = None, /) -> ActorRef[Any]:
    """A stable ref to a name: each send goes to whoever holds it then."""
    node = this_node()
    if name is None:
        cls, name = Actor, cls
    return ActorRef(nobody(cls), NamePlace(node, name))


def nobody(cls: type[Actor]) -> Cell:
    """A dead cell, which makes a stable ref look its place up at every send."""
    node = this_node()
    info = actor_class(cls)
    nobody: dict[Any, Cell] = node.services.setdefault("nobody", {})
    cell = nobody.get(info)
    if cell is None:
        cell = Cell(node, info, None)
        node.cells.pop(cell.id)
        cell.state, cell.protocol, cell.doom = DEAD, {}, NOPROC
        nobody[info] = cell
    return cell


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process at one moment.

    Attributes:
        ref: its pid ref.
        label: its path in its tree, or class and number.
        state: idle, queued, running, waiting, stopping, suspended or dead.
        mailbox: messages that wait.
        handled: messages handled so far.
        links, monitors, watched_by: how many ties of each kind.
        names: registered names.
        ancestors: who started it, nearest first.
        message: the message in hand, None when there is none.
    """

    ref: ActorRef[Any]
    label: str
    state: str
    mailbox: int
    limit: int
    handled: int
    links: int
    monitors: int
    watched_by: int
    names: tuple[Any, ...]
    traps_exits: bool
    ancestors: tuple[str, ...]
    message: str | None


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """A node at one moment.

    Attributes:
        processes: how many are alive.
        names: registered names.
        queued: cells that wait for their turn.
        turns: turns and steps given so far.
        waiting_calls: calls with a deadline that are not answered yet.
        blocked: handlers that the watchdog has reported.
    """

    processes: int
    names: int
    queued: int
    turns: int
    waiting_calls: int
    blocked: int


def statistics() -> NodeStatistics:
    """Figures of the running event loop's node."""
    node = this_node()
    return NodeStatistics(
        processes=len(node.cells),
        names=len(node.names),
        queued=node.queued,
        turns=node.tick,
        waiting_calls=len(node.deadlines),
        blocked=watchdog_of(node).blocked,
    )


def listen(instrument: Instrument) -> Callable[[], None]:
    """Have `instrument` told of all that happens on this node; the function returned ends that.

    It is called with each event of `kb.events` as it happens, on the event loop's thread, and must not
    block. One that raises is logged and disturbs nobody.
    """
    return this_node().instruments.add(instrument)


def info(ref: ActorRef[Any]) -> ProcessInfo:
    """What can be said of a process from outside, without asking it."""
    return _info(ref._target())


def processes() -> list[ProcessInfo]:
    """All living processes of this node, the oldest first."""
    return [_info(cell) for cell in tuple(this_node().cells.values())]


def _info(cell: Cell) -> ProcessInfo:
    from ._message import describe

    bonds = cell.bonds
    return ProcessInfo(
        ref=ActorRef(cell),
        label=cell.label(),
        state=STATE_NAMES[cell.state],
        mailbox=len(cell.mailbox) if cell.mailbox else 0,
        limit=cell.limit,
        handled=cell.handled,
        links=len(bonds.links) if bonds is not None else 0,
        monitors=len(bonds.monitors or ()) if bonds is not None else 0,
        watched_by=len(bonds.watched_by or ()) if bonds is not None else 0,
        names=tuple(bonds.names or ()) if bonds is not None else (),
        traps_exits=bonds is not None and bonds.traps,
        ancestors=cell.ancestors(),
        message=None if cell.task is None else describe(cell.task.item[0]),
    )
