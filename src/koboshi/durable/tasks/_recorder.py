"""Settlements on their way into the store: many in one operation, and again after a failure of the store."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Protocol

from .._failures import DurableError, is_own_fault
from ..stores import Store
from ._attempt import Attempt
from ._plan import Plan
from ._settle import Settle, Settlement

__all__ = ["Recorder"]

# Seconds until what the store could not take is given to it again.
_AGAIN = 0.5

Pair = tuple["Attempt | None", Settlement]


class _Recorded(Protocol):
    def __call__(self, attempt: Attempt | None, settlement: Settlement, holds: bool, /) -> None: ...


class Recorder:
    """Records settlements.

    Args:
        recorded: told of each that is committed: whether it holds.
        refused: told of one whose effects the database refused.
        group: told after each group.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        recorded: _Recorded,
        refused: Callable[[Attempt | None, Settlement, Exception], None],
        group: Callable[[], None],
        crash: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._plan = plan
        self._recorded = recorded
        self._refused = refused
        self._group = group
        self._crash = crash
        self._loop = asyncio.get_running_loop()
        self._open: Settle | None = None
        self._pairs: list[Pair] = []

    def add(self, attempt: Attempt | None, settlement: Settlement) -> None:
        """Have one recorded."""
        settlement.keep, settlement.vault = self._plan.keep_results, self._plan.vault
        if settlement.special:
            operation = Settle()
            operation.settlements.append(settlement)
            self._submit(operation, [(attempt, settlement)])
            return
        if self._open is None or self._open.sealed:
            self._open, self._pairs = Settle(), []
            # At the end of the tick: what one tick settles is one operation.
            self._loop.call_soon(self._submit, self._open, self._pairs)
        self._open.settlements.append(settlement)
        self._pairs.append((attempt, settlement))

    async def settled(self) -> None:
        """Wait until all that was added is recorded, or could not be."""
        await asyncio.sleep(0)  # what this tick has added is handed over at its end
        await self._store.settled()

    def _submit(self, operation: Settle, pairs: list[Pair]) -> None:
        done = functools.partial(self._done, operation, pairs)
        try:
            self._store.submit(operation, done)
        except DurableError:
            # What was to be added to it meanwhile goes elsewhere.
            self._loop.call_soon(operation.seal)
            self._loop.call_later(_AGAIN, self._submit, operation, pairs)

    def _taken_apart(self, pairs: list[Pair], error: Exception) -> None:
        """One of them is refused: all others are recorded without it."""
        if len(pairs) == 1:
            attempt, settlement = pairs[0]
            if not settlement.special and settlement.kind != "done":
                raise error
            self._refused(attempt, settlement, error)
            return
        for pair in pairs:
            operation = Settle()
            operation.settlements.append(pair[1])
            self._submit(operation, [pair])

    def _done(self, operation: Settle, pairs: list[Pair], holds: list[bool], error: Exception | None) -> None:
        try:
            if error is not None and not is_own_fault(error):
                # Nothing was recorded, or nobody can tell; with the same tokens it is recorded once.
                self._loop.call_later(_AGAIN, self._submit, operation, pairs)
            elif error is not None:
                self._taken_apart(pairs, error)
            else:
                for (attempt, settlement), each in zip(pairs, holds, strict=True):
                    self._recorded(attempt, settlement, each)
                self._group()
        except Exception as mistake:
            self._crash(mistake)
