"""A function and its arguments, on their way from the root to a worker.

On the wire an argument list is a tuple of small values as it is, or the pickle of
(args, kwargs), whose large buffers lie in shared memory beside it. It is packed when it
is submitted, so a later change by the caller does not reach the worker, and a failure is
raised where the mistake is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from ...wire import DescriptorsExhausted, FrameTooLarge, NotPicklable
from ...wire._buffers import BufferedPickle, pack
from ...wire._pickle import all_small_ints, dumps, is_small
from ._main_module import main_source

__all__ = ["Entry", "FunctionRef", "FunctionTable", "encode_arguments", "encode_items"]

Entry = tuple[Any, ...] | bytes | BufferedPickle
"""One job's arguments as they travel."""

_TABLE_LIMIT = 1024
_ANY_SIZE = 1 << 60


@dataclass(frozen=True, slots=True, eq=False)
class FunctionRef:
    """A packed function; compared by identity, so that equal jobs can share a batch."""

    name: str
    blob: bytes
    # The function itself, for messages that name an argument. None costs only the name.
    function: Callable[..., object] | None = None
    # Travels by name, so a worker may keep it; one packed by value would pile up there.
    lasting: bool = False

    def __repr__(self) -> str:
        return f"<FunctionRef {self.name}>"


class FunctionTable:
    """Packs functions, once each for those that travel by name."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[object, FunctionRef] = {}

    def __len__(self) -> int:
        return len(self._known)

    def lasting(self) -> list[FunctionRef]:
        """Those that travel by name and are known."""
        return list(self._known.values())

    def ref(self, function: Callable[..., object], limit: int) -> FunctionRef:
        """Return the packed form; raises NotPicklable or FrameTooLarge."""
        by_name = _travels_by_name(function)
        if by_name:
            known = self._known.get(function)
            if known is not None:
                return known
        name = _name(function)
        if getattr(function, "__module__", None) == "__main__" and main_source() is None:
            raise NotPicklable(name, None, "workers cannot import what was typed at a prompt or after -c")
        try:
            blob = dumps(function)
        except Exception as error:
            raise NotPicklable(name, None, f"{type(error).__name__}: {error}") from error
        if len(blob) > limit:
            raise FrameTooLarge(f"function {name}", len(blob), limit)
        ref = FunctionRef(name, blob, function, lasting=by_name)
        if by_name:
            if len(self._known) >= _TABLE_LIMIT:
                self._known.clear()
            self._known[function] = ref
        return ref


def encode_arguments(ref: FunctionRef, args: tuple[Any, ...], kwargs: Mapping[str, Any], limit: int) -> Entry:
    """Pack one job's arguments; raises NotPicklable, FrameTooLarge or DescriptorsExhausted."""
    if not kwargs and len(args) <= 8 and all(map(is_small, args)):
        return args
    try:
        parts = (*args, *kwargs.values()) if kwargs else args
        return pack((args, dict(kwargs)), limit, what=f"the arguments of {ref.name}", parts=parts)
    except (FrameTooLarge, DescriptorsExhausted):
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise NotPicklable(ref.name, _find_culprit(ref, args, kwargs), problem) from error


def encode_items(ref: FunctionRef, items: list[Any], limit: int) -> list[Entry]:
    """Pack each item as the only argument of one job."""
    if all_small_ints(items):
        return list(zip(items, strict=True))
    return [encode_arguments(ref, (item,), {}, limit) for item in items]


def _travels_by_name(function: object) -> bool:
    if isinstance(function, BuiltinFunctionType):
        owner: object = function.__self__
        return owner is None or isinstance(owner, ModuleType)
    return isinstance(function, FunctionType | type)


def _name(function: object) -> str:
    qualname = getattr(function, "__qualname__", None)
    if qualname is None:
        return repr(function)[:200]
    module = getattr(function, "__module__", None)
    return qualname if module in (None, "builtins") else f"{module}.{qualname}"


def _find_culprit(ref: FunctionRef, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Name the first argument that cannot be packed by itself."""
    names = _parameter_names(ref.function)
    for index, value in enumerate(args):
        if not _packs(value):
            name = f" ({names[index]!r})" if index < len(names) else ""
            return f"argument {index + 1}{name}, a {type(value).__name__},"
    for key, value in kwargs.items():
        if not _packs(value):
            return f"argument {key!r}, a {type(value).__name__},"
    return "the argument list"


def _packs(value: object) -> bool:
    try:
        pack(value, _ANY_SIZE, what="an argument")
    except Exception:
        return False
    return True


def _parameter_names(function: Callable[..., object] | None) -> list[str]:
    if function is None:
        return []
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []
