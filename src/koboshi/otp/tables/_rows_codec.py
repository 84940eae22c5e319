"""Rows as bytes: MessagePack, with tuples kept apart from lists and whole numbers of any size.

What is read back is equal to what was written and of the same types, or it is refused when it is written.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ._errors import NotStorable
from ._shapes import is_list, is_tuple

_TUPLE = 1
_BIG = 2
_AS_THEY_ARE = frozenset({type(None), bool, float, str, bytes})


def encode_rows(rows: list[Any]) -> bytes:
    """The rows of one key. Raises `NotStorable`."""
    try:
        return msgspec.msgpack.encode([[_plain(each) for each in row] for row in rows])
    except (RecursionError, UnicodeEncodeError) as error:
        raise NotStorable(f"{type(error).__name__}: {error}") from error


def decode_rows(data: bytes) -> list[tuple[Any, ...]]:
    """What `encode_rows` was given. Raises `ValueError`."""
    found = msgspec.msgpack.decode(data, ext_hook=_extension)
    if not is_list(found):
        raise ValueError("rows are missing")
    return [tuple(row) for row in found]


def encode_key(key: Any) -> bytes:
    """The same bytes for all keys that are equal: `1`, `1.0` and `True` are one. Raises `NotStorable`."""
    try:
        return msgspec.msgpack.encode(_plain(_same(key)))
    except UnicodeEncodeError as error:
        raise NotStorable(f"{type(error).__name__}: {error}") from error


def _same(key: Any) -> Any:
    if isinstance(key, bool) or (isinstance(key, float) and key.is_integer()):
        return int(key)
    if is_tuple(key):
        return tuple(_same(each) for each in key)
    return key


def _plain(value: Any) -> Any:
    kind = _kind_of(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is int:
        if -(2**63) <= value < 2**64:
            return value
        return msgspec.msgpack.Ext(_BIG, value.to_bytes(value.bit_length() // 8 + 1, signed=True))
    if kind is list:
        return [_plain(each) for each in value]
    if kind is tuple:
        return msgspec.msgpack.Ext(_TUPLE, msgspec.msgpack.encode([_plain(each) for each in value]))
    if kind is dict:
        return {_plain_key(key): _plain(each) for key, each in value.items()}
    raise NotStorable(f"a {kind.__qualname__}: {value!r}")


def _kind_of(value: object) -> type:
    return type(value)


def _plain_key(key: Any) -> Any:
    if type(key) in (tuple, list, dict):
        raise NotStorable(f"a dict with the key {key!r}: keys of dicts inside of rows are plain values")
    return _plain(key)


def _extension(code: int, data: memoryview) -> Any:
    if code == _TUPLE:
        return tuple(msgspec.msgpack.decode(data, ext_hook=_extension))
    if code == _BIG:
        return int.from_bytes(data, signed=True)
    raise ValueError(f"extension {code} is unknown")
