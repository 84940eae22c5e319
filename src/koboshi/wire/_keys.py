"""Keys: the same key means the same worker or partition, in every process and every run.

`hash` will not do: for strings it differs from one interpreter to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import pack
from typing import Any
from uuid import UUID

from .._kernel._errors import UsageError

__all__ = ["Key", "key_number", "message_key"]

Key = int | float | str | bytes | UUID | None | tuple[Any, ...]
"""What can be a key; a tuple is one of such keys."""


def key_number(key: Any) -> int:
    """The number of a key: an integer is its own, of any other it is 64 bits of its BLAKE2b digest.

    A worker's place is this number modulo the number of workers, so integers are dealt out evenly. Keys that
    are equal, as 1, 1.0 and True are, have one number.

    Raises:
        UsageError: it is no key.
    """
    if isinstance(key, int) or (isinstance(key, float) and key.is_integer()):
        return int(key)
    return int.from_bytes(blake2b(_packed(key), digest_size=8).digest(), "big")


def message_key(key: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """The number of the key of a message with these arguments; None when it has none.

    Args:
        key: makes the key from the arguments; None takes the first positional one.
    """
    if key is not None:
        return key_number(key(*args, **kwargs))
    return key_number(args[0]) if args else None


def _packed(key: Any) -> bytes:
    """Bytes that differ for different keys; the letter keeps "1", b"1" and 1 apart."""
    match key:
        case None:
            return b"n"
        case int():
            return b"i%d" % key
        case float():
            return b"i%d" % int(key) if key.is_integer() else b"f" + pack(">d", key)
        case str():
            return b"s" + key.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b" + key
        case UUID():
            return b"u" + key.bytes
        case tuple():
            parts = [_packed(part) for part in key]  # pyright: ignore[reportUnknownVariableType]
            return b"t" + b"".join(b"%d:" % len(part) + part for part in parts)
        case _:
            raise UsageError(
                f"a key is an int, float, str, bytes, UUID, None or a tuple of these, got {key!r}: use its "
                "id or str() of it"
            )
