"""Reading the options of tasks and streams: what is impossible is refused when it is given."""

from __future__ import annotations

from typing import Any

from ..._kernel._errors import UsageError


def seconds_or_none(option: str, value: object) -> None:
    """Raise unless it is a time in seconds, or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise UsageError(f"{option} takes seconds >= 0 or None, got {value!r}")


def function(what: str, fn: Any) -> None:
    """Raise unless it can be called."""
    if not callable(fn):
        called = "; pass the function and its arguments, not its result" if hasattr(fn, "__await__") else ""
        if hasattr(fn, "close") and called:
            fn.close()  # it is a coroutine that nobody will await
        raise UsageError(f"{what} takes a function, plain or async, got {fn!r}{called}")
