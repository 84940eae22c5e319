"""From a row to a state: opened, brought up to date, and refused where it cannot be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from ..._kernel._errors import UsageError
from ..._supervision._options import whole
from .._failures import NoUpcaster, SchemaTooNew, UpcasterFailed
from ._codec import Codec, codec_of, type_name
from ._identity import Identity

__all__ = ["Upcasters", "check_versions", "decoded"]

_UNFIT = (msgspec.MsgspecError, ValueError, TypeError, KeyError)

#: By the version that they take: plain values of that version in, plain values of the next one out.
Upcasters = Mapping[int, Callable[[Any], Any]]


def check_versions(what: str, version: int, upcasters: Upcasters) -> None:
    """Refuse versions that could not be meant, while somebody is there to be told.

    Args:
        what: whose, for the error.
    """
    whole(f"the version of {what}", version, 1)
    wrong = [each for each in upcasters if type(each) is not int or not 1 <= each < version]
    if wrong:
        raise UsageError(
            f"upcasters of {what} are known by the version that they take, 1 to {version - 1} where the version is "
            f"{version}, got {wrong[0]!r}; raise the version with the last of them"
        )


def decoded(
    who: Identity,
    what: str,
    codec: Codec,
    stored_codec: str,
    blob: bytes,
    version: int,
    now: int,
    up: Upcasters,
    *,
    written_back: bool = False,
) -> Any:
    """A value of the codec's type from what an equal or older version of it has written.

    Args:
        what: "state" or the event's type, for errors.
        stored_codec: the name of the codec that wrote it.
        version: the version that wrote it.
        now: the version of the program.
        written_back: the value will be stored in its place, so a field that the type does not have would be lost.

    Raises:
        SchemaTooNew: a newer program has written it.
        NoUpcaster: nothing leads from its version to the next, or its type has changed without one.
        UpcasterFailed: what leads from one to the next has failed, or what came of it does not fit.
        Corrupted: it is not what it says it is.
    """
    if version > now:
        detail = f"its {what} is of version {version}, and this program knows versions up to {now}"
        raise SchemaTooNew(str(who), f"{detail}; start the newer program")
    try:
        stored = codec if stored_codec == codec.name else codec_of(codec.type, stored_codec)
        if version == now:
            value = stored.decode(blob)
            if written_back:
                _check_kept(who, what, stored, blob, value, now)
            return value
        plain = stored.plain(blob) if stored.plain is not None else stored.decode(blob)
    except _UNFIT as error:
        # These bytes are what somebody has written: that was seen when they were opened.
        found = f"its {what} of version {version} does not fit {type_name(codec.type)}: {error}"
        raise NoUpcaster(str(who), f"{found}; {_raise_it(now, version)}") from error
    lifted = _lifted(who, what, plain, version, now, up)
    try:
        return codec.convert(lifted)
    except _UNFIT as error:
        found = f"what upcasters have made of its {what} of version {version} does not fit: {error}"
        raise UpcasterFailed(str(who), found) from error


def _raise_it(now: int, version: int) -> str:
    return f"if the type has changed, raise its version to {now + 1} and add `{version}: a_function` to upcasters"


def _check_kept(who: Identity, what: str, codec: Codec, blob: bytes, value: Any, version: int) -> None:
    """Refuse a value in which something is missing of what is stored."""
    if codec.plain is None or codec.encode(value) == blob:
        return
    unknown = _unknown(codec.plain(blob), value)
    if unknown is not None:
        raise NoUpcaster(
            str(who),
            f"its {what} of version {version} has {unknown}, which {type_name(codec.type)} does not have, and the "
            f"next turn would drop that; start the program that wrote it, or, {_raise_it(version, version)}",
        )


def _unknown(stored: Any, value: Any) -> str | None:
    """What is in the plain values and came to nothing in the value that was made of them; the first of it."""
    pairs: list[tuple[Any, Any]] = []
    plain: Any = stored
    if isinstance(stored, list):
        if isinstance(value, msgspec.Struct):  # one that is stored as an array
            plain = plain[int(value.__struct_config__.tag_field is not None) :]
            names = value.__struct_fields__
            if len(plain) > len(names):
                return f"{len(plain)} values for {type(value).__name__}"
            pairs = [(each, getattr(value, name)) for each, name in zip(plain, names, strict=False)]
        elif isinstance(value, list | tuple):
            pairs = list(zip(plain, cast("Sequence[Any]", value), strict=False))
    elif isinstance(stored, dict):
        fields = _fields(value)
        unknown = next((name for name in plain if fields is not None and name not in fields), None)
        if unknown is not None:
            return f"the field {unknown!r}"
        pairs = [] if fields is None else [(each, fields[name]) for name, each in plain.items()]
    return next((found for each in pairs if (found := _unknown(*each)) is not None), None)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """What is in a value by the names under which it is stored; None: it cannot be told."""
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        fields = {stored: getattr(value, name) for stored, name in names}
        tag = value.__struct_config__.tag_field
        return fields if tag is None else {**fields, tag: None}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    # Keys of other types than strings may be stored as strings.
    keys: Any = value
    return keys if isinstance(value, dict) and all(isinstance(each, str) for each in keys) else None


def _lifted(who: Identity, what: str, plain: Any, version: int, now: int, up: Upcasters) -> Any:
    for step in range(version, now):
        lift = up.get(step)
        if lift is None:
            raise NoUpcaster(
                str(who),
                f"its {what} is of version {version}, this program's is {now}, and nothing leads from {step} to "
                f"{step + 1}; add `{step}: a_function` to upcasters",
            )
        try:
            plain = lift(plain)
        except Exception as error:
            found = f"upcaster {step} has failed on its {what} of version {version} with {error!r}"
            raise UpcasterFailed(str(who), found) from error
    return plain
