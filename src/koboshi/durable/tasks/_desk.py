"""The part of a queue that keeps its store open."""

from __future__ import annotations

from ..._kernel._actor import Actor
from ..._kernel._bonds import hold, let_go
from ..._kernel._reasons import ExitReason
from ..stores import StoreUse
from ._live import Live
from ._plan import Plan

__all__ = ["Desk"]


class Desk(Actor):
    """Opens the store before any other part starts, and lets it go after all have stopped."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def on_start(self) -> None:
        plan, cell = self._plan, self._kb_cell
        self._use = await StoreUse.begin(plan.store, cell, lease=plan.lease)
        self._live = Live(cell.node, plan.key, self._use.store, plan.vault)
        hold(cell, self._live)

    async def on_stop(self, reason: ExitReason) -> None:
        let_go(self._kb_cell, self._live)
        self._live.close()
        await self._use.end()
