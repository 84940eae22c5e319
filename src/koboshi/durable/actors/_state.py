"""From a row to a state: opened, brought up to date, and refused where it cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .._failures import Corrupted, NoUpcaster, SchemaTooNew
from ._codec import Codec, codec_of
from ._identity import Identity

__all__ = ["Upcasters", "decoded"]

#: By the version that they take: plain values of that version in, plain values of the next one out.
Upcasters = Mapping[int, Callable[[Any], Any]]


def decoded(
    who: Identity,
    what: str,
    codec: Codec,
    stored_codec: str,
    blob: bytes,
    version: int,
    now: int,
    up: Upcasters,
) -> Any:
    """A value of the codec's type from what an equal or older version of it has written.

    Args:
        what: "state" or the event's type, for errors.
        stored_codec: the name of the codec that wrote it.
        version: the version that wrote it.
        now: the version of the program.

    Raises:
        SchemaTooNew: a newer program has written it.
        NoUpcaster: nothing leads from its version to the next.
        Corrupted: it is not what it says it is.
    """
    if version > now:
        detail = f"its {what} is of version {version}, and this program knows versions up to {now}"
        raise SchemaTooNew(str(who), f"{detail}; start the newer program")
    try:
        if version == now:
            return (codec if stored_codec == codec.name else codec_of(codec.type, stored_codec)).decode(blob)
        return codec.convert(_lifted(who, what, codec_of(codec.type, stored_codec), blob, version, now, up))
    except (NoUpcaster, msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, NoUpcaster):
            raise
        raise Corrupted(str(who), f"its {what} of version {version} does not fit: {error}") from error


def _lifted(
    who: Identity, what: str, codec: Codec, blob: bytes, version: int, now: int, up: Upcasters
) -> Any:
    plain = codec.plain(blob) if codec.plain is not None else codec.decode(blob)
    for step in range(version, now):
        lift = up.get(step)
        if lift is None:
            raise NoUpcaster(
                str(who),
                f"its {what} is of version {version}, this program's is {now}, and nothing leads from {step} to "
                f"{step + 1}; add `{step}: a_function` to upcasters",
            )
        plain = lift(plain)
    return plain
