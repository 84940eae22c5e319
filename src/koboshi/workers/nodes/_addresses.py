"""What other nodes' cells are called here, and what ours are called there.

A cell of another node is a stand-in, one for each address, so refs to one actor are equal on every node. A
cell, a place or an alias of this node is a number to others, for as long as somebody here has it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..._kernel._actor import Actor
from ..._kernel._cell import DEAD, Cell
from ..._kernel._place import NamePlace, Place
from ..._kernel._process import Process, process_class
from ..._kernel._reasons import NOPROC, NoConnection
from ..._kernel._ref import ActorRef
from ..._kernel._reply import Alias, ReplyTo
from ..._kernel._route import NODE_ID, RemoteCell
from ..._kernel._wait import Request
from ...wire._pickle import dumps, loads
from ._calls import Incoming, InFlight
from ._ops import Address

if TYPE_CHECKING:
    from ..._kernel._node import Node
    from ._mesh import Mesh

PLACE_ID, ALIAS_ID = "place", "alias"


class Addresses:
    """The cells of all nodes, as one node names them.

    Args:
        index: this node's number: 0 for the root; none is ever used twice.
    """

    def __init__(self, node: Node, index: int, name: str) -> None:
        self.node = node
        self.index = index
        self.name = name
        # Why a node is gone, for refs that still name it.
        self.lost: dict[int, NoConnection] = {}
        self.stubs: WeakValueDictionary[Address, RemoteCell] = WeakValueDictionary()
        # Calls of this node under way elsewhere, and reply addresses that it has given away.
        self.pending: dict[int, InFlight] = {}
        self._numbers = itertools.count(1)
        # Places and aliases that others know, by number.
        self._places: dict[int, Place] = {}
        self._place_numbers: WeakKeyDictionary[Place, int] = WeakKeyDictionary()
        self._aliases: WeakValueDictionary[int, Alias] = WeakValueDictionary()
        self._alias_numbers: WeakKeyDictionary[Alias, int] = WeakKeyDictionary()

    def other_nodes(self) -> list[RemoteCell]:
        """Stand-ins for the other nodes themselves."""
        info = Actor._kb_info
        return [
            RemoteCell(self.node, info, None, self._mesh(), (index, NODE_ID), f"node {name!r}")
            for index, name in self._mesh().nodes.items()
        ]

    def _mesh(self) -> Mesh:
        """This object, as its stand-ins and calls know it."""
        return cast("Mesh", self)

    def new_name(self) -> int:
        """What a cell is called that this node is about to start elsewhere: nobody else calls one so."""
        return -(self.index << 40 | next(self._numbers))

    def address(self, cell: Cell) -> Address:
        """The address of a cell, ours or another's."""
        return cell.id if isinstance(cell, RemoteCell) else (self.index, cell.id)

    def describe(self, cell: Cell) -> bytes:
        """What another node makes a stand-in from, unless the cell is its own."""
        cls: Any = cell.info.cls
        name = cell.info.name if cls is Process else ""
        place = None if cell.bonds is None else cell.bonds.place
        shown = cell.label() if place is not None or isinstance(cell, RemoteCell) else self._shown(cell)
        try:
            by_name = dumps(cls)
        except Exception:  # a class that others cannot import: they can still tell, link and watch
            by_name = dumps(Actor)
        return dumps((self.address(cell), by_name, name, shown))

    def _shown(self, cell: Cell) -> str:
        return f"{self.name}/{cell.label()}" if self.index else cell.label()

    def cell_from(self, described: bytes) -> Cell:
        """The cell that `describe` has described: our own, a stand-in, or one that is dead."""
        parts: tuple[Any, ...] = loads(described)
        address, by_name, name, shown = parts
        try:
            cls: type[Actor] = loads(by_name) if by_name else Actor
        except Exception:  # its module cannot be imported here: an end or a link need not know it
            cls = Actor
        return self.cell_at(address, cls, name, shown)

    def cell_at(self, address: Address, cls: type[Actor] = Actor, name: str = "", shown: str = "") -> Cell:
        """The cell at an address: our own, a stand-in, or one that is dead."""
        index, number = address
        if index == self.index:
            cell = self.resolve(number)
            return cell if cell is not None else self._dead(number, cls)
        stub = self.stubs.get(address)
        if stub is None:
            info = process_class(name) if cls is Process else cls._kb_info
            stub = self.stubs[address] = RemoteCell(self.node, info, None, self._mesh(), address, shown)
            stub.lasting = type(number) is tuple
            if index in self.lost:
                stub.ended(self.lost[index])
        return stub

    def _dead(self, number: Any, cls: type[Actor]) -> Cell:
        """Stands for a cell of ours that has ended."""
        cell = RemoteCell(self.node, cls._kb_info, None, self._mesh(), (self.index, number))
        cell.state, cell.protocol, cell.mailbox, cell.doom = DEAD, {}, None, NOPROC
        return cell

    def resolve(self, number: Any) -> Cell | None:
        """The cell of this node that others call so; None when it is no more."""
        if isinstance(number, tuple):
            named = cast("tuple[str, int]", number)
            place = self._places.get(named[1]) if named[0] == PLACE_ID else None
            return None if place is None else place.cell
        return self.node.cells.get(number)

    def alias_of(self, number: int) -> Alias | None:
        """An alias that we have given away."""
        return self._aliases.get(number)

    def address_of_ref(self, ref: ActorRef[Any]) -> tuple[Any, ...]:
        place, within = ref._place, ref._within
        if isinstance(place, NamePlace):
            return "name", ref._cell.info.cls, place._name, within
        if place is None:
            cell = ref._cell
            cls: Any = cell.info.cls
            shown = (
                cell.label() if isinstance(cell, RemoteCell) or cell.bonds is not None else self._shown(cell)
            )
            return "cell", self.address(cell), cls, cell.info.name if cls is Process else "", shown, within
        number = self._place_numbers.get(place)
        if number is None:
            number = self._place_numbers[place] = next(self._numbers)
            self._places[number] = place
        # A ref to a name says itself what it expects there; whoever is there now may be of another class.
        cls = ref._cell.info.cls if place.by_name else ref._target().info.cls
        return "cell", (self.index, (PLACE_ID, number)), cls, "", place.label(), within

    def ref(self, address: tuple[Any, ...]) -> ActorRef[Any]:
        if address[0] == "name":
            _, cls, name, within = address
            return ActorRef(self._nobody(cls), NamePlace(self.node, name), within)
        _, where, cls, name, shown, within = address
        if where[0] == self.index and type(where[1]) is tuple:
            place = self._places.get(where[1][1])
            if place is not None:
                # A ref to a name keeps no cell, so that it looks at each send who holds the name.
                found = None if place.by_name else place.cell
                return ActorRef(found or self._nobody(cls), place, within)
        return ActorRef(self.cell_at(where, cls, name, shown), None, within)

    def _nobody(self, cls: type[Actor]) -> Cell:
        return self._dead(0, cls)

    def address_of_reply(self, reply: ReplyTo[Any]) -> tuple[Any, ...]:
        request = reply._request
        if request is None:
            return ()
        if isinstance(request, Incoming):
            return request.source, request.number
        number = next(self._numbers)
        stub = request.target if isinstance(request.target, RemoteCell) else None
        self.pending[number] = InFlight(self._mesh(), number, request, stub or self._nowhere())
        return self.index, number

    def _nowhere(self) -> RemoteCell:
        return RemoteCell(self.node, Actor._kb_info, None, self._mesh(), (self.index, 0))

    def reply(self, address: tuple[Any, ...]) -> ReplyTo[Any]:
        if not address:
            return ReplyTo(None)
        source, number = address
        if source == self.index:
            call = self.pending.get(number)
            return ReplyTo(call.request if call is not None and isinstance(call.request, Request) else None)
        return ReplyTo(Incoming(self._mesh(), source, number, self._nowhere(), "ask", None, ()))

    def address_of_alias(self, alias: Alias) -> tuple[Any, ...]:
        if isinstance(alias._cell, RemoteCell):
            return (*alias._cell.id, alias._once)
        if alias._cell is None:
            return ()
        number = self._alias_numbers.get(alias)
        if number is None:
            number = self._alias_numbers[alias] = next(self._numbers)
            self._aliases[number] = alias
        return self.index, (ALIAS_ID, number), alias._once

    def alias(self, address: tuple[Any, ...]) -> Alias:
        if address and address[0] == self.index:
            mine = self.alias_of(address[1][1])
            if mine is not None:
                return mine
            address = ()
        made = Alias.__new__(Alias)
        made._cell = None if not address else self.cell_at((address[0], address[1]))
        made._once = bool(address) and address[2]
        return made
