"""The mesh of the root, which also ends the processes that were started for one actor each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._kernel._cell import REMOTE, Cell
from ..._kernel._events import Stubborn
from ..._kernel._node import Node
from ..._kernel._reasons import KILLED, NORMAL, ExitReason, Kill
from ..._kernel._route import RemoteCell
from ._mesh import Mesh
from ._peer import Peer
from ._spawn import start_ended

if TYPE_CHECKING:
    from ._hub import Hub

# Seconds that a node has to carry out a kill.
KILL_GRACE = 2.0


class RootMesh(Mesh):
    """The root's mesh: it also owns processes that were started for one actor each."""

    transport: Hub

    def __init__(self, node: Node, hub: Hub) -> None:
        super().__init__(node, 0, "root", hub)
        # Processes that live as long as one actor, by its stand-in.
        self.owned: dict[RemoteCell, Peer] = {}

    def publish(self, name: Any, cell: Cell, *, taken: bool) -> None:
        owner = cell.id[0] if isinstance(cell, RemoteCell) else 0
        op = self.name_op(name, cell, taken=taken)
        for index in self.nodes:
            if index != owner:
                self.send(index, op)

    def condemn(self, cell: RemoteCell, reason: ExitReason, *, kill: bool) -> None:
        process = self.owned.get(cell) if kill else None
        if self.transport.withdraw(cell, reason):
            return
        if process is not None:
            self._kill(process, reason)
            return
        super().condemn(cell, reason, kill=kill)
        if kill and not cell.lasting:
            loop = self.node.loop
            loop.call_later(KILL_GRACE, self._unanswered, cell, reason, context=self.node.context)

    def _unanswered(self, cell: RemoteCell, reason: ExitReason) -> None:
        """A kill was not carried out, because its node does not answer: the actor counts as gone.

        Else nobody could stop a tree in which a node is stuck, which is ended only behind its children.
        """
        if cell.state == REMOTE:
            self.node.instruments.emit(Stubborn(cell.label(), "its node does not answer"))
            self.stub_ended(cell, reason)

    def signal(self, cell: RemoteCell, sender: Cell | None, reason: ExitReason, *, by_link: bool) -> None:
        process = self.owned.get(cell) if isinstance(reason, Kill) and not by_link else None
        if self.transport.withdraw(cell, KILLED if isinstance(reason, Kill) else reason):
            return
        if process is not None:
            self._kill(process, KILLED)
        elif isinstance(reason, Kill) and not by_link:
            self.condemn(cell, KILLED, kill=True)
        else:
            super().signal(cell, sender, reason, by_link=by_link)

    def _kill(self, process: Peer, reason: ExitReason) -> None:
        """Nothing inside a process need answer for that: its end is the actor's."""
        if process.reason is None:
            process.reason = reason
        process.kill("its actor was killed")

    def stub_ended(self, stub: RemoteCell, reason: ExitReason) -> None:
        process = self.owned.get(stub)
        if process is not None and process.alive:
            # Whoever hears of the end may want what the process had: it goes first.
            process.reason = process.reason or reason
            self.transport.end_soon(process)
        else:
            super().stub_ended(stub, reason)

    def start_over(self, stub: RemoteCell, error: BaseException | None) -> None:
        process = self.owned.get(stub)
        if error is None or process is None or not process.alive:
            start_ended(stub, error)
        else:
            self.transport.failed_starts[process] = error
            process.reason = process.reason or getattr(error, "reason", NORMAL)
            self.transport.end_soon(process)
