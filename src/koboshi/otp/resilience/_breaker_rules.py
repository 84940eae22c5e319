"""What a circuit breaker decides: values in, verdict out, the clock passed in.

closed     everything passes; `failures` failures within `window` seconds open it
open       nothing passes until its time is over
half_open  `probes` calls pass; if all of them succeed it closes, the first failure opens it again
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from ..._supervision._restart import Backoff

BreakerState = Literal["closed", "open", "half_open"]


class BreakerRules:
    """The state of one breaker. All transitions are in this class."""

    def __init__(
        self, failures: int, window: float, reset: Backoff, probes: int, random: Callable[[], float]
    ) -> None:
        self.state: BreakerState = "closed"
        self.reset = reset
        self.probes = probes
        self.window = window
        # Times of the latest failures while closed, no more of them than it takes to open.
        self.recent: deque[float] = deque(maxlen=failures)
        self.until = 0.0
        # Openings in a row, for the backoff; a long enough time closed ends the row.
        self.openings = 0
        self._closed_since: float | None = None
        # Grows with each transition. What was let in before one says nothing about the time after it.
        self.era = 0
        self._trying = 0
        self._passed = 0
        self._random = random

    def admit(self, now: float) -> int | None:
        """Let a call in: the era that its outcome belongs to, None when it may not pass."""
        if self.state == "open" and now >= self.until:
            self._turn("half_open")
        if self.state == "open":
            return None
        if self.state == "half_open":
            if self._trying + self._passed >= self.probes:
                return None
            self._trying += 1
        return self.era

    def succeeded(self, era: int, now: float) -> None:
        """A call that was let in has brought a result."""
        if era == self.era and self.state == "half_open":
            self._trying -= 1
            self._passed += 1
            if self._passed == self.probes:
                self._closed_since = now
                self._turn("closed")

    def failed(self, era: int, now: float) -> None:
        """A call that was let in has failed in a way that counts."""
        if era != self.era:
            return
        if self.state == "half_open":
            self._open(now)
            return
        self.recent.append(now)
        # The far edge is inside: a failure exactly `window` old still counts.
        if len(self.recent) == self.recent.maxlen and now - self.recent[0] <= self.window:
            if self._closed_since is not None and self.reset.forgets(now - self._closed_since):
                self.openings = 0
            self._open(now)

    def abandoned(self, era: int) -> None:
        """A call that was let in will say neither: a probe may be sent in its place."""
        if era == self.era and self.state == "half_open":
            self._trying -= 1

    def _open(self, now: float) -> None:
        self.openings += 1
        self.until = now + self.reset.delay(self.openings, self._random)
        self._turn("open")

    def _turn(self, state: BreakerState) -> None:
        self.state = state
        self.era += 1
        self._trying = self._passed = 0
        if state != "open":
            self.recent.clear()
