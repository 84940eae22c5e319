"""`Queue.schedule`: what is said of a line of a crontab before its task."""

from __future__ import annotations

from typing import ParamSpec, TypeVar

from ..._kernel._errors import UsageError
from ._cron import Missed, Schedule
from ._live import runs_here
from ._options import PutOptions
from ._plan import Plan
from ._putting import checked, encoded
from ._task import Task

__all__ = ["Scheduled"]

P = ParamSpec("P")
R = TypeVar("R")


class Scheduled:
    """A line of a crontab that has no task yet; made by `Queue.schedule`."""

    def __init__(
        self,
        plan: Plan,
        schedules: list[Schedule],
        line: str,
        name: str | None,
        timezone: str,
        missed: Missed,
        options: PutOptions,
    ) -> None:
        self._plan = plan
        self._schedules = schedules
        self._line = line
        self._name = name
        self._timezone = timezone
        self._missed: Missed = missed
        self._options = options

    def put(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Say what is put at these times."""
        made = checked(task)
        payload = encoded(self._plan, made, args, kwargs)
        name = f"{made.name} {self._line}" if self._name is None else self._name
        if any(each.name == name for each in self._schedules):
            raise UsageError(f"there is a schedule named {name!r} already; give this one another name")
        if runs_here(self._plan):
            raise UsageError(
                f"the schedule {name!r} comes too late: the queue {self._plan.name!r} runs already and would not "
                "know of it; say it before the queue's child() is made"
            )
        self._schedules.append(
            Schedule(
                name, self._line, self._timezone, self._missed, made.name, payload, self._options.priority
            )
        )
