"""Replies that do not come from a handler's return: later, from elsewhere, or once to an address.

`ReplyTo` is a reply-once address. `defer` takes the reply of the call in hand out of the handler's
hands; an `Alias` is the reply-once address of a bare process. Whatever is sent to one a second time,
or after nobody waits any more, goes nowhere: it can never turn up as somebody else's message.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._bonds import bonds_of
from ._calls import deadline_of
from ._cell import NO_KWARGS, Cell
from ._errors import NotInProcess
from ._node import this_node
from ._wait import Request

if TYPE_CHECKING:
    from ._cell import Item, Shortcut

T = TypeVar("T")


class ReplyTo(Generic[T]):
    """The address of one reply. It may be stored, passed on, and used once by whoever holds it."""

    __slots__ = ("_request",)

    def __init__(self, request: Request | None) -> None:
        self._request = request

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for this reply."""
        return self._request is not None and not self._request.done

    @property
    def request(self) -> Request | None:
        """The call that is to be answered; None when it has been, or was none."""
        return self._request

    def send(self, value: T) -> bool:
        """Answer; False when nobody waits any more or the answer was given before."""
        request = self.hand_over()
        return request is not None and request.answer(value)

    def fail(self, error: BaseException) -> bool:
        """Let the caller's `call` raise the error; False as in `send`."""
        request = self.hand_over()
        return request is not None and request.fail(error)

    def hand_over(self) -> Request | None:
        """Give up the request: it is owed by nobody from here on."""
        request, self._request = self._request, None
        if request is not None:
            _disown(request)
        return request

    def __reduce__(self) -> tuple[Any, ...]:
        from ._route import reply_from, route_of

        return reply_from, (route_of(this_node(), "a reply address").address_of_reply(self),)

    def __repr__(self) -> str:
        return f"<ReplyTo {'wanted' if self.wanted else 'over'}>"


def in_hand() -> tuple[Cell, Item | Shortcut]:
    """The cell that runs now and the message that it is on.

    Raises:
        NotInProcess: no actor runs here.
    """
    node = this_node()
    cell = node.current
    if cell is None or node.item is None:
        raise NotInProcess("only code of an actor that handles a message can do this; none is running here")
    return cell, cell.task.item if cell.task is not None else node.item


def defer() -> ReplyTo[Any]:
    """Take the reply to the call in hand over: what the handler returns is ignored, `send` answers.

    The call fails at once, with `ActorExited`, when this actor ends before the reply is sent. For a
    cast the address is there as well and leads nowhere.
    """
    cell, request = _deferred()
    if request is not None:
        cell.node.owe(cell, request)
    return ReplyTo(request)


def take_reply() -> Request | None:
    """As `defer`, for who answers whatever becomes of this actor: the call in hand; None for a cast."""
    _, request = _deferred()
    if request is not None:
        _disown(request)
    return request


def _deferred() -> tuple[Cell, Request | None]:
    """The cell that runs now, and the call in hand, which its handler does not answer."""
    cell, item = in_hand()
    if len(item) == 5:
        request = item[4]
        if request is None:
            return cell, None
    else:
        # The handler runs on its caller's stack and nobody has needed a request so far.
        node, entry = cell.node, item[0]
        request = Request(cell, entry.fn, node.loop.time(), None)
        node.item = (entry.fn, (), NO_KWARGS, copy_context(), request)
    request.deferred = request.started = True
    return cell, request


def _disown(request: Request) -> None:
    """Nobody owes the reply from here on."""
    bonds = request.target.bonds
    if bonds is not None and bonds.owed:
        bonds.owed.pop(request, None)


def time_left() -> float | None:
    """Seconds until the caller of the message in hand gives up; None when it never will."""
    cell, item = in_hand()
    now = cell.node.loop.time()
    if len(item) == 5:
        deadline = None if item[4] is None else item[4].deadline
    else:
        _, caller, ref = item
        own = None if ref._within is None else now + ref._within
        both = [each for each in (own, deadline_of(caller)) if each is not None]
        deadline = min(both) if both else None
    return None if deadline is None else max(0.0, deadline - now)


class Alias:
    """A second address of a bare process: what is sent to it arrives as ordinary mail, while it lasts.

    Args:
        once: it vanishes with the first message.
    """

    __slots__ = ("__weakref__", "_cell", "_once")

    def __init__(self, cell: Cell, *, once: bool) -> None:
        self._cell: Cell | None = cell
        self._once = once
        bonds = bonds_of(cell)
        if bonds.aliases is None:
            bonds.aliases = {}
        bonds.aliases[self] = None

    def send(self, value: object) -> bool:
        """Deliver; False when the address is no more."""
        cell = self._cell
        if cell is None:
            return False
        if self._once:
            self.cancel()
        cell.post((cell.info.on_info, value, None, copy_context(), None))
        return True

    def cancel(self) -> None:
        """Make the address vanish."""
        cell, self._cell = self._cell, None
        if cell is not None and cell.bonds is not None and cell.bonds.aliases is not None:
            cell.bonds.aliases.pop(self, None)

    def __reduce__(self) -> tuple[Any, ...]:
        from ._route import alias_from, route_of

        return alias_from, (route_of(this_node(), "an alias").address_of_alias(self),)

    def __repr__(self) -> str:
        return f"<Alias of {self._cell.label() if self._cell is not None else 'nobody'}>"


def alias(*, once: bool = True) -> Alias:
    """A reply address of the current process, to be put into a message: `Compute(text, kb.alias())`."""
    cell = this_node().current
    if cell is None:
        raise NotInProcess("an alias belongs to a process; outside of one use `await ref.ask(make)`")
    return Alias(cell, once=once)
