"""Token buckets, as the arrival times that they allow: values in, verdict out, the clock passed in.

This is the generic cell rate algorithm. A bucket is one number, the time at which it will be full again, so
nothing has to refill it, and a token may be promised for later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the tokens are given, and the seconds until they are there, or might be asked for again.

    Attributes:
        promise: when the bucket would be full without these tokens, and with them.
    """

    given: bool
    wait: float
    promise: tuple[float, float] = (0.0, 0.0)


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
        # Promises that were given up while later ones stood: key, and when it would have been full.
        self._holes: dict[tuple[Any, float], int] = {}
        # Promises that were given up while later ones stand: what `full_at` was before, by key and what it
        # became. Those that have lost their meaning go when there are many.
        self._given_up: dict[tuple[Any, float], float] = {}
        self._many = 64
        # Before this no bucket is full, so a search for one is not worth its time.
        self._search_after = 0.0

    def take(self, key: Any, tokens: int, now: float, patience: float | None) -> Verdict:
        """Take tokens, now or within `patience` seconds; None is any time."""
        full_at = self.full_at.get(key)
        if full_at is None and len(self.full_at) >= self.max_keys:
            self._forget_full(now)
            if len(self.full_at) >= self.max_keys:
                return Verdict(False, self._search_after - now)
        before = max(now, full_at or now)
        after = before + tokens / self.rate
        wait = after - self.burst / self.rate - now
        if wait < 1e-9:  # less than the error of the clock's own figures
            wait = 0.0
        if patience is not None and wait > patience:
            return Verdict(False, wait)
        self.full_at[key] = after
        return Verdict(True, wait, (before, after))

    def give_back(self, key: Any, promise: tuple[float, float], now: float) -> None:
        """Undo a promise, once all those behind it are undone too; others keep the times they were told."""
        before, after = promise
        self._given_up[key, after] = before
        while (full_at := self.full_at.get(key)) is not None and (key, full_at) in self._given_up:
            self.full_at[key] = self._given_up.pop((key, full_at))
        if len(self._given_up) > self._many:
            self._given_up = {which: at for which, at in self._given_up.items() if which[1] > now}
            self._many = max(64, 2 * len(self._given_up))

    def _forget_full(self, now: float) -> None:
        if now < self._search_after:
            return
        self.full_at = {key: at for key, at in self.full_at.items() if at > now}
        self._search_after = min(self.full_at.values(), default=0.0)
