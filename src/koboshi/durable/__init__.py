"""Work that survives any crash: durable actors, queues of tasks, and what is built on them."""

import sys
from types import ModuleType
from typing import Any

from .actors import durable
from .processor import Result, TaskProcessor
from .tasks import QueueStatistics, TaskDied, TaskInfo, TaskInterrupted, TaskRetried

__all__ = [
    "QueueStatistics",
    "Result",
    "TaskDied",
    "TaskInfo",
    "TaskInterrupted",
    "TaskProcessor",
    "TaskRetried",
    "durable",
]


class _Layer(ModuleType):
    """This package can be called: `kb.durable` is its name and that of the function, and both are used."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return durable(*args, **kwargs)


sys.modules[__name__].__class__ = _Layer
