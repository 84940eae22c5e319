"""`TaskSupervisor`: the supervisor of tasks, wherever they run."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from ..._kernel._cell import Cell
from ..._kernel._reasons import ExitReason
from ..._supervision._child import Child
from ..._supervision._dynamic import DynamicSupervisor
from ..._supervision._root import request


@dataclass(frozen=True, slots=True)
class TaskSupervisorStatistics:
    """A supervisor of tasks since its start.

    Attributes:
        running: tasks that run now.
        started: tasks that have been started, restarts included.
        finished: tasks that have ended cleanly.
        failed: tasks that have ended in another way.
        max_children: how many there may be at a time.
    """

    running: int
    started: int
    finished: int
    failed: int
    max_children: int | None


class TaskSupervisor(DynamicSupervisor):
    """Looks after tasks. `otp.tasks(ref)` is how they are started.

    Args:
        max_children: how many there may be at a time; one more is refused with `TooManyChildren`.
        max_restarts, within: the budget of those that are restarted; only `start_child` makes such.
    """

    def __init__(
        self, *, max_children: int | None = None, max_restarts: int = 3, within: float = 5.0
    ) -> None:
        super().__init__(max_children=max_children, max_restarts=max_restarts, within=within)
        self._made_with = (
            (),
            {"max_children": max_children, "max_restarts": max_restarts, "within": within},
        )
        self._started = self._finished = self._failures = 0

    def _adopt(self, child: Child, cell: Cell) -> None:
        self._started += 1
        super()._adopt(child, cell)

    def _ended(self, child: Child, reason: ExitReason) -> Coroutine[Any, Any, None] | None:
        if reason.clean:
            self._finished += 1
        else:
            self._failures += 1
        return super()._ended(child, reason)

    @request
    async def statistics(self) -> TaskSupervisorStatistics:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Figures since the start."""
        running = sum(1 for child in self._children.values() if child.status == "running")
        return TaskSupervisorStatistics(
            running, self._started, self._finished, self._failures, self._max_children
        )
