"""Tasks: functions in processes of their own, whose values somebody waits for."""

from __future__ import annotations

from ._engine import StreamStatistics
from ._handle import Tasks, tasks
from ._outcomes import Failed, Ok, Outcome
from ._several import poll_many, wait_many
from ._stream import TaskStream, task_stream
from ._supervisor import TaskSupervisor, TaskSupervisorStatistics
from ._task import NotTaskOwner, Task, task, task_nolink

__all__ = [
    "Failed",
    "NotTaskOwner",
    "Ok",
    "Outcome",
    "StreamStatistics",
    "Task",
    "TaskStream",
    "TaskSupervisor",
    "TaskSupervisorStatistics",
    "Tasks",
    "poll_many",
    "task",
    "task_nolink",
    "task_stream",
    "tasks",
    "wait_many",
]
