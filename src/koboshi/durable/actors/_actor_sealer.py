"""`ActorSealer`: what one actor stores is sealed with a key of its own, which is stored sealed by the key ring.

That key is random, the same for all that the actor ever stores, and kept in one row. Whoever deletes that row has
deleted the actor, in every copy of the other rows as well.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from .._failures import Corrupted, WrongKey
from ._key_ring import KEY, NONCE, TAG, decrypted, place
from ._seal import BY_DATA_KEY, SEALED

if TYPE_CHECKING:
    from ._identity import Identity
    from ._key_ring import KeyRing

__all__ = ["ActorSealer"]

_MARK = 4
_HEADER = 1 + _MARK


class ActorSealer:
    """Seals with the data key of one actor, and opens what that or the ring has sealed; see `Sealer`.

    Args:
        wrapped: the actor's data key as it is stored, if there is one.
        is_new: nothing of the actor is stored, so a key is made with the first thing that is sealed.
    """

    __slots__ = ("_header", "_is_new", "_key", "_ring", "_who", "_wrapped")

    def __init__(self, ring: KeyRing, who: Identity, wrapped: bytes | None, *, is_new: bool = False) -> None:
        self._ring = ring
        self._who = who
        self._wrapped = wrapped
        self._is_new = is_new
        # Empty until it is needed for the first time.
        self._key = b""
        self._header = b""

    def seal(self, who: Identity, what: str, number: Any, blob: bytes) -> tuple[bytes, str | None]:
        """See `Sealer.seal`."""
        cipher = self._ring.cipher(self._key or self.ready())
        nonce = os.urandom(NONCE)
        return self._header + nonce + cipher.encrypt(nonce, blob, place(who, what, number)), BY_DATA_KEY

    def open(self, who: Identity, what: str, number: Any, blob: bytes) -> bytes:
        """See `Sealer.open`."""
        if blob[:1] != SEALED:
            return self._ring.open(who, what, number, blob)
        cipher = self._ring.cipher(self._key or self.ready())
        if len(blob) < _HEADER + NONCE + TAG:
            raise Corrupted(str(who), f"its {what} {number} is cut off after {len(blob)} bytes")
        if blob[:_HEADER] != self._header:
            raise WrongKey(
                str(who),
                f"its {what} {number} is sealed with another data key than the one in kb_data_key: it was erased and "
                "made anew, or the tables are of different backups; restore all of them from one",
            )
        return decrypted(
            cipher, _HEADER, who, what, number, blob, "its data key: it is damaged or of another row"
        )

    def ready(self) -> bytes:
        """Have the data key at hand, and give it.

        Raises:
            WrongKey: there is none, or the ring does not have the key that it is sealed with.
            Corrupted: what is stored is no data key of this actor.
        """
        if self._wrapped is not None:
            key = self._ring.unwrapped(self._who, self._wrapped)
        elif self._is_new:
            key = os.urandom(KEY)
        else:
            raise WrongKey(
                str(self._who),
                "it is sealed with a data key of its own, and kb_data_key has none: it was erased, or that table was "
                "not restored with the others; restore its row there from the same backup",
            )
        self._header = SEALED + hashlib.blake2b(key, digest_size=_MARK, person=b"kb data key").digest()
        self._key = key
        return key

    def row(self) -> tuple[str, bytes] | None:
        """A new data key as it is to be stored, with the id of the ring's key; None where it is stored already."""
        if not self._is_new:
            return None
        return self._ring.wrapped(self._who, self._key or self.ready())
