"""Keeps the ledger open for the other parts of a task processor."""

from __future__ import annotations

import asyncio
from typing import Any

from .._kernel._actor import Actor
from .._kernel._message import message
from .._kernel._reasons import ExitReason
from .._kernel._ref import ActorRef
from ._ledger import Ledger
from ._plan import Plan

__all__ = ["Keeper"]


class Keeper(Actor):
    """Opens the ledger before any other part starts and closes it after all have stopped.

    Args:
        left_open: ledgers that nobody has closed yet. It is shared with the incarnations before and after,
            because one that is killed cannot close its ledger, and the next cannot open the file until then.
    """

    def __init__(self, plan: Plan, left_open: list[Ledger]) -> None:
        self._plan = plan
        self._left_open = left_open
        self._ledger: Ledger | None = None

    async def on_start(self) -> None:
        plan, left_open = self._plan, self._left_open
        await _close_all(left_open)
        ledger = Ledger(plan.store, max_attempts=plan.max_attempts, backoff=plan.backoff)
        left_open.append(ledger)
        self._ledger = await ledger.open()
        # For an end that nobody follows, as when the whole tree is killed.
        self._guard = asyncio.ensure_future(_close_after(self.me, left_open))
        # Jobs run in processes of their own, so the death of the program was not a job's fault.
        await self._ledger.reclaim(refund=True)

    async def on_stop(self, reason: ExitReason) -> None:
        await _close_all(self._left_open)

    @message
    def ledger(self) -> Ledger:
        """The open ledger; valid until this part is restarted, and its users with it."""
        assert self._ledger is not None
        return self._ledger


async def _close_all(ledgers: list[Ledger]) -> None:
    for ledger in tuple(ledgers):
        await ledger.close()
        ledgers.remove(ledger)


async def _close_after(keeper: ActorRef[Any], ledgers: list[Ledger]) -> None:
    """Closes what a keeper that was killed has left open."""
    mine = tuple(ledgers)
    await keeper.wait_exit()
    for ledger in mine:
        await ledger.close()
