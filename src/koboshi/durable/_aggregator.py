"""Folds committed results into one total, each once."""

from __future__ import annotations

from typing import Any

from .._kernel._actor import Actor
from .._kernel._message import message
from ._fold import Fold
from ._keeper import Keeper
from ._plan import Plan

__all__ = ["Aggregator"]


class Aggregator(Actor):
    """Holds the total of all results that are in the ledger.

    It is told that something was committed, never what: the results come from the ledger in commit order,
    so that a message which is lost or sent twice changes nothing, and a restart rebuilds the same total.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # Whether a catch-up is on its way: many commits share one read.
        self._due = False

    async def on_start(self) -> None:
        ledger = await self._plan.find(Keeper, "store").call(Keeper.ledger)
        self._fold: Fold[Any] = Fold(ledger, self._plan.fold, self._plan.initial())
        await self._fold.catch_up()

    def format_status(self) -> object:
        return {"position": self._fold.position}

    @message
    def committed(self) -> None:
        """Something new is in the ledger."""
        if not self._due:
            self._due = True
            self.me.cast(Aggregator.catch_up)

    @message
    async def catch_up(self) -> int:
        """Folds in what is new; the position of the last result that the total holds."""
        self._due = False
        await self._fold.catch_up()
        return self._fold.position

    @message
    async def total(self) -> Any:
        """The total of everything that was committed when this was asked."""
        self._due = False
        await self._fold.catch_up()
        return self._fold.total
