"""What the types of a configuration say: which keys a value may have, and what is secret.

All of it is read from the annotations of the structs, so a configuration is described once.
"""

from __future__ import annotations

import enum
import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import msgspec

from ._secret import Secret


def members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a type, `Annotated` taken off: three of `int | Secret | None`, one of `int`."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return members(typing.get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return tuple(member for each in typing.get_args(kind) for member in members(each))
    return (kind,)


def is_struct(kind: Any) -> bool:
    """Whether a type is a struct."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def is_secret(kind: Any) -> bool:
    """Whether a value of this type, or something in it, may be a secret."""
    return any(
        each is Secret
        or (is_struct(each) and any(is_secret(field.type) for field in _fields(each)))
        or any(is_secret(inner) for inner in typing.get_args(each))
        for each in members(kind)
    )


def is_table(kind: Any) -> bool:
    """Whether a value of this type has keys."""
    return any(is_struct(each) or _is_mapping(each) for each in members(kind))


def choices(kind: Any) -> list[Any]:
    """The values of a `Literal` or an enumeration, as they are written."""
    found: list[Any] = []
    for each in members(kind):
        if typing.get_origin(each) is Literal:
            found += typing.get_args(each)
        elif isinstance(each, type) and issubclass(each, enum.Enum):
            found += [member.value for member in each]
    return found


def has_text(kind: Any) -> bool:
    """Whether a text stands for itself in this type."""
    return any(each in (str, Secret, Any) for each in members(kind))


def _is_mapping(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_sequence(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    if not isinstance(origin, type) or issubclass(origin, str | bytes | bytearray):
        return False
    return issubclass(origin, Sequence | set | frozenset)


def fields_of(kind: Any, value: object = None) -> dict[str, Any] | None:
    """The keys that a struct type knows, with their types; None if it has any keys or none at all.

    Args:
        value: what came, which picks one of several tagged structs; without that, all of them count.
    """
    structs = [each for each in members(kind) if is_struct(each)]
    if not structs or any(_is_mapping(each) for each in members(kind)):
        return None
    known: dict[str, Any] = {}
    for each in _tagged(structs, value):
        config = each.__struct_config__
        if config.tag_field is not None:
            known[config.tag_field] = type(config.tag)
        known.update({field.encode_name: field.type for field in _fields(each)})
    return known


def _tagged(structs: list[Any], value: object) -> list[Any]:
    """The struct that a table is tagged with; all of them if it says none."""
    table = table_of(value)
    for each in structs:
        config = each.__struct_config__
        if table is not None and config.tag_field in table and table[config.tag_field] == config.tag:
            return [each]
    return structs


def table_of(value: object) -> dict[str, object] | None:
    """A value that has keys, as what it is; None for any other."""
    return typing.cast("dict[str, object]", value) if isinstance(value, dict) else None


@functools.lru_cache(maxsize=512)
def _fields(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a struct; msgspec evaluates its annotations each time."""
    return msgspec.structs.fields(kind)


def required_of(kind: Any, value: object) -> list[str]:
    """The keys that a value of a struct type must have."""
    structs = _tagged([each for each in members(kind) if is_struct(each)], value)
    if len(structs) != 1:
        return []
    return [field.encode_name for field in _fields(structs[0]) if field.required]


def parts(kind: Any, value: object) -> Iterator[tuple[str | int, Any, object]]:
    """What is in a value: for each key or index, its type as far as one is known, and what is there."""
    table = table_of(value)
    if table is not None:
        known = fields_of(kind, table)
        for key, each in table.items():
            yield key, _inner(kind, _is_mapping, 1) if known is None else known.get(key, Any), each
    elif isinstance(value, list):
        for index, each in enumerate(typing.cast("list[object]", value)):
            yield index, _inner(kind, _is_sequence, 0, index), each


def _inner(kind: Any, is_kind: Any, which: int, index: int = 0) -> Any:
    """The type of what is in a container."""
    for each in members(kind):
        if is_kind(each):
            arguments = typing.get_args(each)
            if typing.get_origin(each) is tuple and arguments[-1:] != (...,):
                which = index
            return arguments[which] if which < len(arguments) else Any
    return Any


def inner_of_table(kind: Any) -> Any:
    """The type of the values of a mapping."""
    return _inner(kind, _is_mapping, 1)
