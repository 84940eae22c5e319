"""Calls between nodes: what each side keeps of one while it is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._kernel._cell import Cell
from ..._kernel._wait import Cancellable, Request, Wait

if TYPE_CHECKING:
    from ..._kernel._route import RemoteCell
    from ._mesh import Mesh

# Who waits for a call, the nearest first: address and how it prints.
Chain = tuple[tuple[tuple[Any, Any], str], ...]


class Incoming(Request):
    """A call from another node: its reply goes there.

    Also stands for a reply address that came from another node.
    """

    __slots__ = ("chain", "mesh", "number", "source")

    def __init__(
        self,
        mesh: Mesh,
        source: int,
        number: int,
        target: Cell,
        message: Any,
        deadline: float | None,
        chain: Chain,
    ) -> None:
        # Spelled out, and not by way of three constructors: there is one for each call that arrives.
        self.done = False
        self.settled = None
        self.task = None
        self.future = None
        self.target = target
        self.message = message
        self.began = 0.0
        self.deadline = deadline
        self.started = False
        self.deferred = False
        self.timer = None
        self.mesh = mesh
        self.source = source
        self.number = number
        self.chain = chain

    def wake(self, value: Any, error: BaseException | None) -> bool:
        if self.done:
            return False
        self.done = True
        if self.timer is not None:  # it was passed on to yet another node
            self.timer.cancel()
        self.mesh.incoming.pop((self.source, self.number), None)
        self.mesh.answer(self.source, self.number, value, error)
        return True

    def give_up(self) -> None:
        """The caller does not wait any more, or is gone."""
        self.done = True
        if self.timer is not None:
            self.timer.cancel()


class InFlight:
    """A call of this node under way elsewhere; it takes the place of the call's timer.

    Whoever gives the call up cancels its timer, and so the other node hears of it.
    """

    __slots__ = ("cell", "mesh", "number", "request", "timer")

    def __init__(self, mesh: Mesh, number: int, request: Wait, cell: RemoteCell) -> None:
        self.mesh = mesh
        self.number = number
        self.request = request
        self.cell = cell
        self.timer: Cancellable | None = None
        if isinstance(request, Request):
            self.timer, request.timer = request.timer, self

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.mesh.pending.pop(self.number, None) is not None:
            self.mesh.cancel(self)


class Room(Wait):
    """A cast that came to a full mailbox: it waits there in its turn, and its sender has been told."""

    __slots__ = ("cell", "mesh", "name", "source")

    def __init__(self, mesh: Mesh, source: int, name: Any, cell: Cell) -> None:
        super().__init__()
        self.mesh = mesh
        self.source = source
        self.name = name
        self.cell = cell

    def wake(self, value: Any, error: BaseException | None) -> bool:
        if self.done:
            return False
        self.done = True
        self.mesh.took_in(self)
        return True
