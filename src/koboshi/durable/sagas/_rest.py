"""Whether a saga only waits, and until when: one that does can leave memory, and goes on from its journal.

It only waits when all that it has begun is a wait for an event, a sleep, or a step whose next attempt has its time,
and no task of `run` waits for anything but these.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ._branches import Branches
from ._journal import Ended
from ._operation import Operation

__all__ = ["FOR_EVER", "Rest"]

#: The moment of a wait that only an event or a hand ends.
FOR_EVER = float("inf")


class Rest:
    """Of one runner.

    Args:
        branches: the tasks of `run`.
    """

    def __init__(self, branches: Branches) -> None:
        self.branches = branches
        # Operations without an end yet, by label.
        self.open: dict[str, Operation] = {}
        # Attempts that wait for their time, and compensations that wait for a hand, with the moment.
        self._pauses: dict[str, float] = {}

    @contextmanager
    def pause(self, label: str, until: float) -> Generator[None, None, None]:
        """Say that until then nothing is done about an attempt."""
        self._pauses[label] = until
        try:
            yield
        finally:
            del self._pauses[label]

    async def end_of(self, operation: Operation) -> Ended:
        """Wait in a task of `run` for the end of an operation."""
        ended: Ended = await self.branches.wait(operation.future)
        return ended

    def until(self, now: float, *, undoing: bool) -> float | None:
        """The first moment at which there is something to do, if there is nothing now."""
        moments = list(self._pauses.values())
        if not undoing:
            for label, operation in self.open.items():
                if operation.is_wait:
                    until = operation.began.until
                    moments.append(FOR_EVER if until is None else until)
                elif label not in self._pauses:
                    return None
            if not self.branches.all_wait:
                return None
        first = min(moments, default=now)
        return first if first > now else None
