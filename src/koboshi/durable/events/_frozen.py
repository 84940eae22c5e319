"""Which types of state cannot be changed in place, so that a reference is as good as a copy."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import types
import typing
import uuid
from typing import Any

import msgspec

__all__ = ["is_frozen"]

_ATOMS = (
    *(str, bytes, int, float, bool, type(None)),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal, uuid.UUID),
)
_CONTAINERS = (tuple, frozenset, typing.Union, types.UnionType, typing.Annotated)


def is_frozen(type: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether nothing in a value of this type can be changed; False where that cannot be told."""
    if type is None or type in seen:
        return True
    origin = typing.get_origin(type)
    if origin is typing.Literal:
        return True
    if origin in _CONTAINERS:
        return all(each is ... or is_frozen(each, seen) for each in typing.get_args(type))
    if origin is not None or not inspect.isclass(type):
        return False
    if issubclass(type, (*_ATOMS, enum.Enum)):
        return True
    if issubclass(type, msgspec.Struct):
        frozen = type.__struct_config__.frozen
    elif dataclasses.is_dataclass(type):
        frozen = bool(type.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    else:
        return False
    return frozen and _fields_are_frozen(type, seen | {type})


def _fields_are_frozen(cls: Any, seen: frozenset[Any]) -> bool:
    try:
        hints = typing.get_type_hints(cls)
    except NameError:
        return False
    return all(typing.get_origin(hint) is typing.ClassVar or is_frozen(hint, seen) for hint in hints.values())
