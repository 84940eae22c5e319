"""Length-prefixed frames: an 8-byte little-endian length, then that many bytes.

Pure: bytes in, payloads out. Both sides check the limit before they commit to
anything: the sender before a byte is written, the reader before it allocates.
"""

from __future__ import annotations

import struct

from ._errors import FrameBroken, FrameTooLarge

__all__ = ["DEFAULT_FRAME_LIMIT", "FrameReader", "pack_frame"]

DEFAULT_FRAME_LIMIT = 64 * 1024 * 1024
"""Bytes of payload that one frame may carry unless told otherwise."""

_HEADER = struct.Struct("<Q")


def pack_frame(payload: bytes, limit: int = DEFAULT_FRAME_LIMIT, *, what: str = "a message") -> bytes:
    """Return `payload` as one frame; raises FrameTooLarge when it is over `limit` bytes."""
    size = len(payload)
    if size > limit:
        raise FrameTooLarge(what, size, limit)
    return _HEADER.pack(size) + payload


class FrameReader:
    """Cuts a byte stream into payloads."""

    __slots__ = ("_body", "_filled", "_head", "limit")

    def __init__(self, limit: int = DEFAULT_FRAME_LIMIT) -> None:
        self.limit = limit
        # At most one of these two holds the unfinished frame: _head while its
        # length is not known (< 8 bytes), _body once it is, sized exactly.
        self._head = b""
        self._body: bytearray | None = None
        self._filled = 0

    def __repr__(self) -> str:
        return f"<FrameReader limit={self.limit} pending={self.pending}>"

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame that have arrived."""
        return len(self._head) if self._body is None else _HEADER.size + self._filled

    def feed(self, data: bytes | memoryview) -> list[memoryview]:
        """Take what arrived; return the payloads that it completes, in order.

        Raises:
            FrameTooLarge: the peer announces more than the limit.
        """
        view = memoryview(data)
        payloads: list[memoryview] = []
        if self._body is not None:
            view = self._fill(view, payloads)
        elif self._head:
            view = memoryview(self._head + bytes(data))
            self._head = b""
        while len(view) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(view)
            if size > self.limit:
                raise FrameTooLarge("an incoming frame", size, self.limit)
            view = view[_HEADER.size :]
            if len(view) >= size:
                payloads.append(view[:size])
                view = view[size:]
            else:
                self._body = bytearray(size)
                self._filled = 0
                view = self._fill(view, payloads)
        if view:
            self._head = bytes(view)
        return payloads

    def close(self) -> None:
        """Say that the stream ended; raises FrameBroken if that was inside a frame."""
        if self.pending:
            raise FrameBroken(f"the stream ended {self.pending} bytes into an unfinished frame")

    def _fill(self, view: memoryview, payloads: list[memoryview]) -> memoryview:
        """Move bytes into the unfinished body; return what is left over."""
        body = self._body
        assert body is not None
        take = min(len(body) - self._filled, len(view))
        body[self._filled : self._filled + take] = view[:take]
        self._filled += take
        if self._filled == len(body):
            payloads.append(memoryview(body))
            self._body = None
            self._filled = 0
        return view[take:]
