"""The clocks of a store on this machine: the machine's own, or those of an event loop that has a time of its own.

Such a loop is one for tests. It has a `wall_time` and a `lease_time`, which go with its `time`, and `real_operation`,
within which that does not jump.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, TypeGuard

__all__ = ["Clocks", "clocks_of", "in_real_time", "told_in_real_time"]


class Clocks(NamedTuple):
    """`wall` gives seconds since the epoch; leases are judged by `lease`, which nobody sets."""

    wall: Callable[[], float]
    lease: Callable[[], float]


class _OwnTime(Protocol):
    def wall_time(self) -> float: ...
    def lease_time(self) -> float: ...
    def real_operation(self) -> AbstractContextManager[None]: ...


def _has_own_time(loop: Any) -> TypeGuard[_OwnTime]:
    return hasattr(loop, "wall_time")


def clocks_of(loop: asyncio.AbstractEventLoop, wall: Callable[[], float] | None = None) -> Clocks:
    """Those that a store goes by which is opened on that loop; `wall` is the clock that it was given."""
    if _has_own_time(loop):
        return Clocks(wall or loop.wall_time, loop.lease_time)
    return Clocks(wall or time.time, functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME))


def in_real_time(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[None]:
    """Within it the loop waits for something that another thread does."""
    return loop.real_operation() if _has_own_time(loop) else nullcontext()


def told_in_real_time(loop: asyncio.AbstractEventLoop, done: Callable[[Any], None]) -> Callable[[Any], None]:
    """`done` for another thread to have called: until then the loop waits for it."""
    if not _has_own_time(loop):
        return done
    scope = loop.real_operation()
    scope.__enter__()

    def told(outcome: Any) -> None:
        scope.__exit__(None, None, None)
        done(outcome)

    return told
