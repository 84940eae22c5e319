"""What the root sends to a worker: it leaves as fast as the socket takes it, without the loop waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from ...wire import Descriptor, FrameSender
from ...wire._fd_frames import too_many_in_flight

__all__ = ["Outbox"]

# Seconds until the worker may have taken some of the descriptors that are on their way.
_IN_FLIGHT_WAIT = 0.002


class Outbox:
    """Frames for one worker; `on_room` is called when there is room again after there was none."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, on_room: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._on_room = on_room
        self._sender = FrameSender(sock)
        self._retry: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Outbox pending={self.pending}>"

    @property
    def pending(self) -> int:
        """Bytes that the socket would not take yet."""
        return self._sender.pending

    def send(self, frame: bytes | memoryview, segments: Sequence[Descriptor]) -> None:
        """Send a frame, now or behind those that wait."""
        waiting = self._sender.pending > 0
        self._sender.put(frame, segments)
        if not waiting and not self._flush():
            self._await_room()

    def close(self) -> None:
        """Drop what waits; call it before the socket is closed."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_writer(self._sock.fileno())
        self._sender.clear()

    def _flush(self) -> bool:
        """Send what the socket takes; whether that is all."""
        try:
            return self._sender.flush()
        except OSError as error:
            if too_many_in_flight(error):
                return False
            # The worker is gone: its death settles what these bytes were about.
            self._sender.clear()
            return True

    def _await_room(self) -> None:
        self._loop.add_writer(self._sock.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        before = self._sender.pending
        done = self._flush()
        if done or self._sender.pending == before:
            self._loop.remove_writer(self._sock.fileno())
        if done:
            self._on_room()
        elif self._sender.pending == before:
            # Writable, but too many descriptors are on their way: no event tells when they have arrived.
            self._retry = self._loop.call_later(_IN_FLIGHT_WAIT, self._await_room)
