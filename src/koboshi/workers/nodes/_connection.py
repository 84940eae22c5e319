"""One socket pair between the root and a node: operations out, operations in, frames passed on.

A frame begins with who it is from and for, so the root passes on what two other nodes say to each
other without reading it. What is sent in one tick to one node leaves in one frame.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from ..._kernel._processors import processors
from ...wire import Descriptor, DescriptorFrameReader, WireError, pack_fd_frame
from ...wire._buffers import BufferedPickle, attach
from ...wire._fd_frames import CONTROL
from ...wire._fd_frames import COUNT_SHIFT as _COUNT_SHIFT
from ...wire._pickle import dumps, loads
from ..process._outbox import Outbox
from ._ops import Op

__all__ = ["Connection"]

# A frame: the bytes that follow the first field, who it is from, who it is for; then a pickle.
_HEAD = struct.Struct("<QII")
_PAIR = struct.Struct("<II")
_PEERS = _PAIR.size
_RECEIVE = 1 << 18
# Bytes of operations after which a frame is closed.
_FRAME = 1 << 20
# Segments of shared memory after which it is, well below what one frame may take.
_SEGMENTS = 128
_FRAME_LIMIT = 1 << 28
# Bytes that may wait for the socket before casts are refused.
CONGESTED = 32 * 1024 * 1024

# A sleeping thread takes tens of microseconds to wake on a virtual machine, more than an actor takes to
# answer. So after each frame one looks for the next for this many seconds, unless that was in vain of late;
# a chain of such frames goes back to the event loop, and to its other sockets, after the second number.
_LINGER = 60e-6
_AT_ONCE = 1e-3
_MOST_IN_VAIN = 1023
_CORES = processors()

OnOps = Callable[[int, list[Op]], None]
OnForward = Callable[[int, int, bytes, Sequence[Descriptor]], None]


class Lane:
    """What leaves for one node in this tick, in order. The hottest object of all: see `Mesh.deliver`."""

    __slots__ = ("connection", "dest", "ops", "segments", "size")

    # Whether what is sent leaves this process.
    leaves = True

    def __init__(self, connection: Connection, dest: int) -> None:
        self.connection = connection
        self.dest = dest
        self.ops: list[Op] = []
        # Shared memory that goes along, in the order of what it belongs to.
        self.segments: list[Descriptor] = []
        self.size = 0

    def send(self, op: Op) -> bool:
        """Have an operation leave with the next flush; True when it is the first in this tick."""
        ops = self.ops
        ops.append(op)
        if len(ops) == 1:
            self.connection.opened.append(self)
            return True
        return False

    def carry(self, packed: bytes | BufferedPickle) -> None:
        """The operation that was just sent has this in it: a frame that grows large is closed."""
        if isinstance(packed, bytes):
            self.size += len(packed)
        else:
            self.size += len(packed.head)
            assert packed.segment is not None
            self.segments.append(packed.segment)
        if self.size > _FRAME or len(self.segments) >= _SEGMENTS:
            self.connection.flush()


class Connection:
    """One end of a socket pair.

    Args:
        me: index of the node on this side; frames for others go to `on_forward`.
        on_ops: gets the sender's index and its operations, in order.
        on_closed: called once when nothing more will come; with the error when the bytes made no sense.
        worth_waiting: whether the thread has nothing better to do than to wait for more, for microseconds;
            None where the other side is a thread of this process, which could not run meanwhile.
    """

    def __init__(
        self,
        sock: socket.socket,
        me: int,
        on_ops: OnOps,
        on_forward: OnForward,
        on_closed: Callable[[WireError | None], None],
        worth_waiting: Callable[[], bool] | None,
    ) -> None:
        self.me = me
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_ops = on_ops
        self._on_forward = on_forward
        self._on_closed = on_closed
        self._reader = DescriptorFrameReader(_FRAME_LIMIT)
        self._buffer = bytearray(_RECEIVE)
        self._view = memoryview(self._buffer)
        self._into = (self._buffer,)
        # By node; and those that something was sent on in this tick.
        self._lanes: dict[int, Lane] = {}
        self.opened: list[Lane] = []
        self._outbox = Outbox(sock, self._loop, self._on_room)
        self._drained: asyncio.Future[None] | None = None
        self._closed = False
        self._reading = False
        self._worth_waiting = _never if worth_waiting is None or _CORES == 1 else worth_waiting
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        self._poll = poll.poll
        # Looks in vain in a row, and chances to look that are let go by because of them.
        self._in_vain = self._pause = 0

    def start(self) -> None:
        """Begin to read."""
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._on_readable)
        self._reading = True

    # -- out -------------------------------------------------------------------------------------

    def lane(self, dest: int) -> Lane:
        """What is sent to one node by this way."""
        lane = self._lanes.get(dest)
        if lane is None:
            lane = self._lanes[dest] = Lane(self, dest)
        return lane

    def flush(self) -> None:
        """Write what was sent in this tick."""
        if not self.opened:
            return
        opened, self.opened = self.opened, []
        for lane in opened:
            ops, lane.ops, lane.size = lane.ops, [], 0
            segments, lane.segments = lane.segments, []
            blob = dumps(ops)
            word = len(blob) + _PEERS | len(segments) << _COUNT_SHIFT
            self._write(_HEAD.pack(word, self.me, lane.dest) + blob, segments)

    def forward(self, frame: bytes, segments: Sequence[Descriptor]) -> None:
        """Pass on a frame that is not ours, with its head and its shared memory."""
        if not self._closed:
            self.flush()  # nothing of ours was sent later
            self._write(frame, segments)

    def _write(self, frame: bytes, segments: Sequence[Descriptor]) -> None:
        if self._closed:
            return
        rest: bytes | memoryview = frame
        if not segments and not self._outbox.pending:
            # Nearly always the socket takes it as it is.
            count = self._send(frame)
            if count == len(frame):
                return
            rest = memoryview(frame)[count:]
        self._outbox.send(rest, segments)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the socket."""
        return self._outbox.pending

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return len(data)  # the other side is gone: its end settles what these bytes were about

    def _on_room(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Flush, and wait until the socket has taken everything, or is closed."""
        self.flush()
        if self._outbox.pending and not self._closed:
            self._drained = self._loop.create_future()
            await self._drained

    # -- in --------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        until = monotonic() + _AT_ONCE
        while self.receive():
            if not self._worth_waiting() or monotonic() > until or not self._more_soon():
                return
        self._stop_reading()

    def linger(self) -> None:
        """Read what comes in the next few microseconds, if something often does."""
        if self._reading and self._worth_waiting() and self._more_soon():
            self._on_readable()

    def _more_soon(self) -> bool:
        """Whether more arrives within `_LINGER` seconds; looks in vain ever less often."""
        if self._pause > 0:
            self._pause -= 1
            return False
        until = monotonic() + _LINGER
        poll = self._poll
        while not poll(0):
            if monotonic() > until:
                self._in_vain = min(2 * self._in_vain + 1, _MOST_IN_VAIN)
                self._pause = self._in_vain
                return False
        self._in_vain = 0
        return True

    def receive(self) -> bool:
        """Read once and hand on what is complete; False when nothing more will come."""
        try:
            count, control, flags, _ = self._sock.recvmsg_into(self._into, CONTROL, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            count, control, flags = 0, [], 0
        try:
            if control or flags & socket.MSG_CTRUNC:
                self._reader.take(control, lost=bool(flags & socket.MSG_CTRUNC))
            elif count >= _HEAD.size and not self._reader.pending:
                # Nearly always it is one whole frame with nothing but bytes, which needs no reader.
                word, source, dest = _HEAD.unpack_from(self._buffer)
                if count == word + 8 and dest == self.me:
                    self._on_ops(source, loads(self._view[_HEAD.size : count]))
                    return True
            if not count:
                self._finished(None)
                return False
            for payload, segments in self._reader.feed_frames(bytes(self._view[:count])):
                self._take(payload, segments)
        except WireError as error:
            self._finished(error)
            return False
        return True

    def _take(self, payload: memoryview, segments: Sequence[Descriptor | None]) -> None:
        """One frame that needed the reader: in pieces, with shared memory, or for somebody else."""
        source, dest = _PAIR.unpack_from(payload)
        if dest == self.me:
            arrived: list[Op] = loads(payload[_PEERS:])
            if segments:
                attach((each for op in arrived for each in op), segments)
            self._on_ops(source, arrived)
        else:
            # Those that the kernel could not deliver are the last ones; whoever misses them says so.
            there = [each for each in segments if each is not None]
            self._on_forward(source, dest, pack_fd_frame(bytes(payload), len(there), _FRAME_LIMIT), there)

    def receive_rest(self) -> None:
        """Hand on all that the other side, which has ended, had still sent."""
        while not self._closed and self._has_data() and self.receive():
            pass

    def _has_data(self) -> bool:
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _finished(self, error: WireError | None) -> None:
        told, self._on_closed = self._on_closed, _nobody
        told(error)

    # -- the end -----------------------------------------------------------------------------------

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def shut(self) -> None:
        """Say that nothing more will be sent."""
        self.flush()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is closed from the other side already

    def close(self) -> None:
        """Give the socket back; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        self._stop_reading()
        self._outbox.close()
        self._reader.drop()
        self._sock.close()
        self.opened.clear()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.unsent_bytes} bytes unsent"
        return f"<Connection of node {self.me} {state}>"


def _never() -> bool:
    """The other side cannot do anything while this one looks."""
    return False


def _nobody(_: Any) -> None:
    """Everybody knows that it has ended."""
