"""When a program counts as started: at once, at a line, when a port answers, or when a probe says so."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable

from ._output import Line

Probe = Callable[[], bool] | Callable[[], Awaitable[bool]]
Ready = None | Line | int | Probe

# Seconds between two looks at a port or a probe.
LOOK_EVERY = 0.05


def describe(ready: Ready) -> str:
    """What is waited for, as a clause: `written a line with 'ready'`."""
    if isinstance(ready, str):
        return f"written a line with {ready!r}"
    if isinstance(ready, re.Pattern):
        return f"written a line that matches {ready.pattern!r}"
    if isinstance(ready, int):
        return f"opened port {ready} of 127.0.0.1"
    return f"satisfied {getattr(ready, '__name__', ready)!r}"


async def answered(ready: Ready) -> None:
    """Wait until a port of this machine answers, or a probe does; a probe that raises has not."""
    while not await _look(ready):  # noqa: ASYNC110, nobody here would set an event
        await asyncio.sleep(LOOK_EVERY)


async def _look(ready: Ready) -> bool:
    if isinstance(ready, int):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", ready)
        except OSError:
            return False
        writer.close()
        return True
    assert callable(ready)
    try:
        if inspect.iscoroutinefunction(ready):
            return bool(await ready())
        return bool(await asyncio.to_thread(ready))
    except Exception:
        return False
