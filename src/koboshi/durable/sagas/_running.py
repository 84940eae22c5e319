"""Calls of the functions of steps: plain ones in a thread, async ones on the loop, each with its key."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

from ..._kernel._end import Stop
from ..._kernel._errors import UsageError
from ..actors._codec import Codec, _hints, codec_of

__all__ = ["KEY", "called", "result_codec", "step_key"]

#: The key of the step that runs here.
KEY: ContextVar[str | None] = ContextVar("koboshi_step_key", default=None)


def step_key() -> str:
    """The idempotency key of the step that runs here: the same on every retry and after every restart.

    Raises:
        UsageError: no step runs here.
    """
    key = KEY.get()
    if key is None:
        raise UsageError("step_key() is for the functions that a saga's steps and compensations call")
    return key


async def called(fn: Callable[..., Any], args: tuple[Any, ...], timeout: float | None) -> tuple[Any, bool]:
    """What the function returns; or the error that it has raised, and whether that is its timeout."""
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            found = fn(*args) if inspect.iscoroutinefunction(fn) else await asyncio.to_thread(fn, *args)
            return (await found if inspect.isawaitable(found) else found), False
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return error, False
    except (Exception, SystemExit, Stop) as error:
        return error, isinstance(error, TimeoutError) and scope.expired()


def with_key(context: Context, key: str) -> Context:
    """A copy of the context in which `step_key` gives that key."""
    copy = context.copy()
    copy.run(KEY.set, key)
    return copy


def result_codec(fn: Callable[..., Any]) -> Codec:
    """How the result of a step is stored: by what its function says that it returns."""
    hint: Any = _hints(getattr(fn, "func", fn)).get("return", Any)
    return codec_of(hint)
