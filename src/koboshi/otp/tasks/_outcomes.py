"""What came of a task: `Ok` with its value, or `Failed` with the reason for which it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from ..._kernel._errors import ActorExited
from ..._kernel._reasons import ExitReason, first_error

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The task returned `value`."""

    value: T

    @property
    def ok(self) -> bool:
        """True."""
        return True

    def unwrap(self) -> T:
        """The value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Failed:
    """The task ended without a value.

    Attributes:
        reason: its exit reason; `Killed("it took longer than 0.5 s")` after a timeout of a stream.
        item: what the function was called with, in a stream.
    """

    reason: ExitReason
    item: Any = None

    @property
    def ok(self) -> bool:
        """False."""
        return False

    @property
    def error(self) -> BaseException | None:
        """The exception that ended it, if one did."""
        return first_error(self.reason)

    def unwrap(self) -> NoReturn:
        """Raise `ActorExited` with the reason, and with the exception as its cause."""
        raise ActorExited("a task", "its function", self.reason, maybe_executed=True)


Outcome = Ok[T] | Failed
