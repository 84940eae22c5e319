"""Starting an actor on another node, both sides of it.

Who starts it decides what it is called, so its address is known, and may be written to, before the
other node has heard of it: what is sent there arrives behind the order to start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..._kernel import _bonds
from ..._kernel._cell import DEAD, Cell
from ..._kernel._end import hear_by_error
from ..._kernel._errors import KoboshiError, NameTaken, StartError
from ..._kernel._place import Place
from ..._kernel._process import process_class, spawn_cell
from ..._kernel._reasons import NORMAL, SHUTDOWN, Crashed, ExitReason
from ..._kernel._route import RemoteCell
from ..._kernel._start import Ignored, launch
from ..._kernel._task import START
from ...wire import WireError
from ...wire._buffers import BufferedPickle, unpack
from ._ops import SPAWN, STARTED
from ._parcel import pack, pack_error, unpack_error

if TYPE_CHECKING:
    from ..._supervision._spec import ChildSpec
    from ._mesh import Mesh


class RemoteStart:
    """A start under way on another node, in the place of the task that it would be here."""

    kind = START
    wait = None
    item = (None, (), None, None, None)

    def __init__(self, cell: RemoteCell) -> None:
        self.cell = cell
        self.ready: asyncio.Future[Any] | None = cell.node.loop.create_future()

    def cancel(self) -> bool:
        """Have the start stopped in good order."""
        self.cell.condemn(SHUTDOWN)
        return True


def spawn(
    mesh: Mesh,
    dest: int,
    number: int,
    spec: ChildSpec[Any],
    parent: Cell,
    place: Place,
    args: tuple[Any, ...],
) -> RemoteCell:
    """Start a child of `parent` on the node `dest`; returns at once, `cell.task` says how the start goes.

    Raises:
        StartError: its arguments cannot be sent, or the node is gone; nothing was started.
    """
    if dest in mesh.lost:
        raise StartError(place.label(), mesh.lost[dest])
    info = process_class(spec.target.__qualname__) if spec.is_process else spec.target._kb_info
    cell = RemoteCell(mesh.node, info, parent, mesh, (dest, number), place.label())
    order = (
        # A class whose module was loaded again stands for its successor, and only that has a name.
        spec.target if spec.is_process else spec.target._kb_info.cls,
        args,
        spec.kwargs,
        mesh.describe(parent),
        place.label(),
        spec.mailbox,
        spec.overflow,
        spec.name,
    )
    try:
        packed = pack(order, f"the start of {place.label()}")
    except WireError as error:
        raise StartError(place.label(), Crashed(error)) from error
    mesh.stubs[dest, number] = cell
    mesh.send(dest, (SPAWN, number, packed))
    cell.task = RemoteStart(cell)  # type: ignore[assignment]
    # Only now: the other node must know the cell before it is asked to watch it.
    _bonds.link_to_parent(cell, parent)
    _bonds.bonds_of(cell).place = place
    return cell


def start_ended(cell: RemoteCell, error: BaseException | None) -> None:
    """A start is over: well, or with an error that whoever waits for it is to see."""
    task, cell.task = cell.task, None
    ready = None if task is None else task.ready
    if error is not None and cell.state != DEAD:
        hear_by_error(cell)
        reason = getattr(error, "reason", None)
        cell.ended(reason if isinstance(reason, ExitReason) else NORMAL)
    if ready is not None and not ready.done():
        ready.set_result(error)


class Starter:
    """The other side: starts what other nodes ask for."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.node = mesh.node
        # Waits for coroutine starts; kept here, since asyncio itself would forget them.
        self._waiting: set[asyncio.Future[Any]] = set()

    def spawn(self, source: int, number: int, packed: bytes | BufferedPickle) -> None:
        """Start it, and say how that went."""
        try:
            target, args, kwargs, parent, label, limit, policy, name = unpack(packed)
        except BaseException as error:  # a module that fails on import, an argument that cannot be rebuilt
            self._tell(source, number, StartError("an actor", Crashed(error)))
            return
        starter, place = self.mesh.cell_from(parent), Place(label)

        def prepare(cell: Cell) -> None:
            self.node.cells.pop(cell.id, None)
            cell.id = number
            self.node.cells[number] = cell
            _bonds.link_to_parent(cell, starter)
            _bonds.bonds_of(cell).place = place
            place.cell = cell
            if limit is not None:
                cell.limit = limit
            if policy != "reject":
                cell.own_traits().policy = policy
            if name is not None:
                _bonds.register(cell, name)

        try:
            if isinstance(target, type):
                cls: Any = target
                cell = launch(self.node, cls._kb_info, args, kwargs, starter, prepare)
            else:
                cell = spawn_cell(self.node, target, args, kwargs, starter, prepare)
        except (KoboshiError, Ignored) as error:
            self._tell(source, number, error)
            return
        task = cell.task
        if task is None or task.kind is not START:
            self._tell(source, number, None)
            return
        if task.ready is None:
            task.ready = self.node.loop.create_future()
        self._waiting.add(task.ready)
        task.ready.add_done_callback(lambda ready: self._ready(source, number, ready))

    def _ready(self, source: int, number: int, ready: asyncio.Future[Any]) -> None:
        self._waiting.discard(ready)
        self._tell(source, number, ready.result())

    def _tell(self, source: int, number: int, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, StartError | Ignored | NameTaken):
            error = StartError("an actor", Crashed(error))
        self.mesh.send(source, (STARTED, number, None if error is None else pack_error(error)))

    def started(self, source: int, number: int, packed: bytes | None) -> None:
        """How a start went that we have asked for."""
        cell = self.mesh.stubs.get((source, number))
        if cell is not None:
            self.mesh.start_over(cell, None if packed is None else unpack_error(packed))
