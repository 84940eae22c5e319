"""What a supervisor decides, as pure functions: values in, verdict out, the clock passed in.

Nothing here starts, stops or waits for anything; `_restarting` does that with these verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .._kernel._errors import UsageError
from .._kernel._reasons import ExitReason

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]

RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")
STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one")
AUTO_SHUTDOWNS: tuple[AutoShutdown, ...] = ("never", "any_significant", "all_significant")


def should_restart(restart: Restart, reason: ExitReason) -> bool:
    """Permanent children always, transient ones after an unclean end, temporary ones never."""
    return restart == "permanent" or (restart == "transient" and not reason.clean)


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `max_restarts` restarts within `within` seconds; one more is too many."""

    max_restarts: int = 3
    within: float = 5.0

    def __post_init__(self) -> None:
        # As an object: a program that is not type-checked may bring anything.
        most: object = self.max_restarts
        if not isinstance(most, int) or most < 0:
            raise UsageError(f"max_restarts is a whole number >= 0, got {most!r}")
        if not self.within > 0:
            raise UsageError(f"within is a number of seconds > 0, got {self.within!r}")

    def spend(self, history: Sequence[float], now: float) -> tuple[tuple[float, ...], bool]:
        """Add a restart at `now`; returns the restarts that still count, and whether this one is allowed.

        The window slides and its far edge is inside: a restart exactly `within` old still counts.
        """
        expired = 0
        while expired < len(history) and now - history[expired] > self.within:
            expired += 1
        counting = (*history[expired:], now)
        return counting, len(counting) <= self.max_restarts


def refund(history: Sequence[float], spent: Sequence[float]) -> tuple[float, ...]:
    """A budget's history without the restarts in `spent`, each of which is taken out once."""
    left = list(history)
    for at in spent:
        if at in left:
            left.remove(at)
    return tuple(left)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before restart number n of a row of failures.

    Args:
        min, max: seconds.
        factor: how much longer each wait is than the one before.
        jitter: the part of a wait, 0 to 1, that is drawn at random.
        reset_after: seconds of running well after which the row is forgotten; None takes `max`.
    """

    min: float
    max: float
    factor: float = 2.0
    jitter: float = 0.0
    reset_after: float | None = None

    def __post_init__(self) -> None:
        # Written so that NaN fails each test.
        if not 0 <= self.min <= self.max < math.inf:
            raise UsageError(f"backoff needs 0 <= min <= max < inf, got min={self.min!r}, max={self.max!r}")
        if not (1 <= self.factor < math.inf and 0 <= self.jitter <= 1):
            raise UsageError(
                "backoff needs a finite factor >= 1 and 0 <= jitter <= 1, "
                f"got factor={self.factor!r}, jitter={self.jitter!r}"
            )

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Seconds to wait after `failures` failures in a row, the first of which is number 1."""
        try:
            wait = float(min(self.max, self.min * self.factor ** (failures - 1)))
        except OverflowError:  # a float reaches no further than a few hundred failures
            wait = float(self.max if self.min else 0.0)
        return wait * (1 - self.jitter) + wait * self.jitter * random()

    def forgets(self, ran_for: float) -> bool:
        """Whether a child that ran this long has made up for its failures."""
        return ran_for >= (self.max if self.reset_after is None else self.reset_after)


def backoff_of(value: object, option: str = "backoff") -> Backoff | None:
    """Read an option that takes a backoff.

    Raises:
        UsageError: it is neither a `Backoff` nor a tuple of its values.
    """
    if value is None or isinstance(value, Backoff):
        return value
    if isinstance(value, tuple):
        given: tuple[Any, ...] = value  # pyright: ignore[reportUnknownVariableType]
        if 2 <= len(given) <= 5:
            return Backoff(*given)
    raise UsageError(
        f"{option} takes kb.Backoff(min, max, factor, jitter, reset_after) or a tuple of its values, "
        f"got {value!r}"
    )


def budget_of(value: object) -> Budget | None:
    """Read the option `budget`.

    Raises:
        UsageError: it is neither a `Budget` nor a tuple of its two values.
    """
    if value is None or isinstance(value, Budget):
        return value
    if isinstance(value, tuple):
        given: tuple[Any, ...] = value  # pyright: ignore[reportUnknownVariableType]
        if len(given) == 2:
            return Budget(*given)
    raise UsageError(f"budget takes kb.Budget(max_restarts, within) or a tuple of the two, got {value!r}")


def affected(strategy: Strategy, order: Sequence[Any], failed: Any) -> Sequence[Any]:
    """The children that are restarted when `failed` fails, in start order."""
    if strategy == "one_for_all":
        return order
    if strategy == "rest_for_one":
        return order[list(order).index(failed) :]
    return (failed,)


def auto_shuts_down(
    mode: AutoShutdown, *, significant: bool, restart: Restart, reason: ExitReason, others_active: bool
) -> bool:
    """Whether a child's own end, after which it is not restarted, ends its supervisor."""
    if not significant or mode == "never" or (restart == "transient" and not reason.clean):
        return False
    return mode == "any_significant" or not others_active
