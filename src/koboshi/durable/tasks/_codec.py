"""Arguments and results as msgpack of the types that the function declares."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..._kernel._errors import UsageError
from ._options import OPTIONS

__all__ = ["Codec"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_encode = msgspec.msgpack.Encoder().encode


class Codec:
    """What one function takes and gives, on its way through a store.

    Arguments are stored as an array in the order of the parameters. A parameter that was added later and
    has a default may be missing at the end.

    Args:
        name: of the task, for errors.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name = name
        self._signature = inspect.signature(function)
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except Exception as error:
            raise UsageError(f"the annotations of the task {name} cannot be resolved: {error}") from error
        self._parameters = list(self._signature.parameters.values())
        #: Its parameters' names; whatever a function takes by `**` is none.
        self.names = frozenset(self._signature.parameters)
        self._plain = all(each.kind in _POSITIONAL for each in self._parameters)
        self._least = sum(each.default is inspect.Parameter.empty for each in self._parameters)
        fields = [_field(index, each, hints) for index, each in enumerate(self._parameters)]
        returned = hints.get("return", Any)
        try:
            self._struct = msgspec.defstruct("Arguments", fields, array_like=True)
            self._arguments = msgspec.msgpack.Decoder(self._struct)
            self._result = msgspec.msgpack.Decoder(type(None) if returned is None else returned)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the task {name} declares types that cannot be stored: {error}") from error

    def encode_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The payload; raises `UsageError` unless the function takes these arguments."""
        if self._plain and not kwargs and self._least <= len(args) <= len(self._parameters):
            values: Any = args
        else:
            values = self._bound(args, kwargs)
        try:
            payload = _encode(values)
            self._arguments.decode(payload)
        except (TypeError, ValueError, msgspec.MsgspecError, OverflowError) as error:
            raise UsageError(
                f"the task {self._name}{self._signature} cannot take {_shown(args, kwargs)}: {self._placed(error)}"
            ) from None
        return payload

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(
                f"the task {self._name}{self._signature} cannot take {_shown(args, kwargs)}: {error}{_advice(kwargs)}"
            ) from None
        bound.apply_defaults()
        return [bound.arguments[each.name] for each in self._parameters]

    def _placed(self, error: Exception) -> str:
        """The error's text with the parameter's name in place of its number."""
        text = str(error)
        for index, each in enumerate(self._parameters):
            text = text.replace(f"`$[{index}]", f"`{each.name}")
        return text

    def decode_arguments(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the function is called with.

        Raises:
            msgspec.ValidationError: the function has other parameters than when the task was put.
        """
        values = msgspec.structs.astuple(self._arguments.decode(payload))
        if self._plain:
            return values, {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for each, value in zip(self._parameters, values, strict=True):
            if each.kind in _POSITIONAL:
                args.append(value)
            elif each.kind is inspect.Parameter.VAR_POSITIONAL:
                args += value
            elif each.kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            else:
                kwargs[each.name] = value
        return tuple(args), kwargs

    def encode_result(self, value: object) -> bytes:
        """The stored result; raises `TypeError` unless it is of the declared type."""
        try:
            stored = _encode(value)
            self._result.decode(stored)
        except (TypeError, ValueError, msgspec.MsgspecError, OverflowError) as error:
            returned = self._signature.return_annotation
            raise TypeError(
                f"the task {self._name} declares to return {returned!r}, and returned {_short(value)}: {error}"
            ) from None
        return stored

    def decode_result(self, stored: bytes) -> Any:
        """What the function returned."""
        return self._result.decode(stored)


def _field(index: int, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    kind: Any = hints.get(parameter.name, Any)
    name = f"p{index}"
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return (name, list.__class_getitem__(kind), msgspec.field(default_factory=list))
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return (name, dict.__class_getitem__((str, kind)), msgspec.field(default_factory=dict))
    if parameter.default is inspect.Parameter.empty:
        # After one with a default there may be keyword-only ones without; a missing one is found by `bind`.
        return (name, kind) if parameter.kind in _POSITIONAL else (name, kind, None)
    default = parameter.default
    return (name, kind, msgspec.field(default_factory=lambda: default))


def _advice(kwargs: Mapping[str, Any]) -> str:
    """Where options go that were given to something that takes only arguments."""
    names = [name for name in OPTIONS if name in kwargs]
    return f"; options go into queue.options({names[0]}=...)" if names else ""


def _shown(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    parts = [_short(value) for value in args] + [f"{name}={_short(value)}" for name, value in kwargs.items()]
    return f"({', '.join(parts)})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
