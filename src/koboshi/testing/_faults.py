"""Faults on purpose: crashes, kills, late replies, full mailboxes and dead worker processes.

Each is a context manager and acts on messages that are sent while it is open. What is changed is the entry
of the message in the class's protocol, so nothing costs anything when no fault is open. A fault acts on
actors of this process; worker nodes have their own.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .. import ActorRef, WorkerNode
from .._kernel._actor import Actor
from .._kernel._cell import DEAD, REMOTE, Cell
from .._kernel._errors import KoboshiError, UsageError
from .._kernel._message import MARK, Entry
from .._kernel._reply import defer, in_hand

Target = Any  # an `ActorRef`, or a class of actors


class InjectedCrash(KoboshiError):
    """What `crash_on` and `crash_after` raise in a handler's place.

    Attributes:
        message: the method's name.
        nth: which of the messages that were counted it was, from 1.
    """

    def __init__(self, message: str, nth: int) -> None:
        super().__init__(f"injected at message {nth}: {message}")
        self.message = message
        self.nth = nth


class Fault:
    """A fault that is open.

    Attributes:
        seen: messages counted so far.
        fired: how often it has acted.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.fired = 0

    def __repr__(self) -> str:
        return f"<Fault fired {self.fired} of {self.seen}>"


@contextmanager
def crash_on(
    target: Target, message: Any, *, nth: int = 1, error: BaseException | None = None
) -> Generator[Fault]:
    """Crash the actor at the nth such message, in place of its handler; the later ones are handled.

    Args:
        target: a ref, or a class for all its actors together.
        message: the method, as `Counter.add`.
        nth: which one counts, from 1.
        error: what is raised, an `InjectedCrash` by default.
    """
    _check_count("nth", nth)
    _check_error(error)

    def act(fault: Fault, entry: Entry, run: Callable[[], Any], actor: Any) -> Any:
        fault.seen += 1
        if fault.seen != nth:
            return run()
        fault.fired += 1
        raise InjectedCrash(entry.name, nth) if error is None else error

    with _open(target, message, act) as fault:
        yield fault


@contextmanager
def crash_after(target: Target, n: int, *, error: BaseException | None = None) -> Generator[Fault]:
    """Let n messages of any kind be handled and crash the actor at the next one, once."""
    if type(n) is not int or n < 0:
        raise UsageError(f"n must be a whole number >= 0, got {n!r}")
    with crash_on(target, None, nth=n + 1, error=error) as fault:
        yield fault


@contextmanager
def kill_on(target: Target, message: Any = None, *, nth: int = 1) -> Generator[Fault]:
    """Kill the actor at the nth such message, in place of its handler; None for `message` counts all."""
    _check_count("nth", nth)

    def act(fault: Fault, entry: Entry, run: Callable[[], Any], actor: Any) -> Any:
        fault.seen += 1
        if fault.seen != nth:
            return run()
        fault.fired += 1
        defer()  # what this returns is no reply: the caller is to hear of the end
        ActorRef[Any](actor._kb_cell).kill()
        return None

    with _open(target, message, act) as fault:
        yield fault


@contextmanager
def delay_replies(target: Target, message: Any, seconds: float) -> Generator[Fault]:
    """Handle each such message at once and hold its reply back for `seconds` of the loop's time.

    A handler that defers its reply itself is not touched.
    """
    given: object = seconds
    if not isinstance(given, int | float) or isinstance(given, bool) or not given >= 0:
        raise UsageError(f"seconds must be >= 0, got {seconds!r}")

    def hold(fault: Fault, cell: Cell, value: Any) -> Any:
        _, item = in_hand()
        if len(item) == 5 and (item[4] is None or item[4].deferred):
            return value  # a cast, or the handler has taken the reply over
        fault.fired += 1
        cell.node.loop.call_later(seconds, defer().send, value)
        return None

    def act(fault: Fault, entry: Entry, run: Callable[[], Any], actor: Any) -> Any:
        fault.seen += 1
        if not entry.is_async:
            return hold(fault, actor._kb_cell, run())

        async def later() -> Any:
            return hold(fault, actor._kb_cell, await run())

        return later()

    with _open(target, message, act) as fault:
        yield fault


@contextmanager
def full_mailbox(ref: ActorRef[Any]) -> Generator[None]:
    """Let the actor's mailbox be full: its overflow policy meets each message, and it handles none.

    What was in the mailbox before stays, and is handled when this is over.
    """
    cell = _local(ref)
    held = _full.get(cell)
    if held is None:
        held = _full[cell] = _Full(cell.limit)
        cell.node.suspend(cell)
        if cell.mailbox is None:
            cell.mailbox = deque()
        cell.limit = 0
    held.opened += 1
    try:
        yield
    finally:
        held.opened -= 1
        if not held.opened:
            del _full[cell]
            cell.limit = held.limit
            if cell.state != DEAD:
                cell.node.resume(cell)


async def kill_process(node: ActorRef[WorkerNode]) -> int:
    """Kill the OS process of a worker node with SIGKILL, as the kernel does when memory is short.

    Returns the number of the process. What lived there ends with `NoConnection` once that is noticed:
    await the end of something there, `tree.wait_ready()` comes too early.

    Raises:
        UsageError: it is no ref, or not to a worker node; or the node is a thread of this process.
    """
    given: object = node
    if not isinstance(given, ActorRef):
        raise UsageError(f"expected a ref to a node, as of tree.ref(kb.WorkerNode, 'n1'), got {node!r}")
    known = await node.call(WorkerNode.statistics)
    if known.pid == os.getpid():
        raise UsageError(f"node {known.name!r} is a thread of this process: its end would be ours")
    os.kill(known.pid, signal.SIGKILL)
    return known.pid


# -- how a fault gets in between -------------------------------------------------------------------------

Act = Callable[[Fault, Entry, Callable[[], Any], Any], Any]


@dataclass(slots=True)
class _Full:
    """A mailbox that is full on purpose: its own limit, and how many faults hold it so."""

    limit: int
    opened: int = 0


_full: dict[Cell, _Full] = {}


@dataclass(slots=True, eq=False)
class _Layer:
    """A fault around a handler. What it is around changes when the one beneath closes first."""

    inner: Callable[..., Any]


# The layers that are open around each entry's handler, innermost first.
_layers: dict[Entry, list[_Layer]] = {}


@contextmanager
def _open(target: Target, message: Any, act: Act) -> Generator[Fault]:
    """Put `act` in the place of the handlers of a message, or of all, for one actor or a class's."""
    fault = Fault()
    opened: list[tuple[Entry, _Layer]] = []
    for entry in _entries(target, message):
        layer = _Layer(entry.fn)
        entry.fn = _between(fault, entry, layer, target, act)
        _layers.setdefault(entry, []).append(layer)
        opened.append((entry, layer))
    try:
        yield fault
    finally:
        for entry, layer in opened:
            _remove(entry, layer)


def _remove(entry: Entry, layer: _Layer) -> None:
    """Take one fault from around a handler, whichever are open beneath and above."""
    layers = _layers[entry]
    at = layers.index(layer)
    if at == len(layers) - 1:
        entry.fn = layer.inner
    else:
        layers[at + 1].inner = layer.inner
    del layers[at]
    if not layers:
        del _layers[entry]


def _between(fault: Fault, entry: Entry, layer: _Layer, target: Target, act: Act) -> Callable[..., Any]:
    def run(actor: Any, *args: Any, **kwargs: Any) -> Any:
        fn = layer.inner
        # A stable ref means whoever is there now, so it is asked at each message.
        if isinstance(target, ActorRef) and target._target() is not actor._kb_cell:
            return fn(actor, *args, **kwargs)
        return act(fault, entry, lambda: fn(actor, *args, **kwargs), actor)

    run.__name__ = getattr(layer.inner, "__name__", entry.name)
    run.__qualname__ = entry.name
    return run


def _entries(target: Target, message: Any) -> list[Entry]:
    """The entries of a message, or of all, in the classes that are meant.

    Raises:
        UsageError: the target is no actor here, or knows no such message.
    """
    if message is not None and not getattr(message, MARK, False):
        raise UsageError(f"message must be a method marked with @message, got {message!r}")
    ref: Any = target
    if isinstance(target, ActorRef):
        classes: list[Any] = [_local(ref).info.cls]
    elif isinstance(target, type) and issubclass(target, Actor):
        classes = [*_with_subclasses(target)]
    else:
        raise UsageError(f"target must be a ref or a subclass of kb.Actor, got {target!r}")
    found: dict[int, Entry] = {}
    for cls in classes:
        protocol = cls._kb_info.protocol
        if message is None:
            found.update({id(entry): entry for entry in protocol.values()})
        elif message in protocol:
            found[id(protocol[message])] = protocol[message]
    if not found:
        what = "messages" if message is None else f"message {message.__qualname__}"
        raise UsageError(f"{target!r} has no {what}")
    return list(found.values())


def _with_subclasses(cls: type[Actor]) -> list[type[Actor]]:
    found = [cls]
    for each in cls.__subclasses__():
        found += _with_subclasses(each)
    return found


def _local(ref: ActorRef[Any]) -> Cell:
    if not isinstance(ref, ActorRef):
        raise UsageError(f"expected a ref, got {ref!r}")
    cell = ref._target()
    if cell.state == REMOTE:
        raise UsageError(f"{ref!r} lives in another process, and faults act in this one only")
    if cell.state == DEAD:
        raise UsageError(f"nobody is at {ref!r}")
    return cell


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} must be a whole number >= 1, got {value!r}")


def _check_error(error: object) -> None:
    if error is not None and not isinstance(error, BaseException):
        raise UsageError(f"error must be an exception to raise, got {error!r}")
