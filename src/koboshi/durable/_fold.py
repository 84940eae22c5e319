"""An aggregate over results, each folded in once, whatever crashed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ._jobs import Result
from ._ledger import Ledger

__all__ = ["Fold"]

S = TypeVar("S")


class Fold(Generic[S]):
    """A running total over a ledger's results.

    It reads only committed results, in commit order, and remembers the last position: a resumed program
    makes a new `Fold`, calls `catch_up`, and has the same total as if nothing had happened. Since
    the order depends on which job ended first, `function` should not depend on it.

    Args:
        function: takes the total and one result, gives the new total; must not await.
        initial: the total before the first result.
        position: results up to this position are in `initial` already (default 0: none).
    """

    def __init__(
        self, ledger: Ledger, function: Callable[[S, Result], S], initial: S, *, position: int = 0
    ) -> None:
        self._ledger = ledger
        self._function = function
        # `total` holds exactly the results up to `position`: both change together, without an await between.
        self.total = initial
        self.position = position

    async def catch_up(self, page: int = 1000) -> int:
        """Folds in all results that were committed since; returns how many. May be called concurrently.

        An error of `function` is raised; the total then holds what came before that result.
        """
        folded = 0
        while results := await self._ledger.read_results(self.position, page):
            for result in results:
                if result.position > self.position:  # else a concurrent caller was faster
                    self.total = self._function(self.total, result)
                    self.position = result.position
                    folded += 1
        return folded

    def __repr__(self) -> str:
        return f"<Fold position={self.position} total={self.total!r}>"
