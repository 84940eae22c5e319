"""Links, monitors, names and timers: what ties a cell to others, and how its end reaches them.

Signals keep the order of each pair: an exit or down message is posted behind whatever the dead
process had sent before. They never wait and are never refused, whatever a mailbox's limit.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol, cast

from ._cell import DEAD, REMOTE, Cell
from ._errors import ActorExited, NameTaken
from ._reasons import KILLED, NOPROC, Down, Exit, ExitReason, Kill, NoConnection, Normal
from ._ref import ActorRef

if TYPE_CHECKING:
    import asyncio

    from ._place import Place
    from ._route import RemoteCell
    from ._timers import Timer


class Bonds:
    """The ties of one cell. All sets are ordered dicts, so that the end is told in a fixed order."""

    __slots__ = (
        "aliases",
        "links",
        "monitors",
        "names",
        "obeys",
        "owed",
        "place",
        "resources",
        "timers",
        "traps",
        "waiters",
        "watched_by",
    )

    def __init__(self) -> None:
        self.traps = False
        # Where in a supervision tree it is; it outlives the cell.
        self.place: Place | None = None
        self.links: dict[Cell, None] = {}
        # The process that started it linked, whose exit ends it even when it traps exits.
        self.obeys: Cell | None = None
        # Monitors that this cell holds, and those that others hold on it.
        self.monitors: dict[Monitor, None] | None = None
        self.watched_by: dict[Watch, None] | None = None
        self.names: list[Any] | None = None
        self.timers: dict[Timer, None] | None = None
        # Calls taken by this cell and not answered yet by anybody.
        self.owed: dict[Any, None] | None = None
        self.aliases: dict[Any, None] | None = None
        # What upper layers let go with this cell, before anybody hears of its end.
        self.resources: dict[Resource, None] | None = None
        # Plain asyncio code that waits for the end.
        self.waiters: list[asyncio.Future[ExitReason]] | None = None


class NameElsewhere:
    """A name that somebody else than the node keeps; `register` hands the cell to it."""

    __slots__ = ()

    def register(self, cell: Cell) -> None:
        """Give the cell this name.

        Raises:
            NameTaken: a living process holds it.
        """
        raise NotImplementedError


class Watch(Protocol):
    """Something that is to hear of an end, once."""

    def fire(self, reason: ExitReason) -> None: ...


class Resource(Protocol):
    """Something of an upper layer that others can see and that goes with the cell that holds it."""

    def owner_ended(self, cell: Cell) -> None:
        """The cell has ended and nobody has been told. Must not wait."""
        ...


class Monitor:
    """One watch of one process over another: exactly one `Down` comes of it, unless it is cancelled."""

    __slots__ = ("_active", "_owner", "_target", "target")

    def __init__(self, owner: Cell, target: Cell, shown: ActorRef[Any]) -> None:
        self._owner = owner
        self._target = target
        self._active = True
        #: The ref that was asked to be monitored: by name it stays the name, not its holder.
        self.target = shown

    def cancel(self, *, flush: bool = False) -> bool:
        """Stop watching; True when the watch was still on.

        A `Down` that is in the mailbox already stays there unless `flush` is set.
        """
        if self._active:  # so nothing has been posted
            self._active = False
            mine, theirs = self._owner.bonds, self._target.bonds
            if mine is not None and mine.monitors is not None:
                mine.monitors.pop(self, None)
            if theirs is not None and theirs.watched_by is not None:
                theirs.watched_by.pop(self, None)
            return True
        mailbox = self._owner.mailbox
        if flush and mailbox:
            kept = [item for item in mailbox if not _is_down(item[1], self)]
            mailbox.clear()
            mailbox.extend(kept)
        return False

    def fire(self, reason: ExitReason) -> None:
        """Post the one `Down`."""
        if self._active:
            self._active = False
            owner = self._owner
            if owner.bonds is not None and owner.bonds.monitors is not None:
                owner.bonds.monitors.pop(self, None)
            down = Down(self, self.target, reason)
            owner.post((owner.info.on_down, down, None, copy_context(), None))

    def __repr__(self) -> str:
        return f"<Monitor of {self.target!r}{'' if self._active else ' (over)'}>"


def _is_down(message: object, monitor: Monitor) -> bool:
    return isinstance(message, Down) and message.monitor is monitor


def bonds_of(cell: Cell) -> Bonds:
    """The cell's bonds, made on first use."""
    if cell.bonds is None:
        cell.bonds = Bonds()
        cell.tied()
    return cell.bonds


def link(one: Cell, other: Cell) -> None:
    """Tie two living cells together; a second time changes nothing."""
    tie(one, other)
    if other.state == REMOTE:
        cast("RemoteCell", other).route.link(cast("RemoteCell", other), one)


def tie(one: Cell, other: Cell) -> None:
    """Tie two cells as far as this node knows them."""
    if one is not other:
        bonds_of(one).links[other] = None
        bonds_of(other).links[one] = None


def link_to_parent(cell: Cell, parent: Cell) -> None:
    """Tie a cell to the process that starts it.

    An actor obeys its parent's exit. A bare process takes its mail itself: to it that is a message
    like any other.
    """
    tie(cell, parent)
    if cell.info.parent_exit is not cell.info.on_exit:
        bonds_of(cell).obeys = parent


def unlink(one: Cell, other: Cell) -> None:
    """Untie two cells. An exit message that is queued already stays."""
    for cell, peer in ((one, other), (other, one)):
        if cell.state == REMOTE and cell.bonds is not None and peer in cell.bonds.links:
            cast("RemoteCell", cell).route.unlink(cast("RemoteCell", cell), peer)
    untie(one, other)


def untie(one: Cell, other: Cell) -> None:
    """Untie two cells as far as this node knows them."""
    for cell, peer in ((one, other), (other, one)):
        if cell.bonds is not None:
            cell.bonds.links.pop(peer, None)


def monitor(owner: Cell, target: Cell, shown: ActorRef[Any]) -> Monitor:
    """Watch a cell. A dead one yields its `Down` with `NoProc` at once."""
    watch = Monitor(owner, target, shown)
    if target.state == DEAD:
        watch.fire(target.doom if isinstance(target.doom, NoConnection) else NOPROC)
        return watch
    mine, theirs = owner.bonds or bonds_of(owner), target.bonds or bonds_of(target)
    if mine.monitors is None:
        mine.monitors = {}
    if theirs.watched_by is None:
        theirs.watched_by = {}
    mine.monitors[watch] = theirs.watched_by[watch] = None
    return watch


def signal_exit(target: Cell, sender: Cell | None, reason: ExitReason, *, by_link: bool) -> None:
    """Deliver an exit signal, by the rules of Erlang.

    `Kill` that was sent (not passed on by a link) cannot be trapped. A trapping process gets
    every other signal as an `Exit` message, except that one from its parent ends it when it comes
    to it. `Normal` never ends a process that does not trap, unless it is sent by itself.
    """
    if target.state >= DEAD:
        if target.state == REMOTE:
            cast("RemoteCell", target).route.signal(
                cast("RemoteCell", target), sender, reason, by_link=by_link
            )
        return
    if isinstance(reason, Kill) and not by_link:
        target.condemn(KILLED, kill=True)
    elif target.bonds is not None and target.bonds.traps:
        if sender is not None and sender is target.bonds.obeys:
            target.post((target.info.parent_exit, reason, None, copy_context(), None))
        else:
            shown: ActorRef[Any] = ActorRef(sender) if sender is not None else ActorRef(target)
            target.post((target.info.on_exit, Exit(shown, reason), None, copy_context(), None))
    elif not isinstance(reason, Normal) or (sender is target and not by_link):
        target.condemn(reason)


def register(cell: Cell, name: Any) -> None:
    """Give the cell a name on its node.

    Raises:
        NameTaken: a living process holds it.
    """
    if isinstance(name, NameElsewhere):
        name.register(cell)
        return
    owner = cell.node.names.get(name)
    if owner is not None and owner is not cell:
        raise NameTaken(name, ActorRef(owner))
    cell.node.names[name] = cell
    if cell.node.route is not None:
        cell.node.route.publish(name, cell, taken=True)
    bonds = bonds_of(cell)
    if bonds.names is None:
        bonds.names = []
    if name not in bonds.names:
        bonds.names.append(name)


def unregister(cell: Cell, name: Any) -> None:
    """Take a name from the cell; nothing happens when it does not hold it."""
    if cell.node.names.get(name) is cell:
        del cell.node.names[name]
        if cell.node.route is not None:
            cell.node.route.publish(name, cell, taken=False)
        assert cell.bonds is not None
        assert cell.bonds.names is not None
        cell.bonds.names.remove(name)


def hold(cell: Cell, resource: Resource) -> None:
    """Have the resource told when the cell ends, as names are released and before links and monitors fire.

    Raises:
        ActorExited: the cell has ended already (`NoProc`), so nothing would ever tell the resource.
    """
    if cell.state == DEAD:
        raise ActorExited(cell.label(), "hold", NOPROC, maybe_executed=False)
    bonds = bonds_of(cell)
    if bonds.resources is None:
        bonds.resources = {}
    bonds.resources[resource] = None


def let_go(cell: Cell, resource: Resource) -> None:
    """The cell's end is no matter of the resource any more; nothing happens when it was none."""
    if cell.bonds is not None and cell.bonds.resources is not None:
        cell.bonds.resources.pop(resource, None)


def release(bonds: Bonds, cell: Cell) -> None:
    """Give back all that others could see, before anybody is told of the end."""
    for resource in tuple(bonds.resources or ()):
        try:
            resource.owner_ended(cell)
        except Exception as error:  # a bug of a layer above, which must not keep the end from its watchers
            cell.node.loop.call_exception_handler(
                {"message": f"{resource!r} was not released with {cell.label()}", "exception": error}
            )
    bonds.resources = None
    for name in bonds.names or ():
        if cell.node.names.get(name) is cell:
            del cell.node.names[name]
            if cell.node.route is not None:
                cell.node.route.publish(name, cell, taken=False)
    bonds.names = None
    for timer in tuple(bonds.timers or ()):
        timer.cancel()
    for alias in tuple(bonds.aliases or ()):
        alias.cancel()
    for watch in tuple(bonds.monitors or ()):
        watch.cancel()


def tell(bonds: Bonds, cell: Cell, reason: ExitReason) -> None:
    """Tell everybody who is tied to the cell that it has ended: links first, then monitors."""
    for peer in tuple(bonds.links):
        untie(cell, peer)
        signal_exit(peer, cell, reason, by_link=True)
    for watch in tuple(bonds.watched_by or ()):
        watch.fire(reason)
    for future in bonds.waiters or ():
        if not future.done():
            future.set_result(reason)
