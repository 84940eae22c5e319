"""What a failover tells of."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from ..._kernel._events import Event


@dataclass(frozen=True, slots=True)
class ChangedOver(Event):
    """The failover called `process` takes its items from `source` now; `previous` is None for the first."""

    level: ClassVar[int] = logging.WARNING
    source: str
    previous: str | None
    why: str


@dataclass(frozen=True, slots=True)
class SourceFailed(Event):
    """A source of the failover called `process` has failed; it is tried again after `retry_in` seconds."""

    level: ClassVar[int] = logging.WARNING
    source: str
    why: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class ItemRejected(Event):
    """The consumer failed on an item of `source`, or ended when it may have begun on it."""

    level: ClassVar[int] = logging.ERROR
    source: str
    error: BaseException
