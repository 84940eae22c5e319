"""`KeyRing`: stored bytes are encrypted, and bound to the row they belong to.

AES-GCM with a random nonce of 96 bits. What is encrypted is bound, as associated data, to what it is, to its
system, type and key, and to its number; a row that is copied over another, or changed in one bit, does not open.
The id of the key is in the envelope, so that a ring can hold older keys while rows are sealed anew.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..._kernel._errors import UsageError
from .._failures import Corrupted, ExtraNeeded, WrongKey
from ._identity import Identity
from ._seal import CHECKSUM, ENCRYPTED, SEALED

__all__ = ["DATA_KEY_PLACE", "KEY", "NONCE", "TAG", "KeyRing", "decrypted", "place"]

KEY, NONCE, TAG, _MOST_ID = 32, 12, 16, 64
_MOST_CIPHERS = 4_096
#: What a data key is bound to besides its actor.
DATA_KEY_PLACE = "data key", "in kb_data_key"


class KeyRing:
    """Keys by id, and which of them seals what is written from now on: `kb.KeyRing({"2026": key}, current="2026")`.

    Args:
        keys: 32 bytes each, such as `os.urandom(32)`; ids are strings of up to 64 characters.
        current: the id of the key that new rows are sealed with.
        allow_plain: rows from before encryption are read (default True), and sealed when they are next written.

    Raises:
        UsageError: a key is not 32 bytes, or `current` is none of them.
        ExtraNeeded: `cryptography` is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes], *, current: str, allow_plain: bool = True) -> None:
        for id, key in keys.items():
            _check(id, key)
        if current not in keys:
            known = ", ".join(map(repr, keys)) or "none"
            raise UsageError(f"current is the id of one of the keys, got {current!r}; the ids are: {known}")
        cipher = _cipher()
        self._ciphers: dict[str, Any] = {id: cipher(bytes(key)) for id, key in keys.items()}
        #: What encrypts with a data key. One takes 2.5 KB, so there is not one for each actor that is awake.
        self.cipher: Callable[[bytes], Any] = functools.lru_cache(_MOST_CIPHERS)(cipher)
        self._current = current
        self._seals = self._ciphers[current]
        self._header = ENCRYPTED + bytes([len(current.encode())]) + current.encode()
        self._allow_plain = allow_plain

    @property
    def current(self) -> str:
        """The id of the key that seals what is written from now on."""
        return self._current

    def seal(self, who: Identity, what: str, number: Any, blob: bytes) -> tuple[bytes, str | None]:
        """See `Sealer.seal`."""
        nonce = os.urandom(NONCE)
        sealed: bytes = self._seals.encrypt(nonce, blob, place(who, what, number))
        return self._header + nonce + sealed, self._current

    def open(self, who: Identity, what: str, number: Any, blob: bytes) -> bytes:
        """See `Sealer.open`."""
        if blob[:1] == SEALED:
            raise Corrupted(
                str(who), f"its {what} {number} is sealed with a data key, so it is of another row"
            )
        if blob[:1] != ENCRYPTED:
            if (what, number) == DATA_KEY_PLACE:
                raise Corrupted(str(who), f"its {what} {number} is not encrypted")
            if not self._allow_plain:
                raise WrongKey(str(who), f"its {what} is not encrypted, and allow_plain is False")
            return CHECKSUM.open(who, what, number, blob)
        end = 2 + (blob[1] if len(blob) > 1 else 0)
        if len(blob) < max(end, 3) + NONCE + TAG:
            raise Corrupted(str(who), f"its {what} {number} is cut off after {len(blob)} bytes")
        id = blob[2:end].decode("utf-8", "replace")
        cipher = self._ciphers.get(id)
        if cipher is None:
            known = ", ".join(map(repr, self._ciphers))
            raise WrongKey(
                str(who),
                f"its {what} is encrypted with the key {id!r}, which the key ring does not have (it has {known}); "
                "add that key to keys=",
            )
        which = f"the key {id!r}: it is damaged, of another row, or that is another key of the same id"
        return decrypted(cipher, end, who, what, number, blob, which)

    def wrapped(self, who: Identity, key: bytes) -> tuple[str, bytes]:
        """The data key of an actor as it is stored: the id of the key that seals it, and it sealed."""
        sealed, _ = self.seal(who, *DATA_KEY_PLACE, key)
        return self._current, sealed

    def unwrapped(self, who: Identity, stored: bytes) -> bytes:
        """A data key again.

        Raises:
            Corrupted, WrongKey: it is not what was stored for this actor.
        """
        return self.open(who, *DATA_KEY_PLACE, stored)

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self._ciphers)}; current {self._current}>"


def _check(id: Any, key: Any) -> None:
    if not isinstance(id, str) or not 0 < len(id.encode()) <= _MOST_ID:
        raise UsageError(f"the id of a key is a string of 1 to {_MOST_ID} bytes, got {id!r}")
    if not isinstance(key, bytes | bytearray):
        raise UsageError(f"the key {id!r} takes {KEY} bytes, got a {type(key).__name__}")
    if len(key) != KEY:
        raise UsageError(f"the key {id!r} takes {KEY} bytes, got {len(key)}; make one with os.urandom({KEY})")


def _cipher() -> Any:
    try:
        return importlib.import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM
    except ImportError:
        raise ExtraNeeded(
            "keys", "cryptography is not installed", 'install it: pip install "koboshi[crypto]"'
        ) from None


def decrypted(cipher: Any, end: int, who: Identity, what: str, number: Any, blob: bytes, which: str) -> bytes:
    """What a cipher makes of stored bytes, behind their header of `end` bytes; `which` says whose it is, for errors.

    Raises:
        Corrupted: they are not of this place, or not of this cipher.
    """
    try:
        opened: bytes = cipher.decrypt(blob[end : end + NONCE], blob[end + NONCE :], place(who, what, number))
    except Exception:  # InvalidTag says nothing, by design, and short input is a ValueError
        raise Corrupted(str(who), f"its {what} {number} does not open with {which}") from None
    return opened


def place(who: Identity, what: str, number: Any) -> bytes:
    """What is bound: each part with its length, so that no other parts make the same bytes."""
    parts = (what, *who, str(number))
    return b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
