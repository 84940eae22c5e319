"""Queues of tasks that survive any crash."""

from ._batches import BatchInfo
from ._claim import Rate
from ._events import TaskDied, TaskInterrupted, TaskRetried, TasksRecovered, TaskUnknown
from ._job import Job
from ._look import TaskInfo
from ._queue import MAX_BYTES, Put, Queue, QueueStatistics
from ._rows import TaskRow, put_rows
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
    "TaskUnknown",
    "TasksRecovered",
    "Turn",
    "current",
    "put_rows",
    "task",
    "transact",
]
