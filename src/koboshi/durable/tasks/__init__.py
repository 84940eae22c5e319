"""Queues of tasks that survive any crash."""

from ._batches import BatchInfo
from ._claim import Rate
from ._events import TaskDied, TaskInterrupted, TaskRetried, TaskSealed, TasksRecovered, TaskUnknown
from ._job import Job
from ._look import TaskInfo
from ._putting import Put
from ._queue import MAX_BYTES, Queue
from ._rows import TaskRow, put_rows
from ._statistics import QueueStatistics
from ._task import AsyncTask, PlainTask, Task, task
from ._turn import Turn, current, transact

__all__ = [
    "MAX_BYTES",
    "AsyncTask",
    "BatchInfo",
    "Job",
    "PlainTask",
    "Put",
    "Queue",
    "QueueStatistics",
    "Rate",
    "Task",
    "TaskDied",
    "TaskInfo",
    "TaskInterrupted",
    "TaskRetried",
    "TaskRow",
    "TaskSealed",
    "TaskUnknown",
    "TasksRecovered",
    "Turn",
    "current",
    "put_rows",
    "task",
    "transact",
]
