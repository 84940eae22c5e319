"""The one place of the suite where time passes only so that something can be looked at again.

Waiting for a message, an event, a future, a pipe or a pidfd costs nothing, misses nothing, and ends the moment it
happens. Some things tell nobody: what a server that is not ours does while it starts, an entry in `/proc`, a row that
another program writes. Only those are asked for again and again, here, with a bound, and with a name for what was
waited for.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

__all__ = ["BOUND", "EVERY", "ask", "ask_blocking"]

T = TypeVar("T")

# Seconds between two looks, and until it is given up: less than what a test has, so that the failure has a name.
EVERY = 0.01
BOUND = 40.0


@overload
async def ask(look: Callable[[], Awaitable[T | None]], what: str, *, bound: float = ...) -> T: ...
@overload
async def ask(look: Callable[[], T | None], what: str, *, bound: float = ...) -> T: ...
async def ask(look: Callable[[], Any], what: str, *, bound: float = BOUND) -> Any:
    """What `look` gives once that is true; it is asked for again and again.

    Args:
        what: what is waited for and tells nobody, for the error.
        bound: seconds of the event loop's clock until it is given up.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + bound
    while True:
        found = look()
        seen = await found if inspect.isawaitable(found) else found
        if seen:
            return seen
        assert loop.time() < until, f"waited {bound:g} s in vain: {what}; at the end it was {seen!r}"
        await asyncio.sleep(EVERY)


def ask_blocking(look: Callable[[], T | None], what: str, *, bound: float = BOUND) -> T:
    """The same where no event loop runs."""
    until = time.monotonic() + bound
    while not (seen := look()):
        assert time.monotonic() < until, f"waited {bound:g} s in vain: {what}; at the end it was {seen!r}"
        time.sleep(EVERY)
    return seen
