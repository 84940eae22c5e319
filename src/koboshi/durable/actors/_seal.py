"""What is written around stored bytes, so that a damaged or exchanged row is noticed.

Each blob is bound to what it is and where it belongs: kind, system, type, key and number. A row that is copied over
another, or an older one that is put back beneath a running actor, does not open.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from .._failures import Corrupted, WrongKey
from ._identity import Identity

__all__ = ["CHECKSUM", "Checksum", "Sealer"]

# The first byte of what is stored says how the rest is sealed.
PLAIN, ENCRYPTED = b"\0", b"\1"
_SIZE = 8


class Sealer(Protocol):
    """Binds bytes to their place, and takes them out again."""

    def seal(self, who: Identity, what: str, number: Any, blob: bytes) -> tuple[bytes, str | None]:
        """The bytes to store, and the id of the key that they are sealed with, if there is one.

        Args:
            what: "state", "event", "reply", "message".
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
        if blob[:1] == ENCRYPTED:
            raise WrongKey(str(who), f"its {what} is encrypted and this program has no keys; pass keys=")
        content = blob[1 + _SIZE :]
        if len(blob) <= _SIZE or PLAIN + _digest(who, what, number, content) != blob[: 1 + _SIZE]:
            raise Corrupted(str(who), f"its {what} {number} does not match its checksum")
        return content


def _digest(who: Identity, what: str, number: Any, blob: bytes) -> bytes:
    place = f"{what}\0{who.system}\0{who.type}\0{who.key}\0{number}".encode()
    # Its length first, so that no other place and content make the same bytes.
    return hashlib.blake2b(b"%d:%b%b" % (len(place), place, blob), digest_size=_SIZE).digest()


CHECKSUM = Checksum()
