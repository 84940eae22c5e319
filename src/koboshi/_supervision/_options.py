"""What the values of options may be: each check names the option, what it takes, and what came."""

from __future__ import annotations

import math
from typing import Any

from .._kernel._errors import UsageError


def one_of(option: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise `UsageError` unless the value is one of some words."""
    if value not in allowed:
        raise UsageError(f"{option} is one of {', '.join(map(repr, allowed))}; got {value!r}")


def whole(option: str, value: Any, least: int) -> int:
    """The value, if it is a whole number >= `least`; raises `UsageError` otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{option} takes a whole number >= {least}, got {value!r}")
    return value


def seconds(option: str, value: object, *, none: bool = False) -> None:
    """Raise `UsageError` unless the value is a number of seconds above 0, or None where `none` allows it."""
    if none and value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise UsageError(f"{option} takes seconds > 0{' or None' if none else ''}, got {value!r}")
