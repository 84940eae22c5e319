"""`CircuitBreaker`: stop asking who does not answer, and try again now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from ..._kernel._errors import UsageError
from ..._kernel._node import this_node
from ..._supervision._options import seconds, whole
from ..._supervision._restart import Backoff, backoff_of
from ._breaker_rules import BreakerRules, BreakerState
from ._gate import Gate
from ._refusals import BreakerClosed, BreakerHalfOpened, BreakerOpen, BreakerOpened

Counts = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """A breaker at one moment: calls by what became of them, how often it has opened, its state.

    `retry_after` is the time in seconds until it lets a probe through; None unless it is open. An open
    breaker whose time is over becomes half open with the next call.
    """

    state: BreakerState
    succeeded: int
    failed: int
    refused: int
    opened: int
    retry_after: float | None


class CircuitBreaker(Gate):
    """Lets calls through until too many of them have failed, and then none for a while.

    Args:
        name: what events and errors call it.
        failures, window: this many failures within so many seconds open it; 5 in 10 s.
        reset: seconds that it stays open, a number, or a `kb.Backoff` that grows while it opens again and
            again; by default 1 s to 30 s with a tenth of it drawn at random.
        probes: calls that are let through at the end of that; all must succeed to close it.
        counts: which errors are failures: a class, several, or a function of the error. `Exception` by
            default. A cancelled call says nothing, whatever `counts` is.
        seed: for the jitter.

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        name: str = "breaker",
        *,
        failures: int = 5,
        window: float = 10.0,
        reset: float | Backoff | tuple[float, ...] = Backoff(1.0, 30.0, jitter=0.1),  # noqa: B008
        probes: int = 1,
        counts: Counts = Exception,
        seed: int | None = None,
    ) -> None:
        super().__init__(name)
        whole("failures", failures, 1)
        whole("probes", probes, 1)
        seconds("window", window)
        if isinstance(reset, int | float):
            seconds("reset", reset)
            reset = Backoff(reset, reset)
        backoff = backoff_of(reset, "reset")
        if backoff is None:
            raise UsageError("reset takes seconds > 0 or a kb.Backoff, got None")
        if not callable(counts) and not _are_errors(counts):
            raise UsageError(f"counts takes exception classes or a function of an error, got {counts!r}")
        self._counts = counts
        self._rules = BreakerRules(failures, window, backoff, probes, Random(seed).random)
        self._succeeded = self._failed = self._refused = self._opened = 0

    @property
    def state(self) -> BreakerState:
        """closed, open or half_open."""
        return self._rules.state

    def statistics(self) -> BreakerStatistics:
        """The breaker's figures now."""
        rules = self._rules
        left = max(0.0, rules.until - this_node().loop.time()) if rules.state == "open" else None
        return BreakerStatistics(
            rules.state, self._succeeded, self._failed, self._refused, self._opened, left
        )

    async def _enter(self) -> int:
        now = this_node().loop.time()
        with _Told(self, now):
            era = self._rules.admit(now)
        if era is None:
            self._refused += 1
            is_open = self._rules.state == "open"
            raise BreakerOpen(
                self.name,
                "it is open" if is_open else "it is half open and all its probes are under way",
                self._rules.until - now if is_open else None,
            )
        return era

    def _leave(self, ticket: int, error: BaseException | None) -> None:
        now = this_node().loop.time()
        with _Told(self, now):
            if error is None:
                self._succeeded += 1
                self._rules.succeeded(ticket, now)
            elif isinstance(error, asyncio.CancelledError | GeneratorExit):
                self._rules.abandoned(ticket)
            elif self._is_failure(error, ticket):
                self._failed += 1
                self._rules.failed(ticket, now)
            else:
                # An answer all the same: who says "no such customer" is there.
                self._succeeded += 1
                self._rules.succeeded(ticket, now)

    def _is_failure(self, error: BaseException, ticket: int) -> bool:
        counts: Any = self._counts
        if _are_errors(counts):
            return isinstance(error, counts)
        try:
            return bool(counts(error))
        except BaseException:
            self._rules.abandoned(ticket)  # nobody knows what it was, and another probe may find out
            raise

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name} {self._rules.state}>"


class _Told:
    """Has the events of a transition told that happens in its body."""

    def __init__(self, breaker: CircuitBreaker, now: float) -> None:
        self._breaker = breaker
        self._now = now
        self._era = breaker._rules.era

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        breaker, rules = self._breaker, self._breaker._rules
        if rules.era == self._era:
            return
        match rules.state:
            case "open":
                breaker._opened += 1
                breaker._emit(BreakerOpened(breaker.name, rules.until - self._now, max(1, len(rules.recent))))
            case "half_open":
                breaker._emit(BreakerHalfOpened(breaker.name))
            case "closed":
                breaker._emit(BreakerClosed(breaker.name))


def _are_errors(counts: Any) -> bool:
    classes: tuple[Any, ...] = counts if isinstance(counts, tuple) else (counts,)  # pyright: ignore[reportUnknownVariableType]
    return all(isinstance(each, type) and issubclass(each, BaseException) for each in classes)
