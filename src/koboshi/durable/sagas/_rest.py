"""Whether a saga only waits, and until when: one that does can leave memory, and goes on from its journal.

It only waits when all that it has begun is a wait for an event, a sleep, or a step whose next attempt has its time,
and all tasks of `run` are in one of these. A task that has begun operations and is in none now is at work with
something of its own, unless a task that it has started is in one: then it waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from ._journal import Ended
from ._operation import Operation

__all__ = ["FOR_EVER", "Rest"]

#: The moment of a wait that only an event or a hand ends.
FOR_EVER = float("inf")


class _Branch:
    """A task of `run`."""

    __slots__ = ("above", "waits")

    def __init__(self, above: _Branch | None) -> None:
        # The one that has started it.
        self.above = above
        self.waits = False


_BRANCH: ContextVar[_Branch | None] = ContextVar("koboshi_saga_branch", default=None)


class Rest:
    """Of one runner."""

    def __init__(self) -> None:
        # Operations without an end yet, by label.
        self.open: dict[str, Operation] = {}
        # Attempts that wait for their time, and compensations that wait for a hand, with the moment.
        self._pauses: dict[str, float] = {}
        self._branches: dict[asyncio.Task[object], _Branch] = {}

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
        branch = self._branch()
        branch.waits = True
        try:
            return await asyncio.shield(operation.future)
        finally:
            branch.waits = False

    def _branch(self) -> _Branch:
        task = asyncio.current_task()
        assert task is not None
        branch = self._branches.get(task)
        if branch is None:
            branch = self._branches[task] = _Branch(_BRANCH.get())
            _BRANCH.set(branch)
            task.add_done_callback(self._branches.pop)
        return branch

    def end(self) -> None:
        """End the tasks of `run`, those of which it has lost hold too."""
        for task in tuple(self._branches):
            task.cancel()

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
            if not self._all_wait():
                return None
        first = min(moments, default=now)
        return first if first > now else None

    def _all_wait(self) -> bool:
        waiting: set[_Branch] = set()
        for each in self._branches.values():
            branch = each if each.waits else None
            while branch is not None and branch not in waiting:
                waiting.add(branch)
                branch = branch.above
        return bool(waiting) and all(each in waiting for each in self._branches.values())
