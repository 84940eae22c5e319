"""From a row to a state: opened, brought up to date, and refused where it cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..._kernel._errors import UsageError
from ..._supervision._options import whole
from .._failures import Corrupted, NoUpcaster, SchemaTooNew, UpcasterFailed
from ._codec import Codec, codec_of
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
        UpcasterFailed: what leads from one to the next has failed, or what came of it does not fit.
        Corrupted: it is not what it says it is.
    """
    if version > now:
        detail = f"its {what} is of version {version}, and this program knows versions up to {now}"
        raise SchemaTooNew(str(who), f"{detail}; start the newer program")
    try:
        if version == now:
            return (codec if stored_codec == codec.name else codec_of(codec.type, stored_codec)).decode(blob)
        stored = codec_of(codec.type, stored_codec)
        plain = stored.plain(blob) if stored.plain is not None else stored.decode(blob)
    except _UNFIT as error:
        raise Corrupted(str(who), f"its {what} of version {version} does not fit: {error}") from error
    lifted = _lifted(who, what, plain, version, now, up)
    try:
        return codec.convert(lifted)
    except _UNFIT as error:
        found = f"what upcasters have made of its {what} of version {version} does not fit: {error}"
        raise UpcasterFailed(str(who), found) from error


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
