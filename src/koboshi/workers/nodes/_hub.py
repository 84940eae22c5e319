"""The root's side of all nodes: it starts them, passes on what they say to each other, and tells all of ends.

The hub is the transport of the root's mesh. Frames between two workers go through it unread. When a
node ends, what it had sent is passed on first, then everybody hears of the end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from ..._kernel import _bonds
from ..._kernel._cell import DEAD, REMOTE
from ..._kernel._errors import StartError
from ..._kernel._events import CrashReport
from ..._kernel._node import Node
from ..._kernel._reasons import ExitReason, NoConnection
from ..._kernel._route import RemoteCell
from ...wire import Descriptor
from ...wire._pickle import loads
from ..process._outcomes import set_remote_cause
from ..process._shared import lasting
from ..process._spawner import ForkServer
from . import _ops as ops
from ._arrivals import Arrivals
from ._connection import Connection, Lane
from ._health import Health
from ._held import NOWHERE, Held
from ._node_process import NodeProcess
from ._node_thread import NodeThread
from ._ops import Address, Op
from ._parcel import pack_reason
from ._peer import Peer
from ._root_mesh import RootMesh
from ._spawn import Starter, start_ended

_KEY = "hub"
_ENDS = frozenset({ops.ENDED, ops.SIGNAL, ops.STARTED})


class Hub:
    """All worker nodes of a program, in the root; made by `hub_of`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.peers: dict[int, Peer] = {}
        self.failed_starts: dict[Peer, BaseException] = {}
        self.mesh = RootMesh(node, self)
        self._dirty: set[Connection] = set()
        self._indices = itertools.count(1)
        # Nodes that others may name: by name. And those that will come, with what is sent to them already.
        self.named: dict[str, int] = {}
        self._promised: dict[str, int] = {}
        self._held: dict[int, Held] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._health = Health(self)
        self._arrivals = Arrivals(self.mesh)
        starter = Starter(self.mesh)
        self._arrivals.handlers |= {
            ops.SPAWN: starter.spawn,
            ops.STARTED: starter.started,
            ops.NAME: self._name,
            ops.UNNAME: self._unname,
            ops.EVENT: self._event,
            ops.PONG: self._pong,
            ops.KILL: self._kill,
        }
        node.route, node.flush = self.mesh, self.flush

    # -- its mesh's transport --------------------------------------------------------------------------

    def lane(self, dest: int) -> Lane:
        """The way to a node: one that is up, one that will be, or one that is gone."""
        peer = self.peers.get(dest)
        if peer is not None:
            return peer.connection.lane(dest)
        return self._held.get(dest, NOWHERE)

    def opened(self, connection: Connection) -> None:
        """Something waits for the next flush."""
        self._dirty.add(connection)

    def flush(self) -> None:
        """Let what was sent leave."""
        if self._dirty:
            for connection in self._dirty:
                connection.flush()
            self._dirty.clear()

    def waits(self) -> bool:
        """Whether answers are due, and there is nothing to do meanwhile."""
        return bool(self.mesh.pending) and not self.node.queued

    def linger(self, dest: int) -> None:
        """An answer is likely to come at once from a node."""
        peer = self.peers.get(dest)
        if peer is not None:
            peer.connection.linger()

    def on_ops(self, source: int, arrived: list[Op]) -> None:
        """What a node says to the root."""
        peer = self.peers.get(source)
        if peer is None or peer.actor is None:
            self._arrivals.take(source, arrived)
        else:
            self._take_until_end(peer, peer.actor, arrived)

    def _take_until_end(self, peer: Peer, actor: RemoteCell, arrived: list[Op]) -> None:
        """Carry out what a process says that lives for one actor.

        From that one's end on it waits: nobody may hear of anything later before the end itself, which
        is told when the process is gone and whatever it had is free.
        """
        if peer.reason is not None:
            for op in arrived:
                if op[0] == ops.STARTED:  # how the start went is told with the end
                    self._arrivals.carry_out(peer.index, op)
                else:
                    peer.late.append(op)
            return
        for place, op in enumerate(arrived):
            # Only these can be its end: of all others a whole frame is taken at once.
            if op[0] in _ENDS:
                self._arrivals.take(peer.index, arrived[: place + 1])
                self._take_until_end(peer, actor, arrived[place + 1 :])
                return
        self._arrivals.take(peer.index, arrived)

    def forward(self, source: int, dest: int, frame: bytes, segments: Sequence[Descriptor]) -> None:
        """Pass on what a node says to another; of one that is gone it is told so, and ends what it began."""
        peer = self.peers.get(dest)
        if peer is not None:
            peer.connection.forward(frame, segments)
        elif dest in self._held:
            self._held[dest].frames.append((frame, segments))
        elif dest in self.mesh.lost:
            # It came up after the end of that node, and has only now heard of one who was there.
            self.mesh.send(source, (ops.NODE_DOWN, dest, pack_reason(self.mesh.lost[dest])))

    # -- starting and ending ---------------------------------------------------------------------------

    def new_process(self, name: str, *, named: bool = False, thread: bool = False) -> Peer:
        """A node that is about to be started; it may be written to at once."""
        index = self._promised.pop(name, 0) if named else 0
        index = index or next(self._indices)
        process = (NodeThread if thread else NodeProcess)(self, index, name)
        self.peers[index] = process
        names = [self.mesh.name_op(each, cell, taken=True)[1] for each, cell in self.node.names.items()]
        nodes = {0: "root", **self.mesh.nodes}
        send = self.mesh.send
        send(index, (ops.HELLO, nodes, names, self.node.instruments.lifecycle))
        for other in self.mesh.nodes:
            send(other, (ops.NODE_UP, index, name))
        self.mesh.nodes[index] = name
        if named:
            self.named[name] = index
        held = self._held.pop(index, None)
        if held is not None:
            for op in held.ops:
                send(index, op)
            for stub in self.mesh.stubs.values():
                if stub.way is held:
                    stub.way = None
            for frame, segments in held.frames:
                process.connection.forward(frame, segments)
        self.flush()
        return process

    async def boot(self, process: Peer, preload: tuple[str, ...] = ()) -> None:
        """Start a process and wait until its event loop has answered.

        Raises:
            WorkerStartFailed: it could not be forked, or ended at once.
        """
        if self.close not in self.node.closers:
            self.node.closers.append(self.close)
        if preload:
            self.server().preload(preload)
        await process.boot()
        self._health.watch()
        await asyncio.shield(process.ready)

    def server(self) -> ForkServer:
        """The fork server."""
        return lasting(self.node)

    async def close(self) -> None:
        """End what nodes there are."""
        for process in tuple(self.peers.values()):
            await process.stop(5.0)

    def boot_soon(self, process: Peer) -> None:
        """Start a process in the background; one that fails is a node that is lost."""
        self._later(self._boot_quietly(process))

    async def _boot_quietly(self, process: Peer) -> None:
        try:
            await self.boot(process)
        except Exception as error:
            if process.alive:
                raise AssertionError(f"{process!r} did not start and has not ended") from error

    def end_soon(self, process: Peer) -> None:
        """Have a process end in good order, by force if it takes its time."""
        self._later(process.stop(5.0))

    def _later(self, work: Any) -> None:
        task: asyncio.Task[Any] = self.node.loop.create_task(work, context=self.node.context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def promise(self, name: str) -> int:
        """The index of a node that is not up yet: what is sent to it waits until it is."""
        index = self._promised.get(name)
        if index is None:
            index = self._promised[name] = next(self._indices)
            self._held[index] = Held()
        return index

    def withdraw(self, cell: RemoteCell, reason: ExitReason) -> bool:
        """Take back a start that waits for its node; False when it has left."""
        held = self._held.get(cell.id[0])
        if held is None:
            return False
        held.ops = [op for op in held.ops if op[1] != cell.id[1]]
        start_ended(cell, StartError(cell.label(), reason))
        return True

    def break_promise(self, name: str, index: int) -> None:
        """A node that was waited for has not come."""
        if self._promised.get(name) == index:
            del self._promised[name]
            del self._held[index]
            self._tell_lost(index, NoConnection(name, "no node of this name was started in time"))

    def node_ended(self, process: Peer, reason: NoConnection) -> None:
        """A process is gone: tell everybody."""
        index = process.index
        self.peers.pop(index, None)
        self._dirty.discard(process.connection)
        if self.named.get(process.name) == index:
            del self.named[process.name]
        failed = self.failed_starts.pop(process, None)
        for stub in [stub for stub, owner in self.mesh.owned.items() if owner is process]:
            del self.mesh.owned[stub]
            if stub.task is not None:
                start_ended(stub, failed or StartError(stub.label(), process.reason or reason))
            elif stub.state == REMOTE:
                stub.ended(process.reason or reason)
        for op in process.late:
            self._arrivals.carry_out(index, op)
        self._tell_lost(index, reason)

    def _tell_lost(self, index: int, reason: NoConnection) -> None:
        self.mesh.node_lost(index, reason)
        packed = pack_reason(reason)
        for other in self.mesh.nodes:
            self.mesh.send(other, (ops.NODE_DOWN, index, packed))
        self.flush()

    # -- what nodes tell ---------------------------------------------------------------------------------

    def _name(self, source: int, packed: bytes) -> None:
        name, described = loads(packed)
        cell = self.mesh.cell_from(described)
        owner = self.node.names.get(name)
        if owner is not None and owner is not cell and owner.state != DEAD:
            self.mesh.send(
                source, (ops.NAME_TAKEN, cell.id[1], self.mesh.name_op(name, cell, taken=False)[1])
            )
        elif cell.state == REMOTE:
            _bonds.register(cell, name)

    def _unname(self, source: int, packed: bytes, address: Address) -> None:
        name = loads(packed)
        owner = self.node.names.get(name)
        if owner is not None and self.mesh.address(owner) == address:
            _bonds.unregister(owner, name)

    def _event(self, source: int, packed: bytes) -> None:
        event, text = loads(packed)
        if isinstance(event, CrashReport):
            set_remote_cause(event.error, text)
        self.node.instruments.emit(event)

    def _pong(self, source: int, processes: int, queued: int) -> None:
        peer = self.peers.get(source)
        if peer is not None:
            peer.answered(processes, queued)

    def _kill(self, source: int, address: Address, packed: bytes) -> None:
        """A node wants an actor of another killed: it may have a process that does not answer."""
        cell = self.mesh.cell_at(address)
        if cell.state != DEAD:
            cell.condemn(loads(packed), kill=True)


def hub_of(node: Node) -> Hub:
    """The hub of the root node, made when it is first needed."""
    hub: Hub | None = node.services.get(_KEY)
    if hub is None:
        hub = node.services[_KEY] = Hub(node)
    return hub
