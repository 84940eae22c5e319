"""What a task came to: a value, or the reason of an end without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from ..._kernel._reasons import ExitReason, first_error

__all__ = ["Failed", "Ok", "Outcome"]

T = TypeVar("T")
TC = TypeVar("TC", covariant=True)


@dataclass(frozen=True, slots=True)
class Ok(Generic[TC]):
    """A task's value."""

    value: TC


@dataclass(frozen=True, slots=True)
class Failed:
    """A task ended without a value; `reason` says how, `item` is what it was for in a stream."""

    reason: ExitReason
    item: object = None

    @property
    def error(self) -> BaseException | None:
        """The exception that it ended with, None when it was killed, stopped or too slow."""
        return first_error(self.reason)


Outcome = Ok[T] | Failed
