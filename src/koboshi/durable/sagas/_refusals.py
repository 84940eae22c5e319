"""A saga whose `run` catches what ends it and begins something again is ended, and at last left: it must not spin.

Nothing that it begins then has an `await` that waits, so that a loop around it would stop the whole event loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._branches import Branches

__all__ = ["Refusals"]

# How often `run` may catch a refusal and begin something else.
_MOST = 1_000

_log = logging.getLogger("koboshi.durable")


class Refusals:
    """Of one runner.

    Args:
        who: names the saga in the log.
        branches: the tasks of `run`.
    """

    def __init__(self, who: str, branches: Branches) -> None:
        self._who = who
        self._branches = branches
        self._count = 0
        self._is_told = False

    def count(self) -> None:
        """Something was not begun."""
        self._count += 1

    @property
    def too_many(self) -> bool:
        """Whether `run` goes on whatever it is told."""
        return self._count > _MOST

    async def hold(self, run: asyncio.Task[Any] | None) -> None:
        """Stay here until `run` is cancelled, which may still be news to it; the next time it is left."""
        if self._is_told:
            await self._branches.leave()
        self._is_told = True
        _log.error(
            "%s was ended or cancelled, and its run catches that and goes on: let CancelledError and "
            "SagaCancelled pass",
            self._who,
        )
        if run is not None:
            run.cancel()
        await asyncio.get_running_loop().create_future()
