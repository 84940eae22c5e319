"""Whether one JSON schema takes all that another does: for msgspec's schemas of types, with classes marked.

What it cannot decide it denies, so an unknown change is an incompatible one.
"""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]

# What says nothing about which values are taken.
# A discriminator only repeats the constants by which the members of a union are told apart.
SILENT = {"title", "description", "examples", "default", "definitions", "discriminator"}
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
STRUCTURE = {
    *("type", "enum", "const", "anyOf", "items", "prefixItems", "properties", "required"),
    *("additionalProperties", "$ref", "class", "bases", *LOWER, *UPPER),
}


def accepts(wide: Schema, narrow: Schema) -> bool:
    """Whether every value that fits `narrow` fits `wide`."""
    return _accepts(wide, narrow, wide.get("definitions", {}), narrow.get("definitions", {}), frozenset())


def _accepts(
    wide: Any, narrow: Any, wide_names: Schema, narrow_names: Schema, seen: frozenset[tuple[str, str]]
) -> bool:
    if "$ref" in wide or "$ref" in narrow:
        # The whole of both: the other one is not always a reference, and not always the same then.
        pair = (json.dumps(wide, sort_keys=True), json.dumps(narrow, sort_keys=True))
        if pair in seen:
            return True  # assumed while it is being shown
        seen |= {pair}
        wide, narrow = _resolve(wide, wide_names), _resolve(narrow, narrow_names)
        if wide is None or narrow is None:
            return False

    def inner(a: Any, b: Any) -> bool:
        return _accepts(a, b, wide_names, narrow_names, seen)

    a, b = _essence(wide), _essence(narrow)
    if not a:
        return True
    if a == b and not wide_names and not narrow_names:
        return True
    if not b or "python" in a or "python" in b:
        return a == b
    if _strange(a) != _strange(b):
        return False
    if "class" in a and a["class"] not in (b.get("class"), *b.get("bases", ())) and "anyOf" not in b:
        return False
    if "anyOf" in b:
        return all(inner(a, each) for each in b["anyOf"])
    if "anyOf" in a:
        return any(inner(each, b) for each in a["anyOf"])
    values, taken = _values(b), _values(a)
    if taken is not None:
        return values is not None and all(each in taken for each in values)
    if values is not None:
        return (
            set(a) == {"type"} and _is_plain(b, a["type"]) and all(_is_of(each, a["type"]) for each in values)
        )
    same = a.get("type") == b.get("type") or (a.get("type"), b.get("type")) == ("number", "integer")
    return same and _bounds(a, b) and _items(a, b, inner) and _properties(a, b, inner)


def _resolve(schema: Any, names: Schema) -> Any:
    ref = schema.get("$ref")
    return schema if ref is None else names.get(str(ref).removeprefix("#/"))


def _essence(schema: Any) -> Schema:
    return {key: value for key, value in schema.items() if key not in SILENT}


def _strange(schema: Schema) -> Schema:
    """What is not understood, and has to be the same in both."""
    return {key: value for key, value in schema.items() if key not in STRUCTURE}


def _values(schema: Schema) -> list[str] | None:
    if "const" in schema:
        return [json.dumps(schema["const"])]
    return [json.dumps(each) for each in schema["enum"]] if "enum" in schema else None


def _is_plain(schema: Schema, kind: object) -> bool:
    """Whether the members of what may be an enumeration are strings or numbers themselves."""
    plain = {"string": "str", "integer": "int", "number": "float"}.get(str(kind), "bool")
    return "class" not in schema or plain in schema.get("bases", ())


def _is_of(value: str, kind: object) -> bool:
    plain = json.loads(value)
    if kind == "string":
        return isinstance(plain, str)
    if kind in ("integer", "number"):
        return isinstance(plain, int if kind == "integer" else int | float) and not isinstance(plain, bool)
    return kind == "boolean" and isinstance(plain, bool)


def _bounds(a: Schema, b: Schema) -> bool:
    low = all(key not in a or (key in b and b[key] >= a[key]) for key in LOWER)
    return low and all(key not in a or (key in b and b[key] <= a[key]) for key in UPPER)


def _items(a: Schema, b: Schema, inner: Any) -> bool:
    first, second = a.get("prefixItems"), b.get("prefixItems")
    if first is not None or second is not None:
        if first is None or second is None or len(first) != len(second):
            return False
        return all(inner(x, y) for x, y in zip(first, second, strict=True))
    x, y = a.get("items", {}), b.get("items", {})
    return bool(x == y if not (isinstance(x, dict) and isinstance(y, dict)) else inner(x, y))


def _properties(a: Schema, b: Schema, inner: Any) -> bool:
    mine, theirs = a.get("properties", {}), b.get("properties", {})
    if set(a.get("required", ())) - set(b.get("required", ())):
        return False
    for name in {*mine, *theirs}:
        if name in mine and name in theirs:
            if not inner(mine[name], theirs[name]):
                return False
        elif name in theirs and a.get("additionalProperties", True) is False:
            return False
    x, y = a.get("additionalProperties", {}), b.get("additionalProperties", {})
    return inner(x, y) if isinstance(x, dict) and isinstance(y, dict) else x == y or x is True or x == {}


def shown(schema: Schema) -> str:
    """A schema in a few words."""
    if "python" in schema:
        return str(schema["python"])
    if "anyOf" in schema:
        return " | ".join(shown(each) for each in schema["anyOf"])
    if set(schema) == {"type"}:
        return str(schema["type"])
    plain = {key: value for key, value in schema.items() if key != "definitions"}
    return json.dumps(plain, sort_keys=True) if plain else "anything"
