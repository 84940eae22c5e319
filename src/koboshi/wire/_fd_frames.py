"""Frames with descriptors: the same frames, whose header also says how many descriptors belong to one.

They travel as SCM_RIGHTS data with the first byte of their frame, each such frame in a `sendmsg` of
its own; the kernel hands out the descriptors of one `sendmsg` with its first byte and never glues two
of them. So the descriptors arrive in the order of the frames, never later than their frame's end, and
reader and frames need no other agreement.
"""

from __future__ import annotations

import array
import errno
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ._errors import FrameBroken, FrameTooLarge
from ._frames import DEFAULT_FRAME_LIMIT, FrameReader
from ._segments import Descriptor

__all__ = ["MAX_DESCRIPTORS", "DescriptorFrameReader", "Frame", "FrameSender", "pack_fd_frame"]

MAX_DESCRIPTORS = 253
"""Descriptors that one frame may take; the kernel's own limit."""

_HEADER = struct.Struct("<Q")
# The length takes the lower 48 bits of the header, the number of descriptors the upper 16. A frame
# without descriptors is therefore what `pack_frame` makes, and a plain FrameReader refuses others.
COUNT_SHIFT = 48
_SIZE_MASK = (1 << COUNT_SHIFT) - 1
CONTROL = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)


class Frame(NamedTuple):
    """A payload, and the descriptors that came with it: None where the kernel could not deliver one."""

    payload: memoryview
    descriptors: Sequence[Descriptor | None]


def pack_fd_frame(
    payload: bytes, count: int, limit: int = DEFAULT_FRAME_LIMIT, *, what: str = "a message"
) -> bytes:
    """Return `payload` as one frame that takes `count` descriptors; raises FrameTooLarge."""
    size = len(payload)
    if size > limit:
        raise FrameTooLarge(what, size, limit)
    if count > MAX_DESCRIPTORS:
        raise ValueError(f"a frame takes at most {MAX_DESCRIPTORS} descriptors, got {count}")
    return _HEADER.pack(size | count << COUNT_SHIFT) + payload


class FrameSender:
    """What is to be sent on a stream socket, blocking or not; keeps what it would not take yet.

    The descriptors of a frame are held until its first byte has gone, and given exactly once.
    """

    __slots__ = ("_queue", "_sock", "pending")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._queue: deque[tuple[memoryview, Sequence[Descriptor]]] = deque()
        #: Bytes that wait.
        self.pending = 0

    def __repr__(self) -> str:
        return f"<FrameSender pending={self.pending}>"

    def put(self, frame: bytes | memoryview, descriptors: Sequence[Descriptor] = ()) -> None:
        """Add a frame behind those that wait; `flush` sends."""
        self._queue.append((memoryview(frame), descriptors))
        self.pending += len(frame)

    def flush(self) -> bool:
        """Send as much as the socket takes; True when nothing waits any more.

        Raises:
            OSError: the peer is gone; or ETOOMANYREFS, when so many descriptors of this user are on
                their way that the kernel takes no more before some arrive: flush again a little later.
        """
        queue = self._queue
        while queue:
            data, descriptors = queue[0]
            try:
                count = self._send(data, descriptors)
            except (BlockingIOError, InterruptedError):
                return False
            self.pending -= count
            if count == len(data):
                queue.popleft()
            else:
                queue[0] = (data[count:], ())
        return True

    def clear(self) -> None:
        """Drop what waits, and let go of its descriptors."""
        self._queue.clear()
        self.pending = 0

    def _send(self, data: memoryview, descriptors: Sequence[Descriptor]) -> int:
        if not descriptors:
            return self._sock.send(data)
        fds = array.array("i", [descriptor.fd for descriptor in descriptors])
        return self._sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])


def too_many_in_flight(error: OSError) -> bool:
    """Whether sending again a little later may work."""
    return error.errno == errno.ETOOMANYREFS


class DescriptorFrameReader(FrameReader):
    """Cuts a byte stream into frames and gives each its descriptors."""

    __slots__ = ("_arrived", "_count")

    def __init__(self, limit: int = DEFAULT_FRAME_LIMIT) -> None:
        super().__init__(limit)
        # Descriptors without their frame yet; None says that the kernel dropped the rest of that frame's.
        self._arrived: deque[Descriptor | None] = deque()
        # How many the unfinished body takes.
        self._count = 0

    def receive(self, sock: socket.socket, size: int) -> list[Frame] | None:
        """Read up to `size` bytes once; return the frames that they complete, None at the end of the stream.

        Raises:
            FrameTooLarge: the peer announces more than the limit.
            FrameBroken: a frame wants descriptors that did not come.
            OSError: what the socket raised.
        """
        data, control, flags, _ = sock.recvmsg(size, CONTROL, socket.MSG_CMSG_CLOEXEC)
        if control or flags & socket.MSG_CTRUNC:
            self.take(control, lost=bool(flags & socket.MSG_CTRUNC))
        if not data:
            return None
        return self.feed_frames(data)

    def take(self, control: list[tuple[int, int, bytes]], *, lost: bool) -> None:
        """Keep descriptors that came with what is fed next; `lost` when the kernel could not deliver all."""
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self._arrived.extend(map(Descriptor, fds))
        if lost:
            self._arrived.append(None)

    def feed_frames(self, data: bytes) -> list[Frame]:
        """Like `feed`, with the descriptors that have arrived for each."""
        view = memoryview(data)
        frames: list[Frame] = []
        payloads: list[memoryview] = []
        if self._body is not None:
            view = self._fill(view, payloads)
        elif self._head:
            view = memoryview(self._head + data)
            self._head = b""
        while True:
            if payloads:
                frames.append(Frame(payloads.pop(), self._descriptors(self._count)))
            if len(view) < _HEADER.size:
                break
            (word,) = _HEADER.unpack_from(view)
            size = word & _SIZE_MASK
            if size > self.limit:
                raise FrameTooLarge("an incoming frame", size, self.limit)
            self._count = word >> COUNT_SHIFT
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
        return frames

    def drop(self) -> None:
        """Close the descriptors whose frame will not be completed."""
        self._arrived.clear()

    def _descriptors(self, count: int) -> Sequence[Descriptor | None]:
        if not count:
            return ()
        found: list[Descriptor | None] = []
        while len(found) < count:
            if not self._arrived:
                raise FrameBroken(f"a frame takes {count} descriptors, {len(found)} came")
            descriptor = self._arrived.popleft()
            if descriptor is None:
                found.extend([None] * (count - len(found)))
            else:
                found.append(descriptor)
        return found
