"""Token buckets, as the arrival times that they allow: values in, verdict out, the clock passed in.

This is the generic cell rate algorithm. A bucket is one number, the time at which it will be full again, so
nothing has to refill it, and a token may be promised for later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the tokens are given, and the seconds until they are there, or might be asked for again."""

    given: bool
    wait: float


class Buckets:
    """One bucket per key, all alike.

    A key whose bucket is full is as good as a new one and is forgotten. One that owes something never
    is, or whoever comes with ever new keys would free the old ones: with too many of these a new key has
    to wait.
    """

    def __init__(self, rate: float, burst: int, max_keys: int) -> None:
        self.rate = rate
        self.burst = burst
        self.max_keys = max_keys
        # When each bucket is full again.
        self.full_at: dict[Any, float] = {}
        # Before this no bucket is full, so a search for one is not worth its time.
        self._search_after = 0.0

    def take(self, key: Any, tokens: int, now: float, patience: float | None) -> Verdict:
        """Take tokens, now or within `patience` seconds; None is any time."""
        full_at = self.full_at.get(key)
        if full_at is None and len(self.full_at) >= self.max_keys:
            self._forget_full(now)
            if len(self.full_at) >= self.max_keys:
                return Verdict(False, self._search_after - now)
        after = max(now, full_at or now) + tokens / self.rate
        wait = after - self.burst / self.rate - now
        if wait < 1e-9:  # less than the error of the clock's own figures
            wait = 0.0
        if patience is not None and wait > patience:
            return Verdict(False, wait)
        self.full_at[key] = after
        return Verdict(True, wait)

    def give_back(self, key: Any, tokens: int, full_at: float) -> None:
        """Undo a promise, if it is still the last that was made; others keep the times they were told."""
        if self.full_at.get(key) == full_at:
            self.full_at[key] = full_at - tokens / self.rate

    def _forget_full(self, now: float) -> None:
        if now < self._search_after:
            return
        self.full_at = {key: at for key, at in self.full_at.items() if at > now}
        self._search_after = min(self.full_at.values(), default=0.0)
