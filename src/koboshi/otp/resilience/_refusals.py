"""What the gates of this package raise, and the events by which they tell of a change."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from ..._kernel._errors import KoboshiError
from ..._kernel._events import Event


class Refused(KoboshiError):
    """A gate did not let a call through, so nothing of it was executed.

    Attributes:
        gate: name of the gate.
        retry_after: seconds until it may be worth another try; None when that is not known.
    """

    def __init__(self, gate: str, why: str, retry_after: float | None = None) -> None:
        again = "" if retry_after is None else f"; try again in {retry_after:.3g} s"
        super().__init__(f"{gate} refused the call: {why}{again}")
        self.gate = gate
        self.retry_after = retry_after


class BreakerOpen(Refused):
    """The circuit breaker is open, or half open with all its probes under way."""


class BulkheadFull(Refused):
    """All places are taken, and so is the queue for them; or none was free in time."""


class RateLimited(Refused):
    """There is no token for it now, or none will be in time."""


class Overloaded(Refused):
    """It would not be done by its deadline, by the estimate of the load shedder."""


@dataclass(frozen=True, slots=True)
class BreakerOpened(Event):
    """The breaker called `process` lets nothing through for `seconds`; `failures` counts what it saw last."""

    level: ClassVar[int] = logging.WARNING
    seconds: float
    failures: int


@dataclass(frozen=True, slots=True)
class BreakerHalfOpened(Event):
    """The breaker called `process` lets probes through."""


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """The breaker called `process` lets everything through again."""


@dataclass(frozen=True, slots=True)
class Saturated(Event):
    """The gate called `process` has begun to refuse calls; `why` it did the first one."""

    level: ClassVar[int] = logging.WARNING
    why: str


@dataclass(frozen=True, slots=True)
class Relieved(Event):
    """The gate called `process` lets calls through again, after it has refused `refused` of them."""

    refused: int


@dataclass(frozen=True, slots=True)
class FellBack(Event):
    """A fallback called `process` went on from `failed` to `next`."""

    level: ClassVar[int] = logging.WARNING
    failed: str
    next: str
    error: BaseException
