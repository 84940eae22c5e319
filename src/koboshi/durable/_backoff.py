"""When a failed job may be tried again: a pure function of the attempt and one random number."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter.

    Args:
        first: seconds after the first failed attempt (default 1.0).
        factor: each further delay is this many times longer (default 2.0).
        limit: no delay is longer than this many seconds (default 300.0).
        jitter: the share of the delay that is random, 0.0 to 1.0 (default 0.5). It only shortens, so
            that `limit` holds and jobs which failed together do not come back together.
    """

    first: float = 1.0
    factor: float = 2.0
    limit: float = 300.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        # Written so that NaN fails each test.
        if not 0.0 <= self.first <= self.limit < float("inf"):
            raise ValueError(
                f"backoff needs 0 <= first <= limit < inf, got first={self.first!r}, limit={self.limit!r}"
            )
        if not 1.0 <= self.factor < float("inf"):
            raise ValueError(f"backoff factor must be at least 1.0 and finite, got {self.factor!r}")
        if not 0.0 <= self.jitter <= 1.0:
            raise ValueError(f"backoff jitter must be between 0.0 and 1.0, got {self.jitter!r}")

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1).

        Args:
            attempt: how many attempts were made, this one included.
            chance: a random number in [0, 1).
        """
        if attempt < 1:
            raise ValueError(f"attempts are counted from 1, got {attempt!r}")
        try:
            full = min(self.limit, self.first * self.factor ** (attempt - 1))
        except OverflowError:
            full = self.limit
        return full * (1.0 - self.jitter * chance)
