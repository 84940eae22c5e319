"""What is written around stored bytes, so that a damaged or exchanged row is noticed.

Each blob is bound to what it is and where it belongs: kind, system, type, key and number. A row that is copied over
another, or an older one that is put back beneath a running actor, does not open.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Protocol

from .._failures import Corrupted, WrongKey
from ._identity import Identity

__all__ = [
    "BY_DATA_KEY",
    "CHECKSUM",
    "ENCRYPTED",
    "FORWARD",
    "SEALED",
    "Checksum",
    "Sealer",
    "is_sealed",
    "key_in",
    "open_text",
    "seal_text",
    "sealed_bytes",
]

# The first byte of what is stored says how the rest is sealed: by a checksum only, by a key of the ring, by the data
# key of its actor. 0 and 1 were before codec and version were bound.
PLAIN, ENCRYPTED, SEALED = b"\3", b"\4", b"\5"
#: The `key_id` of what is sealed with its actor's data key; a key of a ring has no such id.
BY_DATA_KEY = ""
# In front of what is filed in the place of a reply, where that was forwarded.
FORWARD = b"\2"
_EARLY = (b"\0", b"\1")
_SIZE = 8
_TEXT = "sealed:"


class Sealer(Protocol):
    """Binds bytes to their place, and takes them out again."""

    def seal(self, who: Identity, what: str, number: Any, blob: bytes) -> tuple[bytes, str | None]:
        """The bytes to store, and the id of the key that they are sealed with, if there is one.

        Args:
            what: "state", "event", "reply", "forward", "message", "journal", "report".
            number: tells apart what has the same identity: the revision, the sequence number, the request's id.
        """
        ...

    def open(self, who: Identity, what: str, number: Any, blob: bytes) -> bytes:
        """The bytes again.

        Raises:
            Corrupted, WrongKey: they are not what was stored there.
        """
        ...


class Checksum:
    """Eight bytes of BLAKE2b in front: for accidents, not for enemies."""

    def seal(self, who: Identity, what: str, number: Any, blob: bytes) -> tuple[bytes, str | None]:
        """See `Sealer.seal`."""
        return PLAIN + _digest(who, what, number, blob) + blob, None

    def open(self, who: Identity, what: str, number: Any, blob: bytes) -> bytes:
        """See `Sealer.open`."""
        if blob[:1] in (ENCRYPTED, SEALED):
            raise WrongKey(str(who), f"its {what} is encrypted and this program has no keys; pass keys=")
        check_format(who, what, blob)
        content = blob[1 + _SIZE :]
        if len(blob) <= _SIZE or PLAIN + _digest(who, what, number, content) != blob[: 1 + _SIZE]:
            raise Corrupted(str(who), f"its {what} {number} does not match its checksum")
        return content


def check_format(who: Identity, what: str, blob: bytes) -> None:
    """Raise `Corrupted` for what was written before there was a release."""
    if blob[:1] in _EARLY:
        raise Corrupted(
            str(who),
            f"its {what} has the format {blob[0]}, from before it was bound to its codec and version; "
            f"this program reads the formats {PLAIN[0]} to {SEALED[0]} only, so begin a new store",
        )


def is_sealed(stored: bytes) -> bool:
    """Whether stored bytes, or what is filed in the place of a reply, are sealed with their actor's data key."""
    return (stored[1:2] if stored[:1] == FORWARD else stored[:1]) == SEALED


def key_in(blob: bytes) -> str | None:
    """The id of the key that stored bytes say they are sealed with; None where they are not encrypted."""
    if blob[:1] == SEALED:
        return BY_DATA_KEY
    if blob[:1] != ENCRYPTED or len(blob) < 2:
        return None
    return blob[2 : 2 + blob[1]].decode("utf-8", "replace")


def seal_text(sealer: Sealer, who: Identity, what: str, number: str, text: str) -> str:
    """Text as it is stored: as it is where there are no keys, else sealed, in base64 with a mark in front."""
    sealed, key_id = sealer.seal(who, what, number, text.encode("utf-8", "replace"))
    return text if key_id is None else _TEXT + base64.b64encode(sealed).decode()


def open_text(sealer: Sealer, who: Identity, what: str, number: str, stored: str) -> str:
    """Text again; what has no mark is from before encryption.

    Raises:
        Corrupted, WrongKey: it is not what was stored there.
    """
    blob = sealed_bytes(who, what, stored)
    return stored if blob is None else sealer.open(who, what, number, blob).decode()


def sealed_bytes(who: Identity, what: str, stored: str) -> bytes | None:
    """The sealed bytes in stored text; None where it is not sealed."""
    if not stored.startswith(_TEXT):
        return None
    try:
        return base64.b64decode(stored[len(_TEXT) :], validate=True)
    except ValueError:
        raise Corrupted(str(who), f"its {what} is damaged") from None


def _digest(who: Identity, what: str, number: Any, blob: bytes) -> bytes:
    place = f"{what}\0{who.system}\0{who.type}\0{who.key}\0{number}".encode()
    # Its length first, so that no other place and content make the same bytes.
    return hashlib.blake2b(b"%d:%b%b" % (len(place), place, blob), digest_size=_SIZE).digest()


CHECKSUM = Checksum()
