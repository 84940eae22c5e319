"""`RateLimiter`: so many per second on average, and a bounded number at once."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any, Literal

from ..._kernel._errors import UsageError
from ..._kernel._node import this_node
from ..._supervision._options import one_of, whole
from ._gate import Gate, patience
from ._rate_rules import Buckets, Verdict
from ._refusals import RateLimited, Refused

WhenEmpty = Literal["wait", "refuse"]


@dataclass(frozen=True, slots=True)
class RateStatistics:
    """A rate limiter at one moment: keys remembered, who waits, and how many passed or were refused."""

    keys: int
    waiting: int
    passed: int
    refused: int


class RateLimiter(Gate):
    """A token bucket, or one for each key.

    Args:
        name: what events and errors call it.
        rate: tokens per second that come back.
        burst: tokens in a full bucket, so many calls may come at once; 1 by default.
        when_empty: "wait" (default) for the token, in order, unless the caller's deadline comes first;
            or "refuse".
        max_keys: keys that are remembered, 10,000. A new one beyond that is refused until an old one's
            bucket is full.

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        name: str = "limiter",
        *,
        rate: float,
        burst: int = 1,
        when_empty: WhenEmpty = "wait",
        max_keys: int = 10_000,
    ) -> None:
        super().__init__(name)
        asked: object = rate
        if not isinstance(asked, int | float) or isinstance(asked, bool) or not 0 < asked < math.inf:
            raise UsageError(f"rate takes tokens per second > 0, got {rate!r}")
        one_of("when_empty", when_empty, ("wait", "refuse"))
        self._waits = when_empty == "wait"
        self._buckets = Buckets(rate, whole("burst", burst, 1), whole("max_keys", max_keys, 1))
        self._waiting = self._count = self._refused = 0

    async def acquire(self, key: Any = None, tokens: int = 1) -> None:
        """Take tokens from the key's bucket.

        Raises:
            RateLimited: they are not there, or not in time; its `retry_after` says when.
            UsageError: more tokens than a full bucket has, or a key that cannot be hashed.
        """
        verdict = self._ask(key, tokens, patience(None) if self._waits else 0.0)
        if not verdict.given:
            raise self._limited(key, verdict)
        if verdict.wait:
            self._waiting += 1
            try:
                await asyncio.sleep(verdict.wait)
            except BaseException:
                self._buckets.give_back(key, verdict.promise, this_node().loop.time())
                raise
            finally:
                self._waiting -= 1
        self._count += 1
        self._passed()

    def try_acquire(self, key: Any = None, tokens: int = 1) -> bool:
        """Take tokens if they are there now."""
        verdict = self._ask(key, tokens, 0.0)
        if verdict.given:
            self._count += 1
            self._passed()
        else:
            self._limited(key, verdict)
        return verdict.given

    def _limited(self, key: Any, verdict: Verdict) -> Refused:
        return self._refuse(RateLimited(self.name, f"no tokens for the key {key!r}", verdict.wait))

    def _ask(self, key: Any, tokens: int, within: float | None) -> Verdict:
        if whole("tokens", tokens, 1) > self._buckets.burst:
            raise UsageError(f"tokens takes at most the burst of {self._buckets.burst}, got {tokens!r}")
        try:
            verdict = self._buckets.take(key, tokens, this_node().loop.time(), within)
        except TypeError:
            raise UsageError(f"a key must be hashable, got {key!r}") from None
        self._refused += not verdict.given
        return verdict

    async def _enter(self) -> None:
        await self.acquire()

    def _leave(self, ticket: None, error: BaseException | None) -> None:
        pass

    def statistics(self) -> RateStatistics:
        """The limiter's figures now."""
        return RateStatistics(len(self._buckets.full_at), self._waiting, self._count, self._refused)

    def __repr__(self) -> str:
        return f"<RateLimiter {self.name} {self._buckets.rate:g}/s, burst {self._buckets.burst}>"
