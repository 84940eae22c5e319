"""Calls that would wait for themselves through several nodes.

Each call carries who waits for it. Where it arrives, one walks on from the callee along the calls
that it waits for itself: if that leads to somebody who waits for this call, nobody would ever answer.
Where the walk leaves the node, a probe goes on with it. Whichever of the calls closes the circle
finds all others made, so it is found then (Chandy, Misra and Haas, 1983, edge chasing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._kernel._cell import Cell
from ..._kernel._route import RemoteCell
from ..._kernel._wait import Request
from ._calls import Chain, Incoming

if TYPE_CHECKING:
    from ._mesh import Mesh

_MOST = 64


def chain_of(mesh: Mesh, request: Request) -> Chain:
    """Who waits for a call that is about to leave: its caller, then who waits for that one, and so on."""
    if isinstance(request, Incoming):  # passed on for somebody else
        return request.chain
    cell = mesh.node.current
    found: list[tuple[tuple[Any, Any], str]] = []
    while cell is not None and len(found) < _MOST:
        found.append((mesh.address(cell), cell.label()))
        item = None if cell.task is None else cell.task.item
        above = None if item is None else item[4]
        if above is None or above.deferred or above.done:
            break
        if isinstance(above, Incoming):
            return (*found, *above.chain)
        cell = None if above.task is None else above.task.cell
    return tuple(found)


def follow(mesh: Mesh, start: Cell, chain: Chain) -> tuple[tuple[str, ...] | None, RemoteCell | None]:
    """Walk from a callee along the calls that it waits for.

    Returns:
        The circle's path if there is one; else where the walk leaves this node, if it does.
    """
    waiting = {address: place for place, (address, _) in enumerate(chain)}
    cell = start
    walked: list[str] = []
    for _ in range(_MOST):
        walked.append(cell.label())
        place = waiting.get(mesh.address(cell))
        if place is not None:
            # From whoever made the call to the one found, and back along those that wait for the call.
            back = [label for _, label in reversed(chain[:place])]
            return (chain[0][1], *walked, *back), None
        wait = None if cell.task is None else cell.task.wait
        if not isinstance(wait, Request) or wait.done or wait.deferred:
            return None, None
        if isinstance(wait.target, RemoteCell):
            return None, wait.target
        cell = wait.target
    return None, None
