"""Who a durable actor is: a system, a type and a key. It says where its rows are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..._kernel._errors import UsageError

__all__ = ["MOST_KEY", "Identity", "check_tags", "checked_name"]

#: Characters that a key may have.
MOST_KEY = 255


class Identity(NamedTuple):
    """The primary key of an actor's rows."""

    system: str
    type: str
    key: str

    def __str__(self) -> str:
        return f"{self.type}/{self.key}"


def checked_name(what: str, value: Any, most: int) -> str:
    """A name that can be stored in full.

    Raises:
        UsageError: it is no string, empty, too long, or holds what a database cannot store.
    """
    if not isinstance(value, str) or not 0 < len(value) <= most:
        got = f"{len(value)}: {value[:40]!r}..." if isinstance(value, str) and value else repr(value)
        raise UsageError(f"a {what} is a string of 1 to {most} characters, got {got}")
    if "\0" in value or (not value.isprintable() and not value.encode("utf-8", "replace").decode() == value):
        raise UsageError(f"a {what} holds no zero and no half of a surrogate pair, got {value!r}")
    return value


def check_tags(tags: Mapping[str, Any]) -> None:
    """Raise `UsageError` for what is no tag."""
    for name, value in tags.items():
        if not isinstance(value, str) or len(value) > 128 or len(name) > 64:
            raise UsageError(
                f"a tag is a name of up to 64 and a string of up to 128 characters, got {name}={value!r}"
            )
