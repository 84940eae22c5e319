"""What a checkout pool tells: its figures, and why there is no worker."""

from __future__ import annotations

from dataclasses import dataclass

from ..._kernel._errors import KoboshiError

__all__ = ["CheckoutStatistics", "NoWorkerFree", "TooManyWaiting"]


class NoWorkerFree(KoboshiError):
    """All workers are lent, and the caller would not wait."""


class TooManyWaiting(KoboshiError):
    """All workers are lent, and `max_waiting` wait for one already."""


@dataclass(frozen=True, slots=True)
class CheckoutStatistics:
    """A pool at one moment, and since its start.

    Attributes:
        state: "ready" when a worker is free or may be started, "overflow" when there are more than the
            regular ones, "full" when nobody can have one.
        free, lent, starting, waiting: how many workers, and how many wait.
        overflow: workers beyond the regular ones.
        checkouts, discarded, failed_starts: since the start.
    """

    state: str
    free: int
    lent: int
    starting: int
    waiting: int
    overflow: int
    checkouts: int
    discarded: int
    failed_starts: int
