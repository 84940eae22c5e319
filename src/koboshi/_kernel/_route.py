"""The seam to other nodes: a cell that stands for one elsewhere, and the route that leads to it.

A `RemoteCell` looks like a cell whose mailbox is always full. So every path that delivers, the
shortest one included, comes to `make_room` or `offer` without asking where its target is, and what
local messages cost does not change. Links, monitors and waiters tie local cells to the stand-in;
when the real one ends, its route ends the stand-in, and from there on all goes as for any cell.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ._actor import ActorClass
from ._cell import DEAD, REMOTE, Cell, Item
from ._end import end
from ._errors import UsageError
from ._message import Entry, answer_for, wire_name
from ._node import this_node

if TYPE_CHECKING:
    from ._node import Node
    from ._reasons import ExitReason
    from ._ref import ActorRef
    from ._reply import Alias, ReplyTo
    from ._wait import Request, Wait

MESSAGE, INFO, STOP = "message", "info", "stop"
# Also what a system message is called on its way: no method has this name.
SYSTEM = "<system>"
# What a node itself is called by others, as the target of operations over it and not over a cell.
NODE_ID = "node"

# Of nothing but its length, 0, which is the limit of a `RemoteCell`: nothing ever lies here.
_FULL: deque[Any] = deque(maxlen=0)


class Route(Protocol):
    """Leads from this node to all others. None of its methods waits; each pair's order is kept."""

    def deliver(self, cell: RemoteCell, item: Item) -> None:
        """Send a message, an object or a stop request. `item[0]` is a `RemoteMessage`.

        Raises:
            MailboxFull, WireError: it was refused here; nothing was sent.
        """
        ...

    def deliver_with_room(self, cell: RemoteCell, room: Wait, item: Item) -> None:
        """Send a message that waits for room there; `room` is woken when it has been taken in."""
        ...

    def probe(self, cell: RemoteCell, request: Request) -> None:
        """Fail a call of this node with `CallCycle` if `cell`, which its callee waits for, waits for it."""
        ...

    def signal(self, cell: RemoteCell, sender: Cell | None, reason: ExitReason, *, by_link: bool) -> None:
        """Send an exit signal."""
        ...

    def condemn(self, cell: RemoteCell, reason: ExitReason, *, kill: bool) -> None:
        """Have the cell ended, whatever it traps."""
        ...

    def link(self, cell: RemoteCell, local: Cell) -> None:
        """Tie the other end; if nobody is there, an exit signal comes back."""
        ...

    def unlink(self, cell: RemoteCell, local: Cell) -> None:
        """Untie the other end."""
        ...

    def watch(self, cell: RemoteCell) -> None:
        """Have `ended` called on the stand-in when the real cell ends, soon if it has ended."""
        ...

    def suspend(self, cell: RemoteCell, on: bool) -> None:
        """Suspend or resume the cell."""
        ...

    def other_nodes(self) -> list[RemoteCell]:
        """Stands for each of the other nodes itself; takes system messages, whose operations get the node."""
        ...

    def publish(self, name: Any, cell: Cell, *, taken: bool) -> None:
        """A cell has taken a name, or given it back."""
        ...

    def address_of_ref(self, ref: ActorRef[Any]) -> tuple[Any, ...]:
        """What another node makes a ref from."""
        ...

    def address_of_reply(self, reply: ReplyTo[Any]) -> tuple[Any, ...]:
        """What another node makes a reply address from."""
        ...

    def address_of_alias(self, alias: Alias) -> tuple[Any, ...]:
        """What another node makes an alias from."""
        ...

    def ref(self, address: tuple[Any, ...]) -> ActorRef[Any]:
        """The ref that an address stands for, on this node."""
        ...

    def reply(self, address: tuple[Any, ...]) -> ReplyTo[Any]:
        """The reply address that an address stands for, on this node."""
        ...

    def alias(self, address: tuple[Any, ...]) -> Alias:
        """The alias that an address stands for, on this node."""
        ...


class RemoteMessage:
    """Stands for a function of an actor on another node, where it would be run here."""

    def __init__(self, kind: str, name: str, shown: str) -> None:
        self.kind = kind
        self.name = name
        self.__qualname__ = shown


class RemoteCell(Cell):
    """Stands for a cell of another node. It has no mailbox, no actor and no turns.

    Args:
        id: its address, unique on this node: a tuple, so that it is no number of a cell of ours.
        lasting: it stands for a place, not for one incarnation, so it outlives each of them.
    """

    __slots__ = ("lasting", "route", "shown", "way")

    def __init__(
        self, node: Node, info: ActorClass, parent: Cell | None, route: Route, id: Any, shown: str = ""
    ) -> None:
        self.node = node
        self.info = remote_class(info)
        self.parent = parent
        self.state = REMOTE
        self.protocol = self.info.protocol
        self.limit = 0
        self.actor = None
        self.mailbox = _FULL
        self.task = None
        self.bonds = None
        self.traits = None
        self.doom = None
        self.stop_due = False
        self.held = None
        self.handled = 0
        self.id: Any = id
        self.route = route
        self.lasting = False
        self.shown = shown
        # The route's own: what leads to the node, so that it is not looked up for each message.
        self.way: Any = None

    def post(self, item: Item) -> None:
        if self.state == REMOTE:
            self.route.deliver(self, item)

    def post_first(self, item: Item) -> None:
        self.post(item)

    def offer(self, item: Item) -> None:
        self.route.deliver(self, item)

    def make_room(self, item: Item) -> bool:
        self.route.deliver(self, item)
        return False

    def wait_room(self, sender: Wait, item: Item) -> None:
        self.route.deliver_with_room(self, sender, item)

    def become(self, info: ActorClass, run: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Know the real cell as one of another class."""
        old, self.info = self.info, remote_class(info)
        answer_for(old.protocol, self.info.protocol)
        if self.state == REMOTE:
            self.protocol = self.info.protocol

    def condemn(self, reason: ExitReason, *, kill: bool = False) -> None:
        if self.state == REMOTE:
            self.route.condemn(self, reason, kill=kill)

    def tied(self) -> None:
        if self.state == REMOTE:
            self.route.watch(self)

    def label(self) -> str:
        if self.bonds is not None and self.bonds.place is not None:
            return self.bonds.place.label()
        return self.shown or f"{self.info.name}#{self.id}"

    def ended(self, reason: ExitReason) -> None:
        """The real cell has ended: tell all who are tied to it here."""
        if self.state == DEAD:
            return
        protocol = self.protocol
        end(self, reason)
        if self.lasting:
            self.state, self.protocol, self.mailbox = REMOTE, protocol, _FULL
            self.bonds = self.traits = self.doom = None


@functools.cache
def remote_class(info: ActorClass) -> ActorClass:
    """The class record of stand-ins: what would be run here are names of what is run there."""
    made = ActorClass.__new__(ActorClass)
    for name in ActorClass.__slots__:
        setattr(made, name, getattr(info, name))
    made.protocol = {}
    done: dict[int, Entry] = {}
    for fn, entry in info.protocol.items():
        remote = done.get(id(entry))
        if remote is None:
            remote = done[id(entry)] = Entry.__new__(Entry)
            for name in Entry.__slots__:
                setattr(remote, name, getattr(entry, name))
            remote.fn = RemoteMessage(MESSAGE, wire_name(entry), entry.name)  # type: ignore[assignment]
        made.protocol[fn] = remote
    taken: Any = RemoteMessage(INFO, "", "tell")
    stop: Any = RemoteMessage(STOP, "", "stop")
    made.on_info = taken
    # A bare process would not know a stop request, see `ActorRef.stop`.
    made.stop_request = taken if info.stop_request is info.on_info else stop
    made.parent_exit = made.stop_request
    system: Any = None if info.system is None else RemoteMessage(SYSTEM, SYSTEM, SYSTEM)
    made.system = system
    made.by_name = None
    return made


def messages_by_name(info: ActorClass) -> dict[str, Entry]:
    """The messages of an actor class by what they are called on their way here."""
    if info.by_name is None:
        info.by_name = {wire_name(entry): entry for entry in info.protocol.values()}
    return info.by_name


# -- how addresses travel ------------------------------------------------------------------------


def route_of(node: Node, what: str) -> Route:
    """The node's route.

    Raises:
        UsageError: this node has no others.
    """
    if node.route is None:
        raise UsageError(
            f"{what} can be sent to other nodes of this program, and this process is not joined to any; "
            "it cannot be stored or sent elsewhere"
        )
    return node.route


def ref_from(address: tuple[Any, ...]) -> ActorRef[Any]:
    """Make a ref on the node that it has reached."""
    return route_of(_node(), "a ref").ref(address)


def reply_from(address: tuple[Any, ...]) -> ReplyTo[Any]:
    """Make a reply address on the node that it has reached."""
    return route_of(_node(), "a reply address").reply(address)


def alias_from(address: tuple[Any, ...]) -> Alias:
    """Make an alias on the node that it has reached."""
    return route_of(_node(), "an alias").alias(address)


def _node() -> Node:
    try:
        return this_node()
    except RuntimeError:
        raise UsageError("a ref was unpickled where no node runs; refs travel between nodes only") from None
