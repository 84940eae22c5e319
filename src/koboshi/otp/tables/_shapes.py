"""What an argument is: narrows types that callers need not have checked."""

from __future__ import annotations

from typing import Any, TypeGuard


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Whether it is a tuple, a named one too."""
    return isinstance(value, tuple)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is a list."""
    return isinstance(value, list)
