"""What a queue keeps of its tasks beside their rows' keys and numbers: sealed where the queue has keys.

What is sealed has a mark in front that neither msgpack nor a report begins with, so that rows from before encryption
are told apart. Each is bound to its task's id and to what it is, the arguments to the function as well: none can be
put into another row, or in the place of another.
"""

from __future__ import annotations

import base64

from .._failures import Corrupted, WrongKey
from ..actors._identity import Identity
from ..actors._key_ring import KeyRing
from ..actors._seal import CHECKSUM, key_in

__all__ = ["Vault", "key_of"]

# The one byte that msgpack never uses.
_MARK = b"\xc1"
_TEXT_MARK = "sealed:"


class Vault:
    """Seals and opens for one queue.

    Args:
        keys: None: everything is stored as it is.
    """

    def __init__(self, queue: str, keys: KeyRing | None) -> None:
        self._queue = queue
        self._keys = keys

    @property
    def has_keys(self) -> bool:
        """Whether what is written is sealed."""
        return self._keys is not None

    def seal_arguments(self, id: str, function: str, payload: bytes) -> bytes:
        """The arguments of a task as they are stored."""
        return payload if self._keys is None else self._seal(id, "payload", function, payload)

    def open_arguments(self, id: str, function: str, stored: bytes) -> bytes:
        """The arguments again.

        Raises:
            Corrupted, WrongKey: they are not what was stored there.
        """
        return self._open(id, "payload", function, stored)

    def seal_result(self, id: str, result: bytes | None) -> bytes | None:
        """A result as it is stored."""
        if self._keys is None or result is None:
            return result
        return self._seal(id, "result", "", result)

    def open_result(self, id: str, stored: bytes | None) -> bytes | None:
        """A result again; raises what `open_arguments` does."""
        return None if stored is None else self._open(id, "result", "", stored)

    def seal_report(self, id: str, report: str | None) -> str | None:
        """A report as it is stored."""
        if self._keys is None or report is None:
            return report
        return _TEXT_MARK + base64.b64encode(self._seal(id, "report", "", report.encode())).decode()

    def open_report(self, id: str, stored: str | None) -> str | None:
        """A report again; raises what `open_arguments` does."""
        if stored is None:
            return None
        if stored.startswith(_TEXT_MARK):
            return self._open(id, "report", "", self._sealed_bytes(id, stored)).decode()
        return self._open(id, "report", "", stored.encode()).decode() if self._keys is not None else stored

    def _sealed_bytes(self, id: str, stored: str) -> bytes:
        try:
            blob = base64.b64decode(stored[len(_TEXT_MARK) :], validate=True)
        except ValueError:
            blob = b""
        if blob[:1] != _MARK:
            raise Corrupted(f"{self._queue}/{id}", "its report is damaged")
        return blob

    def is_current(self, stored: object) -> bool:
        """Whether a stored value says that it is sealed with the current key."""
        return self._keys is not None and key_of(stored) == self._keys.current

    def shown_report(self, id: str, stored: str | None) -> str | None:
        """A report for a list of tasks, or why it cannot be shown: one row must not spoil the others."""
        try:
            return self.open_report(id, stored)
        except Corrupted as error:
            return f"the report cannot be shown: {error}"

    def _seal(self, id: str, what: str, number: str, blob: bytes) -> bytes:
        assert self._keys is not None
        sealed, _ = self._keys.seal(self._identity(id), what, number, blob)
        return _MARK + sealed

    def _open(self, id: str, what: str, number: str, stored: bytes) -> bytes:
        keys = self._keys
        if not isinstance(stored, bytes):
            # SQLite takes anything into any column.
            raise Corrupted(f"{self._queue}/{id}", f"its {what} is of the type {type(stored).__name__}")
        if stored[:1] == _MARK:
            if keys is None:
                raise WrongKey(
                    f"{self._queue}/{id}", f"its {what} is encrypted and this queue has no keys; pass keys="
                )
            return keys.open(self._identity(id), what, number, stored[1:])
        if keys is None:
            return stored
        # From before encryption: whether that is still taken, the key ring says.
        who = self._identity(id)
        return keys.open(who, what, number, CHECKSUM.seal(who, what, number, stored)[0])

    def _identity(self, id: str) -> Identity:
        return Identity("tasks", self._queue, id)


def key_of(stored: object) -> str | None:
    """The id of the key that a stored value says it is sealed with; None where it is not encrypted."""
    # SQLite takes anything into any column.
    if isinstance(stored, str):
        try:
            stored = base64.b64decode(stored.removeprefix(_TEXT_MARK), validate=True)
        except ValueError:
            return None
    if not isinstance(stored, bytes) or stored[:1] != _MARK:
        return None
    return key_in(stored[1:])
