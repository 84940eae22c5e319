"""What runs in a worker node's process: an event loop with a node on it, joined to the root.

It ends when the root closes the connection: then whatever still lives here is stopped in good order.
"""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import gc
import importlib
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from ..._kernel import _bonds
from ..._kernel._cell import REMOTE, Cell
from ..._kernel._end import gone
from ..._kernel._events import CrashReport, Dropped, Ended, Event, Started
from ..._kernel._node import this_node
from ..._kernel._reasons import KILLED, SHUTDOWN, ExitReason, Kill, NoConnection, portable_error
from ..._kernel._route import RemoteCell
from ..._kernel._watchdog import watch
from ...wire import Descriptor
from ...wire._pickle import dumps, loads
from . import _ops as ops
from ._arrivals import Arrivals, name_taken
from ._connection import Connection, Lane
from ._mesh import Mesh
from ._ops import Address, Op
from ._parcel import unpack_reason
from ._spawn import Starter

# Sent by the root to have the main thread's stack written; see `_health`.
STACK_SIGNAL = signal.SIGRTMAX - 2
# Seconds that actors have to stop in when the root has closed the connection.
_GRACE = 3.0
_GC_THRESHOLD = 50_000


def run_node(sock: socket.socket, stack: int, index: int, name: str) -> None:
    """Be the node `index` until the root closes `sock`; `stack` is where stacks are written."""
    faulthandler.register(STACK_SIGNAL, file=stack, all_threads=True)
    gc.unfreeze()
    gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(sock, index, name, parallel=True))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run_on_thread(sock: socket.socket, index: int, name: str) -> None:
    """Be the node `index` on this thread until the root closes `sock`."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(sock.dup(), index, name, parallel=False))


async def _serve(sock: socket.socket, index: int, name: str, *, parallel: bool) -> None:
    member = Member(sock, index, name, parallel=parallel)
    unwatch = watch(member.node)
    try:
        await member.closed
        await member.stop()
    finally:
        unwatch()


class Member:
    """This process as a node among others; the transport of its mesh is the connection to the root."""

    def __init__(self, sock: socket.socket, index: int, name: str, *, parallel: bool) -> None:
        self.node = this_node()
        self.closed: asyncio.Future[None] = self.node.loop.create_future()
        waits = self._idle if parallel else None
        self._connection = Connection(sock, index, self._on_ops, self._not_ours, self._on_closed, waits)
        self.mesh = MemberMesh(self.node, index, name, self)
        self.mesh.nodes[0] = "root"
        self.node.route, self.node.flush = self.mesh, self._connection.flush
        self._arrivals = Arrivals(self.mesh)
        starter = Starter(self.mesh)
        self._arrivals.handlers |= {
            ops.SPAWN: starter.spawn,
            ops.STARTED: starter.started,
            ops.HELLO: self._hello,
            ops.NODE_UP: self._node_up,
            ops.NODE_DOWN: self._node_down,
            ops.NAME: self._name,
            ops.UNNAME: self._unname,
            ops.NAME_TAKEN: self._name_taken,
            ops.PING: self._ping,
        }
        self.node.instruments.add(self._tell_event)
        # The log is the root's affair: only what somebody listens for is worth an event.
        self.node.instruments.lifecycle = False
        self._connection.start()

    # -- its transport -------------------------------------------------------------------------------

    def lane(self, dest: int) -> Lane:
        """The way to a node; all lead through the root."""
        return self._connection.lane(dest)

    def opened(self, connection: Connection) -> None:
        """There is only one connection to flush."""

    def flush(self) -> None:
        """Let what was sent leave."""
        self._connection.flush()

    # -- what the root tells ---------------------------------------------------------------------------

    def _on_ops(self, source: int, arrived: list[Op]) -> None:
        self._arrivals.take(source, arrived)

    def _idle(self) -> bool:
        return not self.node.queued

    def linger(self, dest: int) -> None:
        """An answer is likely to come at once."""
        self._connection.linger()

    def _not_ours(self, source: int, dest: int, frame: bytes, segments: Sequence[Descriptor]) -> None:
        raise AssertionError(f"a frame for node {dest} came to node {self.mesh.index}")

    def _hello(self, source: int, nodes: dict[int, str], names: list[bytes], events: bool) -> None:
        self.mesh.nodes |= nodes
        for packed in names:
            self._name(0, packed)
        self.node.instruments.lifecycle = events
        self._ping(source)

    def _node_up(self, source: int, index: int, name: str) -> None:
        self.mesh.nodes[index] = name

    def _node_down(self, source: int, index: int, packed: bytes) -> None:
        reason = unpack_reason(packed)
        assert isinstance(reason, NoConnection)
        self.mesh.node_lost(index, reason)

    def _name(self, source: int, packed: bytes) -> None:
        name, described = loads(packed)
        cell = self.mesh.cell_from(described)
        if isinstance(cell, RemoteCell) and cell.state == REMOTE:
            known = self.node.names.get(name)
            if known is not None and known is not cell:
                _bonds.unregister(known, name)
            _bonds.register(cell, name)

    def _unname(self, source: int, packed: bytes, address: Address) -> None:
        name = loads(packed)
        owner = self.node.names.get(name)
        if owner is not None and self.mesh.address(owner) == address:
            _bonds.unregister(owner, name)

    def _name_taken(self, source: int, number: Any, packed: bytes) -> None:
        cell = self.mesh.resolve(number)
        if cell is not None:
            name_taken(self.mesh, cell, loads(packed))

    def _ping(self, source: int) -> None:
        self.mesh.send(0, (ops.PONG, len(self.node.cells), self.node.queued))

    def _tell_event(self, event: Event) -> None:
        """Have the root log it, and tell its instruments."""
        if isinstance(event, Started | Ended) and not self.node.instruments.lifecycle:
            return
        if isinstance(event, CrashReport):
            event = dataclasses.replace(event, error=portable_error(event.error))
            text = event.traceback()
        else:
            text = ""
        try:
            packed = dumps((event, text))
        except Exception as error:  # with a value of the user's own in it
            packed = dumps((Dropped(event.process, f"an event: {event!r} ({error!r})", 0), ""))
        # The watchdog's come from its own thread, while ours is held up.
        self.node.loop.call_soon_threadsafe(self.mesh.send, 0, (ops.EVENT, packed))

    # -- the end ---------------------------------------------------------------------------------------

    def _on_closed(self, error: BaseException | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    async def stop(self) -> None:
        """Stop what lives here, each in its own order, and let the last words leave."""
        tops = [
            cell
            for cell in self.node.cells.values()
            if cell.parent is None or isinstance(cell.parent, RemoteCell)
        ]
        for cell in tops:
            _bonds.signal_exit(cell, cell.parent, SHUTDOWN, by_link=False)
        try:
            async with asyncio.timeout(_GRACE):
                for cell in tops:
                    await gone(cell)
                if self.node.unfinished:
                    await asyncio.wait(self.node.unfinished)
        except TimeoutError:
            pass  # the process is about to end, and they with it
        await self._connection.drain()
        self._connection.close()


class MemberMesh(Mesh):
    """The mesh of a worker node. A kill goes by way of the root, which can end what does not answer."""

    def condemn(self, cell: RemoteCell, reason: ExitReason, *, kill: bool) -> None:
        if kill:
            self.send(0, (ops.KILL, cell.id, dumps(reason)))
        else:
            super().condemn(cell, reason, kill=kill)

    def signal(self, cell: RemoteCell, sender: Cell | None, reason: ExitReason, *, by_link: bool) -> None:
        if isinstance(reason, Kill) and not by_link:
            self.condemn(cell, KILLED, kill=True)
        else:
            super().signal(cell, sender, reason, by_link=by_link)
