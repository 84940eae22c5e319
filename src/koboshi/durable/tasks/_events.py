"""What a queue tells instruments of. A result is no event: `statistics` counts them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from ..._kernel._events import Event

__all__ = ["TaskDied", "TaskInterrupted", "TaskRetried", "TaskSealed", "TaskUnknown", "TasksRecovered"]


@dataclass(frozen=True, slots=True)
class TaskRetried(Event):
    """An attempt of a task of the queue called `process` failed; it is tried again after `retry_in` seconds."""

    level: ClassVar[int] = logging.WARNING
    task: str
    function: str
    attempt: int
    report: str
    retry_in: float

    def __str__(self) -> str:
        return (
            f"{self.process}: the task {self.task!r} of {self.function} failed and is tried again in "
            f"{self.retry_in:.3g} s: {self.report.rstrip()}"
        )


@dataclass(frozen=True, slots=True)
class TaskInterrupted(Event):
    """A task lost its worker, which is no attempt of it; it is ready again."""

    level: ClassVar[int] = logging.WARNING
    task: str
    function: str
    why: str


@dataclass(frozen=True, slots=True)
class TaskDied(Event):
    """A task has failed as often as it may: it is a dead letter."""

    level: ClassVar[int] = logging.ERROR
    task: str
    function: str
    report: str

    def __str__(self) -> str:
        return f"{self.process}: the task {self.task!r} of {self.function} is a dead letter: {self.report.rstrip()}"


@dataclass(frozen=True, slots=True)
class TaskUnknown(Event):
    """The queue holds tasks of a function that this program has not registered; told once for each name."""

    level: ClassVar[int] = logging.ERROR
    function: str
    error: Exception


@dataclass(frozen=True, slots=True)
class TaskSealed(Event):
    """The queue holds tasks that are encrypted with a key which this program does not have; they wait for one that
    has. Told once for each function."""

    level: ClassVar[int] = logging.ERROR
    function: str
    error: Exception


@dataclass(frozen=True, slots=True)
class TasksRecovered(Event):
    """Tasks that a host had claimed which is gone are ready again."""

    level: ClassVar[int] = logging.WARNING
    tasks: int
