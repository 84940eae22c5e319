"""The task processor: a source, a queue of tasks, and one total of their results."""

from ._plan import Result
from ._processor import TaskProcessor

__all__ = ["Result", "TaskProcessor"]
