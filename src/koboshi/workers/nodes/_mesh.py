"""A node's way to all others: messages, calls under way, signals and ends.

This is the kernel's route. `Mesh` has what leaves; what arrives is read in `_arrivals`; who is who, in
`_addresses`.
"""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..._kernel._bonds import bonds_of
from ..._kernel._cell import REMOTE, Cell, Item
from ..._kernel._context import correlation_id
from ..._kernel._end import hear_by_error
from ..._kernel._errors import ActorExited, MailboxFull, StartError
from ..._kernel._message import describe
from ..._kernel._reasons import ExitReason, NoConnection
from ..._kernel._route import INFO, MESSAGE, STOP, SYSTEM, RemoteCell, RemoteMessage
from ..._kernel._wait import Request, Wait
from ...wire import NotPicklable, WireError
from ...wire._buffers import BufferedPickle
from ...wire._pickle import dumps, is_small
from .._errors import ResultNotPicklable
from ._addresses import Addresses
from ._calls import Incoming, InFlight, Room
from ._connection import CONGESTED, Connection, Lane
from ._cycles import chain_of
from ._ops import (
    CALL,
    CANCEL,
    CAST,
    CONDEMN,
    ENDED,
    FAIL,
    FULL,
    LINK,
    NAME,
    PROBE,
    REPLY,
    REPLY_PACKED,
    ROOM,
    SEND,
    SIGNAL,
    SUSPEND,
    TELL,
    UNLINK,
    UNNAME,
    WATCH,
    Op,
)
from ._ops import STOP as STOP_OP
from ._parcel import pack, pack_args, pack_error, pack_reason
from ._spawn import start_ended

if TYPE_CHECKING:
    from ..._kernel._node import Node


class Transport(Protocol):
    """Carries operations to a node."""

    def lane(self, dest: int) -> Lane:
        """The way to a node. What is sent to one that is gone goes nowhere."""
        ...

    def opened(self, connection: Connection) -> None:
        """Something was sent that `flush` is to let leave."""
        ...

    def flush(self) -> None:
        """Let everything leave that was sent."""
        ...

    def linger(self, dest: int) -> None:
        """Look whether something comes from a node at once."""
        ...


class RemoteWatch:
    """Another node's interest in the end of a cell: it is told once."""

    __slots__ = ("_mesh", "_name", "source")

    def __init__(self, mesh: Mesh, source: int, name: Any) -> None:
        self._mesh = mesh
        self.source = source
        # What the other node calls the cell.
        self._name = name

    # That a stand-in comes and goes there, and asks each time, is still one interest.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteWatch) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[int, Any]:
        return self.source, self._name

    def fire(self, reason: ExitReason) -> None:
        self._mesh.send(self.source, (ENDED, self._name, pack_reason(reason)))


def _is_of(watch: object, index: int) -> bool:
    return isinstance(watch, RemoteWatch) and watch.source == index


class Mesh(Addresses):
    """All nodes as one of them sees them."""

    def __init__(self, node: Node, index: int, name: str, transport: Transport) -> None:
        super().__init__(node, index, name)
        self.transport = transport
        # The nodes that there are, by index, without this one.
        self.nodes: dict[int, str] = {}
        self.incoming: dict[tuple[int, int], Incoming] = {}
        # Casts that wait for room here, by who sent them and what it calls the cell.
        self.waiting: dict[tuple[int, Any], int] = {}
        # Mailboxes elsewhere that are full, with their limits.
        self.full: dict[RemoteCell, int] = {}
        self._flush_due = False
        self._hurried = False
        # What a message runs in, unless it brings something.
        self.context = Context()

    # -- leaving -----------------------------------------------------------------------------------

    def send(self, dest: int, op: Op) -> None:
        """Have an operation leave at the end of this tick."""
        lane = self.transport.lane(dest)
        if lane.send(op):
            self._opened(lane)
        for each in op:
            if each.__class__ is BufferedPickle:
                lane.carry(each)

    def _opened(self, lane: Lane) -> None:
        """The first operation of this tick for a node: see to it that it leaves."""
        self.transport.opened(lane.connection)
        if not self._flush_due and not self.node.will_flush:
            self._flush_due = True
            self.node.loop.call_soon(self._flush_late, context=self.node.context)

    def _flush_late(self) -> None:
        self._flush_due = self._hurried = False
        self.transport.flush()

    def deliver(self, cell: RemoteCell, item: Item) -> None:
        remote, args, kwargs, context, request = item
        message = cast("RemoteMessage", remote)
        lane = cell.way
        if lane is None:
            lane = cell.way = self.transport.lane(cell.id[0])
        if message.kind is not STOP and message.kind is not SYSTEM:  # these are refused nowhere
            if self.full and cell in self.full:
                raise MailboxFull(cell.label(), describe(message), self.full[cell])
            if lane.connection.unsent_bytes > CONGESTED:
                why = f"{CONGESTED >> 20} MB wait for the node of {cell.label()} already"
                raise MailboxFull(cell.label(), describe(message), 0, why)
        kind = message.kind
        name = cell.id[1]
        carried = context.get(correlation_id)
        if kind is MESSAGE or kind is SYSTEM:
            packed = pack_args(args, kwargs, describe(message if kind is MESSAGE else args[0]))
            if request is not None:
                self._call(CALL, cell, lane, message.name, packed, carried, request)
                return
            op: Op = (CAST, name, message.name, packed, carried)
        elif kind is INFO:
            packed = pack(args, "an object", parts=(args,))
            op = (TELL, name, packed, carried)
        else:
            packed = pack_reason(args)
            op = (STOP_OP, name, packed)
        if lane.send(op):
            self._opened(lane)
        if not isinstance(packed, tuple):
            lane.carry(packed)

    def deliver_with_room(self, cell: RemoteCell, room: Wait, item: Item) -> None:
        remote, args, kwargs, context, _ = item
        message = cast("RemoteMessage", remote)
        assert isinstance(room, Request)
        packed = pack_args(args, kwargs, describe(message))
        lane = self.transport.lane(cell.id[0])
        self._call(SEND, cell, lane, message.name, packed, context.get(correlation_id), room)

    def _call(
        self,
        code: int,
        cell: RemoteCell,
        lane: Lane,
        message: str,
        packed: Any,
        carried: Any,
        request: Request,
    ) -> None:
        node = self.node
        deadline = request.deadline
        left = None if deadline is None else deadline - node.loop.time()
        number = next(self._numbers)
        self.pending[number] = InFlight(self, number, request, cell)
        # From here on nobody here knows whether the callee has begun.
        request.started = True
        hurry = node.current is None and not (self._flush_due or self._hurried or node.will_flush)
        if lane.send((code, cell.id[1], message, packed, carried, number, left, chain_of(self, request))):
            self._opened(lane)
        if not isinstance(packed, tuple):
            lane.carry(packed)
        if hurry:
            # Plain asyncio code that calls and waits: let the first of a tick go at once, so that a
            # sequence of calls does not wait for a round of the loop each.
            self._hurried = True
            self.transport.flush()
            node.loop.call_soon(self.transport.linger, cell.id[0], context=node.context)

    def cancel(self, call: InFlight) -> None:
        """Tell the callee's node that nobody waits any more."""
        if call.cell.id[0] != self.index:
            self.send(call.cell.id[0], (CANCEL, call.number))

    def probe(self, cell: RemoteCell, request: Request) -> None:
        number = next(self._numbers)
        self.pending[number] = InFlight(self, number, request, self._nowhere())
        dest, name = cell.id
        self.send(dest, (PROBE, name, self.index, number, chain_of(self, request)))

    def answer(self, dest: int, number: int, value: Any, error: BaseException | None) -> None:
        """Send the reply to a call of another node."""
        if error is not None:
            self.send(dest, (FAIL, number, pack_error(error)))
        elif is_small(value):
            self.send(dest, (REPLY, number, value))
        else:
            try:
                op: Op = (REPLY_PACKED, number, pack(value, "a reply", parts=(value,)))
            except NotPicklable as unsendable:
                named = ResultNotPicklable(type(value).__qualname__, unsendable.problem)
                op = (FAIL, number, pack_error(named))
            except WireError as unsendable:
                op = (FAIL, number, pack_error(unsendable))
            self.send(dest, op)

    def signal(self, cell: RemoteCell, sender: Cell | None, reason: ExitReason, *, by_link: bool) -> None:
        dest, name = cell.id
        who = None if sender is None else self.describe(sender)
        self.send(dest, (SIGNAL, name, who, pack_reason(reason), by_link))

    def condemn(self, cell: RemoteCell, reason: ExitReason, *, kill: bool) -> None:
        dest, name = cell.id
        self.send(dest, (CONDEMN, name, pack_reason(reason), kill))

    def link(self, cell: RemoteCell, local: Cell) -> None:
        dest, name = cell.id
        self.send(dest, (LINK, name, self.describe(local)))

    def unlink(self, cell: RemoteCell, local: Cell) -> None:
        dest, name = cell.id
        self.send(dest, (UNLINK, name, self.address(local)))

    def watch(self, cell: RemoteCell) -> None:
        dest, name = cell.id
        self.send(dest, (WATCH, name))

    def suspend(self, cell: RemoteCell, on: bool) -> None:
        dest, name = cell.id
        self.send(dest, (SUSPEND, name, on))

    def publish(self, name: Any, cell: Cell, *, taken: bool) -> None:
        """Names of this node's cells are told to the root, which tells everybody."""
        if cell.state == REMOTE or isinstance(cell, RemoteCell):
            return
        self.send(0, self.name_op(name, cell, taken=taken))

    def name_op(self, name: Any, cell: Cell, *, taken: bool) -> Op:
        """Says that a cell has a name, or has it no more."""
        if taken:
            return (NAME, dumps((name, self.describe(cell))))
        return (UNNAME, dumps(name), self.address(cell))

    # -- casts that wait for room --------------------------------------------------------------------

    def wait_room(self, source: int, name: Any, cell: Cell, item: Item) -> None:
        """Keep a cast that came to a full mailbox, in its turn, and have no more sent."""
        key = source, name
        count = self.waiting.get(key, 0)
        self.waiting[key] = count + 1
        cell.wait_room(Room(self, source, name, cell), item)
        if not count:
            self.send(source, (FULL, name, cell.limit))

    def took_in(self, room: Room) -> None:
        """The mailbox had room, or is no more."""
        key = room.source, room.name
        count = self.waiting.get(key, 0) - 1
        if count > 0:
            self.waiting[key] = count
        elif self.waiting.pop(key, None) is not None:
            self.send(room.source, (ROOM, room.name))

    # -- the end of things ---------------------------------------------------------------------------

    def node_lost(self, index: int, reason: NoConnection) -> None:
        """A node is gone: that is the end of all that was on it, and of all that it waited for."""
        self.nodes.pop(index, None)
        self.lost[index] = reason
        for key in [key for key in self.incoming if key[0] == index]:
            self.incoming.pop(key).give_up()
        for key in [key for key in self.waiting if key[0] == index]:
            del self.waiting[key]
        for cell in self.node.cells.values():
            if cell.bonds is not None and cell.bonds.watched_by:
                for watch in [each for each in cell.bonds.watched_by if _is_of(each, index)]:
                    del cell.bonds.watched_by[watch]
        for stub in [stub for stub in self.stubs.values() if stub.id[0] == index]:
            self.full.pop(stub, None)
            stub.lasting = False
            if stub.task is not None:
                start_ended(stub, StartError(stub.label(), reason))
            else:
                self.stub_ended(stub, reason)
        for number, call in [(n, call) for n, call in self.pending.items() if call.cell.id[0] == index]:
            self.pending.pop(number, None)
            self.fail(call, reason)

    def stub_ended(self, stub: RemoteCell, reason: ExitReason) -> None:
        """The cell that a stand-in stands for has ended."""
        if stub.task is not None:
            hear_by_error(stub)  # how its start went is told apart, and told next
        stub.ended(reason)

    def start_over(self, stub: RemoteCell, error: BaseException | None) -> None:
        """A start that this node has asked for is over."""
        start_ended(stub, error)

    def fail(self, call: InFlight, reason: ExitReason) -> None:
        """A call will not be answered, because its callee's node is gone."""
        request = call.request
        message = request.message if isinstance(request, Request) else "send"
        left = call.cell.way is None or call.cell.way.leaves
        request.wake(None, ActorExited(call.cell.label(), describe(message), reason, maybe_executed=left))

    def tie_watch(self, source: int, name: Any, cell: Cell) -> None:
        """Have another node told when a cell ends."""
        bonds = bonds_of(cell)
        if bonds.watched_by is None:
            bonds.watched_by = {}
        bonds.watched_by[RemoteWatch(self, source, name)] = None

    def __repr__(self) -> str:
        return f"<Mesh node {self.index} {self.name!r}, {len(self.nodes)} others>"
