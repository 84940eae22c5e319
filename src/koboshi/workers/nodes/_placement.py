"""Where children run: in a process of their own, on a named node, or spread over nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..._kernel._cell import Cell
from ..._kernel._errors import StartError, UsageError
from ..._kernel._reasons import Crashed
from ..._kernel._ref import ActorRef
from ..._kernel._route import RemoteCell
from ..._supervision._options import seconds
from ._hub import Hub, hub_of
from ._peer import REPORT_AFTER
from ._spawn import spawn

if TYPE_CHECKING:
    from ..._kernel._node import Node
    from ..._kernel._place import Place
    from ..._supervision._spec import ChildSpec
    from ._mesh import Mesh

# Seconds that a child waits for the node that it is to run on.
WAIT_FOR_NODE = 5.0


@dataclass(frozen=True, slots=True)
class Own:
    """In an OS process, or on a thread, of its own, which starts and ends with it; see `own_process`."""

    report_after: float = REPORT_AFTER
    unresponsive_after: float | None = None
    thread: bool = False

    def launch(
        self, spec: ChildSpec[Any], node: Node, parent: Cell, place: Place, args: tuple[Any, ...]
    ) -> Cell:
        """See `Placement`."""
        hub = _root_hub(node, place)
        process = hub.new_process(place.label(), thread=self.thread)
        process.report_after, process.kill_after = self.report_after, self.unresponsive_after
        try:
            cell = spawn(hub.mesh, process.index, hub.mesh.new_name(), spec, parent, place, args)
        except BaseException:
            process.abandon()
            raise
        hub.mesh.owned[cell], process.actor = process, cell
        hub.boot_soon(process)
        return cell


@dataclass(frozen=True, slots=True)
class OnNode:
    """On the node of a name. One that is not up, as when it is being restarted, is waited for."""

    name: str

    def launch(
        self, spec: ChildSpec[Any], node: Node, parent: Cell, place: Place, args: tuple[Any, ...]
    ) -> Cell:
        """See `Placement`."""
        mesh = _mesh_of(node)
        index = _index_of(node, mesh, self.name, place)
        return spawn(mesh, index, mesh.new_name(), spec, parent, place, args)


@dataclass(frozen=True, slots=True)
class Spread:
    """On whichever of some nodes has the fewest children; see `spread`."""

    names: tuple[str, ...] = ()

    def launch(
        self, spec: ChildSpec[Any], node: Node, parent: Cell, place: Place, args: tuple[Any, ...]
    ) -> Cell:
        """See `Placement`."""
        mesh = _mesh_of(node)
        up = _named_nodes(node, mesh)
        candidates = [name for name in (self.names or tuple(up)) if name in up]
        if not candidates:
            if not self.names:
                raise _impossible(place, "spread() finds no node; put kb.node(...) before the children")
            candidates = list(self.names)  # they are on their way, or this is waited for in vain
        load: Counter[int] = Counter(stub.id[0] for stub in _children(mesh))
        name = min(candidates, key=lambda each: load[up.get(each, -1)])
        return OnNode(name).launch(spec, node, parent, place, args)


@dataclass(frozen=True, slots=True)
class Beside:
    """On the node that another actor lives on."""

    ref: ActorRef[Any]

    def launch(
        self, spec: ChildSpec[Any], node: Node, parent: Cell, place: Place, args: tuple[Any, ...]
    ) -> Cell:
        """See `Placement`."""
        mesh, cell = _mesh_of(node), self.ref._target()
        if not isinstance(cell, RemoteCell):
            raise _impossible(place, f"{self.ref!r} lives on no other node")
        return spawn(mesh, cell.id[0], mesh.new_name(), spec, parent, place, args)


def own_process(*, report_after: float = REPORT_AFTER, unresponsive_after: float | None = None) -> Own:
    """`on="process"` with options: `kb.child(Name).options(on=kb.own_process(unresponsive_after=30))`.

    Args:
        report_after: seconds after which a process whose event loop does not answer is reported as
            `LoopBlocked`, with its stacks; 1 by default.
        unresponsive_after: seconds after which it is killed, and its actor ends; None, the default, is never,
            because a handler that computes for long is no fault by itself.
    """
    for name, value in (("report_after", report_after), ("unresponsive_after", unresponsive_after)):
        seconds(name, value, none=name == "unresponsive_after")
    return Own(report_after, unresponsive_after)


def spread(*nodes: str) -> Spread:
    """Each child on the node that has the fewest so far: of those named, or of all that are up.

    Raises:
        UsageError: a name is no string.
    """
    for name in nodes:
        check_name(name)
    return Spread(nodes)


def check_name(name: object) -> None:
    """Raise `UsageError` for what cannot be a node's name."""
    if not isinstance(name, str) or not name or name in ("process", "thread", "root"):
        raise UsageError(
            f'the name of a node is a string other than "process", "thread" and "root", got {name!r}'
        )


def _impossible(place: Place, why: str) -> StartError:
    return StartError(place.label(), Crashed(UsageError(why)))


def _root_hub(node: Node, place: Place) -> Hub:
    if node.route is not None and node.route is not getattr(node.services.get("hub"), "mesh", None):
        raise _impossible(
            place,
            'only the root starts processes: a supervisor on a worker node cannot use on="process"; '
            "give the child's spec to a supervisor of the root, or use the name of a node",
        )
    return hub_of(node)


def _mesh_of(node: Node) -> Mesh:
    route: Any = node.route
    return hub_of(node).mesh if route is None else route


def _named_nodes(node: Node, mesh: Mesh) -> dict[str, int]:
    hub: Hub | None = node.services.get("hub")
    if hub is not None:
        return hub.named
    return {name: index for index, name in mesh.nodes.items() if index}


def _index_of(node: Node, mesh: Mesh, name: str, place: Place) -> int:
    """The index of a named node, or the one that it will have."""
    known = _named_nodes(node, mesh).get(name)
    if known is not None:
        return known
    hub: Hub | None = node.services.get("hub")
    if hub is None:
        names = ", ".join(sorted(mesh.nodes.values()))
        raise _impossible(place, f"there is no node {name!r} now; the nodes are: {names}")
    index = hub.promise(name)
    node.loop.call_later(WAIT_FOR_NODE, hub.break_promise, name, index, context=node.context)
    return index


def _children(mesh: Mesh) -> list[RemoteCell]:
    return [stub for stub in mesh.stubs.values() if stub.parent is not None]
