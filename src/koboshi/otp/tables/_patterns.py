"""Patterns of rows: `(ANY, "paid", Var("sum"))`. A pattern is a tuple of the row's length.

An element is `ANY`, which matches everything; a `Var`, which does too, gives its value out, and must be equal
wherever its name stands again; a tuple, matched element by element against a tuple of its length; or any
other value, matched by `==`. So `1` matches `1.0` and `True`, as they are one key of a dict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ..._kernel._errors import UsageError
from ._shapes import is_tuple

R = TypeVar("R", bound=tuple[Any, ...])


class Anything:
    """The type of `ANY`."""

    def __reduce__(self) -> str:
        return "ANY"

    def __repr__(self) -> str:
        return "otp.ANY"


#: In a pattern: whatever stands here.
ANY = Anything()


@dataclass(frozen=True, slots=True)
class Var:
    """In a pattern: whatever stands here, and the same wherever the name stands again."""

    name: str

    def __repr__(self) -> str:
        return f"otp.Var({self.name!r})"


# What `select` and its like take: a pattern, a function that tells of a row, or None for all rows.
Where = tuple[Any, ...] | Callable[[R], object] | None


def bindings(pattern: Any, value: Any, bound: dict[str, Any]) -> bool:
    """Whether a value matches; fills in the variables."""
    if pattern is ANY:
        return True
    if isinstance(pattern, Var):
        if pattern.name in bound:
            return bool(bound[pattern.name] == value)
        bound[pattern.name] = value
        return True
    if is_tuple(pattern):
        if not is_tuple(value) or len(value) != len(pattern):
            return False
        return all(bindings(part, of, bound) for part, of in zip(pattern, value, strict=True))
    return bool(pattern == value)


def variables(pattern: Any) -> list[str]:
    """The names of a pattern's variables, in the order in which they first stand in it."""
    if isinstance(pattern, Var):
        return [pattern.name]
    if not is_tuple(pattern):
        return []
    return list(dict.fromkeys(name for part in pattern for name in variables(part)))


def is_open(pattern: Any) -> bool:
    """Whether a part of a pattern matches more than one value."""
    if pattern is ANY or isinstance(pattern, Var):
        return True
    return is_tuple(pattern) and any(is_open(part) for part in pattern)


def check_pattern(pattern: Any, key: int) -> tuple[Any, ...]:
    """A pattern for a table whose key is at `key`.

    Raises:
        UsageError: it is none.
    """
    if not is_tuple(pattern) or len(pattern) <= key:
        raise UsageError(
            f"a pattern is a tuple as long as the rows, such as (otp.ANY, 1), with a place for the key at "
            f"{key}; got {pattern!r}"
        )
    return pattern


def test_of(where: Any, key: int) -> Callable[[Any], object]:
    """The function that tells of a row whether it is meant.

    Raises:
        UsageError: `where` is neither a pattern nor a function nor None.
    """
    if where is None:
        return _every_row
    if callable(where):
        return cast("Callable[[Any], object]", where)
    pattern = check_pattern(where, key)
    return lambda row: bindings(pattern, row, {})


def _every_row(row: object) -> bool:
    return True
