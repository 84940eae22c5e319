"""What JSON schemas do not say of types: of which class a value is, where several classes look alike in JSON.

A schema that stands for one class gets its name as `class`, with the names of its `bases`. What stands for several,
such as `Sequence`, gets none and so takes all of them; so do members of a union that have the same schema.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import enum
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, NewType, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

Schema = dict[str, Any]

# Those that have a schema like others.
_ALIKE = (list, tuple, set, frozenset, collections.deque, dict, bytes, bytearray, memoryview)


def mark(schema: Schema, hint: Any, definitions: dict[str, Schema]) -> None:
    """Write into a schema, and those that it refers to, of which classes the hint says values to be."""
    hint = _bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        _mark_members(schema, args, definitions)
    elif "$ref" in schema:
        found = definitions.get(str(schema["$ref"]).removeprefix("#/"))
        if found is not None and "class" not in found:
            _mark_own(found, hint, origin or hint, definitions)
    elif isinstance(origin or hint, type):
        cls = origin or hint
        if cls is datetime.datetime:
            schema.setdefault("format", "datetime")  # msgspec says nothing of one that may be without a zone
        elif cls in _ALIKE:
            schema["class"] = cls.__name__
        _mark_items(schema, args, definitions)


def _bare(hint: Any) -> Any:
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def _mark_members(schema: Schema, args: tuple[Any, ...], definitions: dict[str, Schema]) -> None:
    members = schema.get("anyOf", [])
    before = copy.deepcopy(members)
    for arg in args:
        (alone,), _ = msgspec.json.schema_components([arg], ref_template="#/{name}")
        if arg is not NoneType and before.count(alone) == 1:
            mark(members[before.index(alone)], arg, definitions)


def _mark_items(schema: Schema, args: tuple[Any, ...], definitions: dict[str, Schema]) -> None:
    prefix, items, values = (schema.get(each) for each in ("prefixItems", "items", "additionalProperties"))
    if prefix is not None and len(prefix) == len(args):
        for each, arg in zip(prefix, args, strict=True):
            mark(each, arg, definitions)
    elif isinstance(items, dict) and args:
        mark(cast("Schema", items), args[0], definitions)
    elif isinstance(values, dict) and len(args) == 2:
        mark(cast("Schema", values), args[1], definitions)


def _mark_own(schema: Schema, hint: Any, cls: Any, definitions: dict[str, Schema]) -> None:
    """The class is one of the program's own."""
    schema["class"] = "dict" if is_typeddict(cls) else _name(cls)
    bases = [_name(each) for each in cls.__mro__[1:] if each not in (object, msgspec.Struct, enum.Enum, dict)]
    if bases:
        schema["bases"] = bases
    named, placed = schema.get("properties", {}), schema.get("prefixItems", [])
    fields = list(_fields(hint, cls))
    for place, (name, of) in enumerate(fields):
        if name in named:
            mark(named[name], of, definitions)
        elif len(placed) >= len(fields):
            mark(placed[place - len(fields)], of, definitions)  # in front there may be a tag


def _name(cls: Any) -> str:
    return str(cls.__qualname__).rpartition("<locals>.")[2]


def _fields(hint: Any, cls: Any) -> Iterator[tuple[str, Any]]:
    """What its schema calls the fields, and their types."""
    if issubclass(cls, msgspec.Struct):
        for each in msgspec.structs.fields(hint):
            yield each.encode_name, each.type
    elif dataclasses.is_dataclass(cls) or is_typeddict(cls) or hasattr(cls, "_fields"):
        yield from get_type_hints(cls, include_extras=True).items()
