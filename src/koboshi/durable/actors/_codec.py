"""Values as bytes: declared types only, never pickle."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from ..._kernel._errors import UsageError
from .._failures import PayloadTooLarge

__all__ = [
    "CODECS",
    "LIMIT",
    "UNSTORABLE",
    "Arguments",
    "Codec",
    "arguments_of",
    "codec_of",
    "reply_codec",
    "unstorable",
]

#: The largest state, event, message or reply, in bytes.
LIMIT = 16 * 1024 * 1024
CODECS = ("msgpack", "json", "protobuf")

# One order for what has none of its own, such as sets.
_sorted = msgspec.msgpack.Encoder(order="deterministic").encode
_SCALARS = (int, float, str, bytes, bool)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


#: What encoders raise at a value that cannot be stored: an object of no known type, or an integer beyond 64 bits.
UNSTORABLE = (TypeError, OverflowError, msgspec.MsgspecError)


def unstorable(what: str, error: Exception) -> UsageError:
    """The error of a value that an encoder has refused."""
    if isinstance(error, UsageError):  # it says all of that itself
        return error
    return UsageError(f"{what} cannot be stored: {error}; nothing was recorded")


class Codec:
    """One type, both ways. `upgrade` reads what an older version of the type wrote, as plain values."""

    __slots__ = ("decode", "encode", "name", "plain", "type")

    def __init__(self, type: Any, name: str) -> None:
        self.type = type
        self.name = name
        self.encode: Callable[[Any], bytes]
        self.decode: Callable[[bytes], Any]
        self.plain: Callable[[bytes], Any] | None
        if name == "protobuf":
            self.encode, self.decode = _protobuf(type)
            self.plain = None
        elif name == "json":
            self.encode = msgspec.json.Encoder().encode
            self.decode = msgspec.json.Decoder(type).decode
            self.plain = msgspec.json.decode
        else:
            self.encode = msgspec.msgpack.Encoder().encode
            self.decode = msgspec.msgpack.Decoder(type).decode
            self.plain = msgspec.msgpack.decode

    def storable(self, what: str, who: object, blob: bytes) -> bytes:
        """What `encode` gave, when it may be stored: it is small enough, and `decode` will take it.

        Encoding does not look at declared types, so a field of a wrong type would be found by the next program that
        reads it, when nothing can be done about it any more. Protobuf messages check fields when these are set.

        Args:
            what, who: for errors: "the state", and whose.

        Raises:
            PayloadTooLarge: it is too large.
            UsageError: it is not of the declared type.
        """
        if len(blob) > LIMIT:
            within_limit(f"{what} of {who}", blob)
        if self.name != "protobuf":
            try:
                self.decode(blob)
            except msgspec.MsgspecError as error:
                raise UsageError(
                    f"{what} of {who} does not fit {type_name(self.type)}: {error}; nothing was recorded"
                ) from None
        return blob

    def digest(self, value: Any) -> bytes:
        """What is the same for equal values, whatever order their parts have; empty where those have none."""
        try:
            return _digest(self.encode(value) if self.plain is None else _sorted(value))
        except UNSTORABLE:  # keys of several types, say
            return b""

    def convert(self, plain: Any) -> Any:
        """A value of the type from plain values, as an upcaster gives them."""
        return msgspec.convert(plain, self.type)


def _protobuf(type: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Both ways of a Protobuf message class."""

    def encode(value: Any) -> bytes:
        if not isinstance(value, type):
            raise UsageError(
                f"a message {type_name(type)} is to be stored, got {value!r}; nothing was recorded"
            )
        # These bytes are compared with those of the turn before, and a map has no order of its own.
        blob: bytes = value.SerializeToString(deterministic=True)
        return blob

    def decode(blob: bytes) -> Any:
        try:
            return type.FromString(blob)
        except Exception as error:  # its own error is of a package that need not be installed
            raise msgspec.DecodeError(str(error)) from error

    return encode, decode


def type_name(type: Any) -> str:
    """A declared type as it is written in a program."""
    return type.__qualname__ if inspect.isclass(type) else str(type)


@functools.lru_cache(maxsize=1024)
def codec_of(type: Any, name: str | None = None) -> Codec:
    """The codec of a type: Protobuf messages have their own, everything else is msgpack unless "json".

    Raises:
        UsageError: the type cannot be stored.
    """
    if name is None:
        name = "protobuf" if hasattr(type, "SerializeToString") else "msgpack"
    if name not in CODECS:
        raise UsageError(f"codec is one of {', '.join(map(repr, CODECS))}, got {name!r}")
    if name == "protobuf" and not hasattr(type, "SerializeToString"):
        raise UsageError(f'codec "protobuf" takes a Protobuf message class, got {type!r}')
    try:
        return Codec(type, name)
    except TypeError as error:
        raise UsageError(
            f"{type!r} cannot be stored ({error}); use a msgspec.Struct, a dataclass, or plain values with "
            "declared types"
        ) from None


def within_limit(what: str, blob: bytes) -> bytes:
    """The bytes, unless they are too many.

    Raises:
        PayloadTooLarge: they are.
    """
    if len(blob) > LIMIT:
        raise PayloadTooLarge(what, len(blob), LIMIT)
    return blob


class Arguments:
    """The arguments of one message, both ways."""

    __slots__ = ("_counts", "_hints", "_name", "_names", "_scalars", "_signature")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._name = fn.__qualname__
        self._signature = inspect.signature(fn)
        self._hints = _hints(fn)
        parameters = list(self._signature.parameters.values())[1:]
        # Where all are plain ones: how many may come by position, which costs no binding. Else none.
        self._names = [each.name for each in parameters]
        plain = all(each.kind in _POSITIONAL for each in parameters)
        least = sum(each.default is each.empty for each in parameters)
        # The types of those that are surely as declared when all are of these very types.
        hints = tuple(self._hints.get(each) for each in self._names)
        self._scalars = hints if plain and all(each in _SCALARS for each in hints) else None
        self._counts = range(least, len(parameters) + 1) if plain else range(0)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The arguments as bytes, which `decode` will take.

        Raises:
            UsageError: they do not fit the message, or cannot be stored.
        """
        try:
            if kwargs or len(args) not in self._counts:
                self._signature.bind(None, *args, **kwargs)
            blob = msgspec.msgpack.encode((args, kwargs))
        except UNSTORABLE as error:
            raise UsageError(f"{self._name} was sent arguments that cannot be stored: {error}") from None
        within_limit(f"a message {self._name}", blob)
        try:
            self.decode(blob)
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            shown = str(self._signature).replace("(self, ", "(")
            raise UsageError(f"{self._name}{shown} was sent arguments that do not fit: {error}") from None
        return blob

    def decode(self, blob: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The arguments again, each of its declared type.

        Raises:
            TypeError, ValueError, msgspec.MsgspecError: they do not fit the message.
        """
        args, kwargs = msgspec.msgpack.decode(blob)
        if not kwargs and len(args) in self._counts:
            return [self._typed(name, value) for name, value in zip(self._names, args, strict=False)], {}
        bound = self._signature.bind(None, *args, **kwargs)
        for name, value in list(bound.arguments.items())[1:]:
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(self._typed(name, each) for each in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {each: self._typed(name, what) for each, what in value.items()}
            else:
                bound.arguments[name] = self._typed(name, value)
        return list(bound.args[1:]), dict(bound.kwargs)

    def digest(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, typed: bool) -> bytes:
        """What is the same for the same arguments, whoever sends them how; empty where they cannot be encoded.

        Args:
            typed: they are of their declared types already. Those of a call need not be: 5 where a float is declared.
        """
        try:
            if not typed:
                args, kwargs = self._as_declared(args, kwargs)
            if kwargs or len(args) not in self._counts:
                bound = self._signature.bind(None, *args, **kwargs)
                args, kwargs = bound.args[1:], bound.kwargs
            blob = _sorted((args, kwargs))
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
            return b""
        return _digest(blob)

    def _as_declared(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not kwargs and tuple(map(type, args)) == self._scalars:
            return args, kwargs
        blob = msgspec.msgpack.encode((args, kwargs))
        try:
            values, named = self.decode(blob)
        except (TypeError, ValueError, msgspec.MsgspecError):
            return args, kwargs  # a call's may be of any type
        return tuple(values), named

    def _typed(self, name: str, plain: Any) -> Any:
        hint = self._hints.get(name, Any)
        if hint is Any:
            return plain
        try:
            return msgspec.convert(plain, hint)
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(f"{name}: {error}") from None


def _digest(blob: bytes) -> bytes:
    return hashlib.blake2b(blob, digest_size=16).digest()


@functools.lru_cache(maxsize=4096)
def arguments_of(fn: Callable[..., Any]) -> Arguments:
    """How the arguments of a message are stored."""
    return Arguments(fn)


@functools.lru_cache(maxsize=4096)
def reply_codec(fn: Callable[..., Any]) -> Codec:
    """How the reply of a message is stored, from what it says to return."""
    hint: Any = _hints(fn).get("return", Any)
    return codec_of(None if hint is type(None) else hint)


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """The annotations; those that name what exists for type checkers only are left out."""
    try:
        return typing.get_type_hints(fn)
    except Exception:
        return {
            name: hint
            for name, hint in getattr(fn, "__annotations__", {}).items()
            if not isinstance(hint, str)
        }


def is_plain_class(type: Any) -> bool:
    """Whether a value of this type can be made without arguments."""
    if dataclasses.is_dataclass(type):
        return all(
            each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
            for each in dataclasses.fields(type)
        )
    return True
