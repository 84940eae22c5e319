"""What arrives from another node: each operation carried out as its local twin would be.

Nothing that one message does may harm the next: what cannot be read, or finds nobody, is answered
with an error where there is somebody to answer, and is reported where there is not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, cast

from ..._kernel import _bonds
from ..._kernel._cell import DEAD, REMOTE, Cell, Item
from ..._kernel._context import correlation_id
from ..._kernel._errors import CallCycle, KoboshiError, MailboxFull, NameTaken, NotRunning, UsageError
from ..._kernel._events import Dropped
from ..._kernel._message import Entry, describe
from ..._kernel._reasons import NOPROC, Crashed
from ..._kernel._route import NODE_ID, SYSTEM, RemoteCell, messages_by_name
from ..._kernel._system import server_of
from ...wire._buffers import BufferedPickle, unpack
from ...wire._pickle import dumps
from . import _ops as ops
from ._calls import Chain, Incoming
from ._cycles import follow
from ._ops import Address, Op
from ._parcel import pack_reason, unpack_args, unpack_error, unpack_reason

if TYPE_CHECKING:
    from ._mesh import Mesh


class Arrivals:
    """Carries out what other nodes ask of this one."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.node = mesh.node
        # By number; the root and the workers add what concerns only them.
        self.handlers: dict[int, Callable[..., None]] = {
            ops.CALL: self.call,
            ops.CAST: self.cast,
            ops.REPLY: self.reply,
            ops.REPLY_PACKED: self.reply_packed,
            ops.FAIL: self.failed,
            ops.CANCEL: self.cancel,
            ops.SEND: self.send,
            ops.TELL: self.tell,
            ops.STOP: self.stop,
            ops.SIGNAL: self.signal,
            ops.CONDEMN: self.condemn,
            ops.LINK: self.link,
            ops.UNLINK: self.unlink,
            ops.RELINK: self.relink,
            ops.WATCH: self.watch,
            ops.ENDED: self.ended,
            ops.SUSPEND: self.suspend,
            ops.FULL: self.full,
            ops.ROOM: self.room,
            ops.PROBE: self.probe,
        }

    def take(self, source: int, arrived: list[Op]) -> None:
        """Carry out operations in their order, and give the cells their turns at once."""
        pending, node = self.mesh.pending, self.node
        node.hold_turns()
        try:
            for op in arrived:
                if op[0] == ops.REPLY:  # by far the most frequent, with calls
                    call = pending.pop(op[1], None)
                    if call is not None:
                        call.request.wake(op[2], None)
                else:
                    self.carry_out(source, op)
        finally:
            node.give_turns()

    def carry_out(self, source: int, op: Op) -> None:
        """Carry out one operation; what goes wrong in it must not cost those behind it."""
        try:
            self.handlers[op[0]](source, *op[1:])
        except Exception as error:
            self.node.loop.call_exception_handler(
                {"message": f"an operation of node {source} failed: {op[0]}", "exception": error}
            )

    # -- messages ------------------------------------------------------------------------------------

    def call(
        self,
        source: int,
        name: Any,
        message: str,
        packed: Any,
        carried: str | None,
        number: int,
        left: float | None,
        chain: Chain,
    ) -> None:
        mesh = self.mesh
        try:
            if message == SYSTEM:
                self._system(source, name, packed, carried, number, left, chain)
                return
            cell, entry = self._find(name, message)
            args, kwargs = unpack_args(packed)
            deadline = None if left is None else self.node.loop.time() + left
            request = Incoming(mesh, source, number, cell, entry.fn, deadline, chain)
            beyond = self._beyond(cell, chain, entry.name) if chain else None
            if cell.traits is not None and cell.traits.room:  # those that wait for room come first
                raise MailboxFull(cell.label(), entry.name, cell.limit)
            mesh.incoming[source, number] = request
            cell.offer((entry.fn, args, kwargs, self._context(carried), request))
            if beyond is not None:
                mesh.send(beyond.id[0], (ops.PROBE, beyond.id[1], source, number, chain))
        except BaseException as error:  # also what users' code raises while arguments are unpickled
            mesh.incoming.pop((source, number), None)
            mesh.answer(source, number, None, error)

    def _system(
        self,
        source: int,
        name: Any,
        packed: Any,
        carried: str | None,
        number: int,
        left: float | None,
        chain: Chain,
    ) -> None:
        """A system message: for a cell it goes past its limit, for this node it is served at once."""
        mesh = self.mesh
        args, kwargs = unpack_args(packed)
        operation, *given = args
        if name == NODE_ID:
            mesh.answer(source, number, operation(self.node, *given), None)
            return
        cell = mesh.resolve(name)
        if cell is None or cell.state == DEAD:
            raise NotRunning(f"an actor of node {mesh.name!r}", describe(operation))
        system = server_of(cell, describe(operation))
        deadline = None if left is None else self.node.loop.time() + left
        request = Incoming(mesh, source, number, cell, operation, deadline, chain)
        mesh.incoming[source, number] = request
        beyond = self._beyond(cell, chain, describe(operation))
        cell.post((system, args, kwargs, self._context(carried), request))
        if beyond is not None:
            mesh.send(beyond.id[0], (ops.PROBE, beyond.id[1], source, number, chain))

    def _beyond(self, cell: Cell, chain: Chain, message: str) -> RemoteCell | None:
        """The cell of yet another node that a callee waits for; `CallCycle` if it waits for its caller."""
        if not chain or (cell.task is None and cell.state != REMOTE):
            return None
        path, beyond = follow(self.mesh, cell, chain)
        if path is not None:
            raise CallCycle(path, message)
        return None if beyond is cell else beyond

    def cast(self, source: int, name: Any, message: str, packed: Any, carried: str | None) -> None:
        try:
            cell, entry = self._find(name, message)
        except NotRunning:
            return  # to a dead actor it is silently lost, as at home
        try:
            args, kwargs = unpack_args(packed)
        except BaseException as error:  # what users' code raises here is no end of this process
            self.node.instruments.emit(Dropped(cell.label(), f"{entry.name} ({error!r})", 0))
            return
        self._offer(source, name, cell, (entry.fn, args, kwargs, self._context(carried), None))

    def tell(self, source: int, name: Any, packed: bytes | BufferedPickle, carried: str | None) -> None:
        alias = None
        if isinstance(name, tuple) and name[0] == "alias":
            alias = self.mesh.alias_of(cast("int", name[1]))
            cell = None if alias is None else alias._cell
        else:
            cell = self.mesh.resolve(name)
        if cell is None or cell.state == DEAD:
            return
        try:
            value = unpack(packed)
        except BaseException as error:  # as in `cast`
            self.node.instruments.emit(Dropped(cell.label(), f"an object ({error!r})", 0))
            return
        if alias is not None:
            alias.send(value)
            return
        self._offer(source, name, cell, (cell.info.on_info, value, None, self._context(carried), None))

    def send(
        self,
        source: int,
        name: Any,
        message: str,
        packed: Any,
        carried: str | None,
        number: int,
        left: float | None,
        chain: Chain,
    ) -> None:
        mesh = self.mesh
        try:
            cell, entry = self._find(name, message)
            args, kwargs = unpack_args(packed)
            deadline = None if left is None else self.node.loop.time() + left
            room = Incoming(mesh, source, number, cell, entry.fn, deadline, chain)
            mesh.incoming[source, number] = room
            item: Item = (entry.fn, args, kwargs, self._context(carried), None)
            if _is_full(cell):
                cell.wait_room(room, item)
            else:
                cell.offer(item)
                room.answer(None)
        except BaseException as error:
            mesh.incoming.pop((source, number), None)
            mesh.answer(source, number, None, error)

    def _offer(self, source: int, name: Any, cell: Cell, item: Item) -> None:
        """Deliver what nobody waits for. A full mailbox that refuses does so where it was sent from."""
        if (
            cell.state != REMOTE
            and _is_full(cell)
            and (cell.traits is None or cell.traits.policy == "reject")
        ):
            self.mesh.wait_room(source, name, cell, item)
            return
        try:
            cell.offer(item)
        except (KoboshiError, OSError) as refused:  # only on the way to yet another node
            self.node.instruments.emit(Dropped(cell.label(), str(refused), cell.limit))

    def _find(self, name: Any, message: str) -> tuple[Cell, Entry]:
        cell = self.mesh.resolve(name)
        if cell is None or cell.state == DEAD:
            raise NotRunning(f"an actor of node {self.mesh.name!r}", message)
        entry = messages_by_name(cell.info).get(message)
        if entry is None:
            known = ", ".join(sorted(each.name for each in messages_by_name(cell.info).values())) or "none"
            raise UsageError(f"{message} is not a message of {cell.info.name}; its messages are: {known}")
        return cell, entry

    def _context(self, carried: str | None) -> Context:
        context = self.mesh.context.copy()
        if carried is not None:
            context.run(correlation_id.set, carried)
        return context

    # -- replies -------------------------------------------------------------------------------------

    def reply(self, source: int, number: int, value: Any) -> None:
        call = self.mesh.pending.pop(number, None)
        if call is not None:
            call.request.wake(value, None)

    def reply_packed(self, source: int, number: int, packed: bytes | BufferedPickle) -> None:
        call = self.mesh.pending.pop(number, None)
        if call is None:
            return
        try:
            value = unpack(packed)
        except BaseException as error:  # what users' code raises here is this caller's
            call.request.wake(None, error)
        else:
            call.request.wake(value, None)

    def failed(self, source: int, number: int, packed: bytes) -> None:
        call = self.mesh.pending.pop(number, None)
        if call is not None:
            call.request.wake(None, unpack_error(packed))

    def cancel(self, source: int, number: int) -> None:
        request = self.mesh.incoming.pop((source, number), None)
        if request is not None:
            request.give_up()

    # -- signals and ties ----------------------------------------------------------------------------

    def stop(self, source: int, name: Any, reason: bytes) -> None:
        cell = self.mesh.resolve(name)
        if cell is not None:
            cell.post((cell.info.stop_request, unpack_reason(reason), None, self._context(None), None))

    def signal(self, source: int, name: Any, sender: bytes | None, packed: bytes, by_link: bool) -> None:
        cell = self.mesh.resolve(name)
        if cell is None:
            return
        who = None if sender is None else self.mesh.cell_from(sender)
        if by_link and isinstance(who, RemoteCell):
            # The sender has ended: whoever is tied to it here, this one included, hears of that.
            self.mesh.stub_ended(who, unpack_reason(packed))
        else:
            _bonds.signal_exit(cell, who, unpack_reason(packed), by_link=by_link)

    def condemn(self, source: int, name: Any, packed: bytes, kill: bool) -> None:
        cell = self.mesh.resolve(name)
        if cell is not None:
            cell.condemn(unpack_reason(packed), kill=kill)

    def link(self, source: int, name: Any, described: bytes) -> None:
        cell, who = self.mesh.resolve(name), self.mesh.cell_from(described)
        if cell is None or cell.state == DEAD:
            nobody = dumps(((self.mesh.index, name), b"", "", ""))
            dest, linker = self.mesh.address(who)
            self.mesh.send(dest, (ops.SIGNAL, linker, nobody, pack_reason(NOPROC), True))
            return
        if type(name) is tuple:
            dest, linker = self.mesh.address(who)
            meant = self.mesh.describe(cell)
            self.mesh.send(dest, (ops.RELINK, linker, (self.mesh.index, name), meant))
        if cell.state == REMOTE:
            self.mesh.send(cell.id[0], (ops.LINK, cell.id[1], described))
        else:
            _bonds.tie(cell, who)

    def relink(self, source: int, name: Any, place: Address, meant: bytes) -> None:
        cell = self.mesh.resolve(name)
        if cell is not None:
            _bonds.untie(cell, self.mesh.cell_at(place))
            _bonds.tie(cell, self.mesh.cell_from(meant))

    def unlink(self, source: int, name: Any, peer: Address) -> None:
        cell = self.mesh.resolve(name)
        if cell is not None:
            _bonds.untie(cell, self.mesh.cell_at(peer))

    def watch(self, source: int, name: Any) -> None:
        cell = self.mesh.resolve(name)
        if cell is None or cell.state == DEAD:
            self.mesh.send(source, (ops.ENDED, name, pack_reason(NOPROC)))
        else:
            self.mesh.tie_watch(source, name, cell)

    def ended(self, source: int, name: Any, reason: bytes) -> None:
        stub = self.mesh.stubs.get((source, name))
        if stub is not None:
            self.mesh.full.pop(stub, None)
            self.mesh.stub_ended(stub, unpack_reason(reason))

    def suspend(self, source: int, name: Any, on: bool) -> None:
        cell = self.mesh.resolve(name)
        if cell is not None:
            (self.node.suspend if on else self.node.resume)(cell)

    # -- full mailboxes ------------------------------------------------------------------------------

    def full(self, source: int, name: Any, limit: int) -> None:
        stub = self.mesh.stubs.get((source, name))
        if stub is not None:
            self.mesh.full[stub] = limit

    def room(self, source: int, name: Any) -> None:
        stub = self.mesh.stubs.get((source, name))
        if stub is not None:
            self.mesh.full.pop(stub, None)

    # -- calls that would wait for themselves ----------------------------------------------------------

    def probe(self, source: int, name: Any, caller: int, number: int, chain: Chain) -> None:
        cell = self.mesh.resolve(name)
        if cell is None:
            return
        path, beyond = follow(self.mesh, cell, chain)
        if path is not None:
            self.mesh.answer(caller, number, None, CallCycle(path, path[1]))
        elif beyond is not None:
            self.mesh.send(beyond.id[0], (ops.PROBE, beyond.id[1], caller, number, chain))


def name_taken(mesh: Mesh, cell: Cell, name: Any) -> None:
    """Another process had the name first: the one that came late ends, as it would have at home."""
    _bonds.unregister(cell, name)
    cell.condemn(Crashed(NameTaken(name, None)))


def _is_full(cell: Cell) -> bool:
    traits = cell.traits
    if traits is not None and traits.room:
        return True
    return cell.mailbox is not None and len(cell.mailbox) >= cell.limit
