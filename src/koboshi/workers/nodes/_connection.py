"""One socket pair between the root and a node: operations out, operations in, frames passed on.

A frame begins with who it is from and for, so the root passes on what two other nodes say to each
other without reading it. What is sent in one tick to one node leaves in one frame.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from ...wire import FrameReader, WireError, pack_frame
from ...wire._pickle import dumps, loads
from ._ops import Op

__all__ = ["Connection"]

# A frame: the bytes that follow the first field, who it is from, who it is for; then a pickle.
_HEAD = struct.Struct("<QII")
_PAIR = struct.Struct("<II")
_PEERS = _PAIR.size
_RECEIVE = 1 << 18
# Bytes of operations after which a frame is closed.
_FRAME = 1 << 20
_FRAME_LIMIT = 1 << 28
# Bytes that may wait for the socket before casts are refused.
CONGESTED = 32 * 1024 * 1024

# A sleeping thread takes tens of microseconds to wake on a virtual machine, more than an actor takes to
# answer. So after each frame one looks for the next for this many seconds, unless that was in vain of late;
# a chain of such frames goes back to the event loop, and to its other sockets, after the second number.
_LINGER = 60e-6
_AT_ONCE = 1e-3
_MOST_IN_VAIN = 1023
_CORES = os.cpu_count() or 1

OnOps = Callable[[int, list[Op]], None]
OnForward = Callable[[int, bytes], None]


class Lane:
    """What leaves for one node in this tick, in order. The hottest object of all: see `Mesh.deliver`."""

    __slots__ = ("connection", "dest", "ops", "size")

    def __init__(self, connection: Connection, dest: int) -> None:
        self.connection = connection
        self.dest = dest
        self.ops: list[Op] = []
        self.size = 0

    def send(self, op: Op) -> bool:
        """Have an operation leave with the next flush; True when it is the first in this tick."""
        ops = self.ops
        ops.append(op)
        if len(ops) == 1:
            self.connection.opened.append(self)
            return True
        return False

    def sized(self, size: int) -> None:
        """What was sent takes so many bytes: a frame that grows large is closed."""
        self.size += size
        if self.size > _FRAME:
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
        self._reader = FrameReader(_FRAME_LIMIT)
        self._buffer = bytearray(_RECEIVE)
        self._view = memoryview(self._buffer)
        # By node; and those that something was sent on in this tick.
        self._lanes: dict[int, Lane] = {}
        self.opened: list[Lane] = []
        self._unsent: deque[memoryview] = deque()
        self.unsent_bytes = 0
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
            blob = dumps(ops)
            self._write(_HEAD.pack(len(blob) + _PEERS, self.me, lane.dest) + blob)

    def forward(self, frame: bytes) -> None:
        """Pass on a frame that is not ours, with its head."""
        if not self._closed:
            self.flush()  # nothing of ours was sent later
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        if self._closed:
            return
        rest = memoryview(frame)
        if not self._unsent:
            count = self._send(frame)
            if count == len(frame):
                return
            rest = rest[count:]
            self._loop.add_writer(self._sock.fileno(), self._on_writable)
        self._unsent.append(rest)
        self.unsent_bytes += len(rest)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return len(data)  # the other side is gone: its end settles what these bytes were about

    def _on_writable(self) -> None:
        while self._unsent:
            count = self._send(self._unsent[0])
            self.unsent_bytes -= count
            if count < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][count:]
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._sock.fileno())
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Flush, and wait until the socket has taken everything, or is closed."""
        self.flush()
        if self._unsent and not self._closed:
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
            count = self._sock.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            count = 0
        if not count:
            self._finished(None)
            return False
        try:
            # Nearly always it is one whole frame, which needs no reader.
            size, source, dest = _HEAD.unpack_from(self._buffer) if count >= _HEAD.size else (0, 0, 0)
            if count == size + 8 and dest == self.me and not self._reader.pending:
                self._on_ops(source, loads(self._view[_HEAD.size : count]))
                return True
            for payload in self._reader.feed(self._view[:count]):
                source, dest = _PAIR.unpack_from(payload)
                if dest == self.me:
                    self._on_ops(source, loads(payload[_PEERS:]))
                else:
                    self._on_forward(dest, pack_frame(bytes(payload), _FRAME_LIMIT))
        except WireError as error:
            self._finished(error)
            return False
        return True

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
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self.opened.clear()
        self._unsent.clear()
        self.unsent_bytes = 0
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
