"""What a pool grants its jobs and its workers, as one checked value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._kernel._errors import UsageError
from ..._supervision._options import one_of, seconds, whole
from ..process._in_hand import MOST_IN_HAND
from ._dispatch import STRATEGIES, Strategy

__all__ = ["QUARANTINE", "Terms"]

QUARANTINE = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """The options of `pool` that concern single jobs and single workers, with its names.

    Raises:
        UsageError: one has no such value.
    """

    timeout: float | None = None
    quarantine: int = QUARANTINE
    max_jobs: int | None = None
    max_age: float | None = None
    max_memory: int | None = None
    spares: int = 0
    strategy: Strategy = "least_busy"
    key: Callable[..., Any] | None = None
    max_concurrency: int = 1

    def __post_init__(self) -> None:
        seconds("timeout", self.timeout, none=True)
        whole("quarantine", self.quarantine, 1)
        seconds("max_age", self.max_age, none=True)
        for name in ("max_jobs", "max_memory"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1)
        whole("spares", self.spares, 0)
        if whole("max_concurrency", self.max_concurrency, 1) > MOST_IN_HAND:
            raise UsageError(f"max_concurrency is at most {MOST_IN_HAND}, got {self.max_concurrency}")
        if self.max_concurrency > 1 and self.strategy == "by_key":
            raise UsageError(
                'max_concurrency means nothing with strategy="by_key": the jobs of one key run one by one'
            )
        one_of("strategy", self.strategy, STRATEGIES)
        if self.key is not None and not callable(self.key):
            raise UsageError(f"key takes a function of a message's arguments, got {self.key!r}")
        if self.key is not None and self.strategy != "by_key":
            raise UsageError(f'key means nothing with strategy="{self.strategy}"; add strategy="by_key"')
