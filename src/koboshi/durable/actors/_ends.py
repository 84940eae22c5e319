"""How activations end: when they are told to, and when their start fails."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..._kernel import _bonds
from ..._kernel._errors import ActorExited
from ..._kernel._reasons import Shutdown

if TYPE_CHECKING:
    from ..._kernel._cell import Cell
    from ..._kernel._ref import ActorRef
    from ._activation import Activation
    from ._kind import Kind

__all__ = ["Starting", "stopped"]


class Starting:
    """Tells a kind of the end of an actor that had an `on_start` to wait for; see `_bonds.Resource`."""

    def __init__(self, kind: Kind, activation: Activation) -> None:
        self._kind = kind
        self._activation = activation

    def owner_ended(self, cell: Cell) -> None:
        """See `_bonds.Resource`."""
        # One that did not start has been untied from who started it.
        if cell.doom is not None and self._kind._kb_cell not in _bonds.bonds_of(cell).links:
            self._activation.unstarted = cell.label(), cell.doom
        self._kind._loop.call_soon(self._kind.cell_ended, cell)


async def stopped(ref: ActorRef[Any]) -> None:
    """Let an actor handle the mail that it has, and end it; how long that may take is the supervisor's affair."""
    with suppress(ActorExited):
        await ref.stop(Shutdown("its kind ends"), timeout=None)
