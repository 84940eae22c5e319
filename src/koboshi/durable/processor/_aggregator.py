"""Folds committed results into one total, each once."""

from __future__ import annotations

from typing import Any

from ..._kernel._actor import Actor
from ..._kernel._bonds import hold
from ..._kernel._message import message
from ..tasks import _look
from ..tasks._live import Listening
from ._plan import Plan, Result

__all__ = ["Aggregator"]

_PAGE = 1_000


class Aggregator(Actor):
    """Holds the total of all results that are in the store.

    It is told that something was recorded, never what: the results come from the store in the order of their
    commits, so that a message which is lost or comes twice changes nothing, and a restart makes the same total.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._fold = plan.fold
        self._total: Any = plan.initial()
        # `_total` holds exactly the results up to here: both change together, without an await between.
        self._position = 0
        # Whether a catch-up is on its way: many commits share one read.
        self._due = False

    async def on_start(self) -> None:
        self._live = self._plan.live()
        hold(self._kb_cell, Listening(self._live, self._recorded))
        await self._catch_up()

    def format_status(self) -> object:
        return {"position": self._position}

    def _recorded(self) -> None:
        if not self._due:
            self._due = True
            self.me.cast(Aggregator.catch_up)

    @message
    async def catch_up(self) -> int:
        """Folds in what is new; the position of the last result that the total holds."""
        self._due = False
        await self._catch_up()
        return self._position

    @message
    async def total(self) -> Any:
        """The total of everything that was recorded when this was asked."""
        await self._catch_up()
        return self._total

    async def _catch_up(self) -> None:
        queue = self._plan.queue.plan
        decode, vault = self._plan.work.codec.decode_result, queue.vault
        while True:
            after = self._position
            found = await self._live.store.read(
                lambda session, after=after: _look.results(session, queue.name, after, _PAGE)  # type: ignore[misc]
            )
            for position, id, blob in found:
                value: Any = decode(vault.open_result(id, blob) or b"")
                self._total = self._fold(self._total, Result(position, id, value))
                self._position = position
            if len(found) < _PAGE:
                return
