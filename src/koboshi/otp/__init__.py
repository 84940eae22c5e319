"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from .failover._events import ChangedOver, ItemRejected, SourceFailed
from .failover._failover import Failover, FailoverStatistics, SourceInfo
from .failover._sources import Feed, NotActive, Poll, Push
from .resilience._breaker import BreakerStatistics, CircuitBreaker
from .resilience._bulkhead import Bulkhead, BulkheadPlace, BulkheadStatistics
from .resilience._fallback import Fallback, FallbackStatistics, fallback
from .resilience._rate import RateLimiter, RateStatistics
from .resilience._refusals import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpen,
    BreakerOpened,
    BulkheadFull,
    FellBack,
    Overloaded,
    RateLimited,
    Refused,
    Relieved,
    Saturated,
)
from .resilience._shedder import LoadShedder, ShedderStatistics
from .routers._router import Router, router
from .routers._statistics import RouteeInfo, RouterStatistics

__all__ = [
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpen",
    "BreakerOpened",
    "BreakerStatistics",
    "Bulkhead",
    "BulkheadFull",
    "BulkheadPlace",
    "BulkheadStatistics",
    "ChangedOver",
    "CircuitBreaker",
    "Failover",
    "FailoverStatistics",
    "Fallback",
    "FallbackStatistics",
    "Feed",
    "FellBack",
    "ItemRejected",
    "LoadShedder",
    "NotActive",
    "Overloaded",
    "Poll",
    "Push",
    "RateLimited",
    "RateLimiter",
    "RateStatistics",
    "Refused",
    "Relieved",
    "RouteeInfo",
    "Router",
    "RouterStatistics",
    "Saturated",
    "ShedderStatistics",
    "SourceFailed",
    "SourceInfo",
    "fallback",
    "router",
]

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.otp."):
        globals()[_name].__module__ = "koboshi.otp"
