"""What one task can be put with, and the handle that carries it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ..._kernel._errors import UsageError
from ..._supervision._options import one_of

__all__ = ["OPTIONS", "PutOptions", "WhenFull"]

WhenFull = Literal["raise", "wait"]

#: Those that may stand beside a task's arguments in `put`.
OPTIONS = ("id", "priority", "run_at", "delay", "unique")

_TEXT_LIMIT = 255
_PRIORITY_LIMIT = 1 << 31


@dataclass(frozen=True, slots=True)
class PutOptions:
    """See `Queue.options`."""

    id: str | None = None
    priority: int = 0
    run_at: datetime | float | None = None
    delay: float | None = None
    unique: str | None = None
    when_full: WhenFull = "raise"

    def __post_init__(self) -> None:
        text("id", self.id, none=True)
        text("unique", self.unique, none=True)
        if self.id is not None and self.unique is not None:
            raise UsageError(
                "id and unique exclude each other: an id is unique for as long as the task is kept"
            )
        priority: Any = self.priority
        if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) >= _PRIORITY_LIMIT:
            raise UsageError(f"priority takes a whole number of at most 31 bits, got {self.priority!r}")
        if self.run_at is not None and self.delay is not None:
            raise UsageError("run_at and delay exclude each other: give one of them")
        if self.delay is not None and not _is_time(self.delay):
            raise UsageError(f"delay takes seconds >= 0, got {self.delay!r}")
        if isinstance(self.run_at, datetime):
            if self.run_at.tzinfo is None:
                raise UsageError(f"run_at takes a datetime with a time zone, got {self.run_at!r}")
        elif self.run_at is not None and not _is_time(self.run_at):
            raise UsageError(f"run_at takes a datetime or seconds since the epoch, got {self.run_at!r}")
        one_of("when_full", self.when_full, ("raise", "wait"))

    @property
    def due(self) -> float | None:
        """`run_at` in seconds since the epoch."""
        return self.run_at.timestamp() if isinstance(self.run_at, datetime) else self.run_at


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def text(option: str, value: object, most: int = _TEXT_LIMIT, *, none: bool = False) -> None:
    """Raise `UsageError` unless it is a text that can be a key, or None where `none` allows it."""
    if none and value is None:
        return
    if not isinstance(value, str) or not 0 < len(value) <= most or "\0" in value:
        raise UsageError(f"{option} takes 1 to {most} characters and no zero, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option} takes text that can be stored as UTF-8, got {value!r}") from None
