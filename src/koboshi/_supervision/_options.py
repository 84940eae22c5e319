"""What the values of options may be: each check names the option, what it takes, and what came."""

from __future__ import annotations

import math
from typing import TypeGuard

from .._kernel._errors import UsageError


def one_of(option: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise `UsageError` unless the value is one of some words."""
    if value not in allowed:
        raise UsageError(f"{option} is one of {', '.join(map(repr, allowed))}; got {value!r}")


def is_whole(value: object, least: int) -> TypeGuard[int]:
    """Whether it is a whole number of at least `least`; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def whole(option: str, value: object, least: int) -> int:
    """The value, if it is a whole number >= `least`; raises `UsageError` otherwise."""
    if not is_whole(value, least):
        raise UsageError(f"{option} takes a whole number >= {least}, got {value!r}")
    return value


def seconds(option: str, value: object, *, none: bool = False) -> None:
    """Raise `UsageError` unless the value is a number of seconds above 0, or None where `none` allows it."""
    if none and value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise UsageError(f"{option} takes seconds > 0{' or None' if none else ''}, got {value!r}")


def hashed(what: str, value: object) -> int:
    """The hash of what is to be a key or a name; raises `UsageError` if it has none."""
    try:
        return hash(value)
    except TypeError:
        raise UsageError(f"{what} must be hashable, such as a string or a tuple, got {value!r}") from None
