"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from .tasks import (
    Failed,
    NotTaskOwner,
    Ok,
    Outcome,
    StreamStatistics,
    Task,
    Tasks,
    TaskStream,
    TaskSupervisor,
    TaskSupervisorStatistics,
    poll_many,
    task,
    task_nolink,
    task_stream,
    tasks,
    wait_many,
)

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

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.otp."):
        globals()[_name].__module__ = "koboshi.otp"
