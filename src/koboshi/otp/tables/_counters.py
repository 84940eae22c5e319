"""What `update_counter` and `update_element` make of a row: values in, values out, nothing changed."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from ..._kernel._errors import UsageError
from ._shapes import is_list, is_tuple

R = TypeVar("R", bound=tuple[Any, ...])

#: An increment of the element behind the key; `(place, increment)`; or `(place, increment, threshold,
#: reset)`: a sum beyond the threshold, in the direction of the increment, becomes `reset`.
CounterOp = int | tuple[int, int] | tuple[int, int, int, int]


def count(row: R, op: CounterOp | list[CounterOp], key: int) -> tuple[R, Any]:
    """The row with its counters moved, and the new count; for a list of operations, a list of counts.

    Raises:
        UsageError: an operation is none, or its place is the key, outside of the row, or no whole number.
    """
    items = list(row)
    result = [_move(items, each, key) for each in op] if is_list(op) else _move(items, op, key)
    return remade(row, items), result


def _move(items: list[Any], op: Any, key: int) -> int:
    place, step, limit, reset = _parts(op, key)
    old = items[_place(items, place, key)]
    if not isinstance(old, int) or isinstance(old, bool):
        raise UsageError(f"update_counter counts whole numbers, and place {place} of the row holds {old!r}")
    new = old + step
    if limit is not None and (new < limit if step < 0 else new > limit):
        new = reset
    items[place] = new
    return new


def _parts(op: Any, key: int) -> tuple[int, int, int | None, int]:
    parts = op if is_tuple(op) else (key + 1, op)
    if len(parts) in (2, 4) and all(isinstance(each, int) and not isinstance(each, bool) for each in parts):
        limit, reset = parts[2:] or (None, 0)
        return parts[0], parts[1], limit, reset
    raise UsageError(
        "update_counter takes an increment, (place, increment) or (place, increment, threshold, reset) "
        f"in whole numbers, or a list of these; got {op!r}"
    )


def changed(row: R, updates: Any, key: int) -> R:
    """The row with elements replaced: one `(place, value)`, or a list of them.

    Raises:
        UsageError: an update is none, or its place is the key or outside of the row.
    """
    items = list(row)
    for update in updates if is_list(updates) else [updates]:
        if not is_tuple(update) or len(update) != 2:
            raise UsageError(f"update_element takes (place, value), or a list of these; got {update!r}")
        place, value = update
        items[_place(items, place, key)] = value
    return remade(row, items)


def with_key(row: R, value: Any, key: int) -> R:
    """A default row with the key in its place."""
    items = list(row)
    items[key] = value
    return remade(row, items)


def _place(items: list[Any], place: Any, key: int) -> int:
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(items):
        raise UsageError(
            f"a row of {len(items)} elements has places 0 to {len(items) - 1}, and {place!r} is none"
        )
    if place == key:
        raise UsageError(
            f"place {place} is the key of this table and cannot be updated; delete and insert instead"
        )
    return place


def remade(row: R, items: list[Any]) -> R:
    """A row of the same class: a plain tuple or a named one."""
    make = getattr(row, "_make", None)
    return cast("R", tuple(items) if make is None else make(items))
