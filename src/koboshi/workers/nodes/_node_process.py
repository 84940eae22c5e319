"""One worker node as the root sees it: its process, its connection, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from ..._kernel._reasons import ExitReason, NoConnection
from ...wire import WireError
from .._errors import WorkerStartFailed
from .._exit import WorkerExit
from .._spawner import ForkServer
from ._connection import Connection
from ._node_main import STACK_SIGNAL

if TYPE_CHECKING:
    from ..._kernel._route import RemoteCell
    from ._hub import Hub
    from ._ops import Op

_STATUS_GRACE = 0.5
_CLOSED_GRACE = 0.05
REPORT_AFTER = 1.0


class NodeProcess:
    """A worker node's process. What is sent before it is up waits in its socket.

    Attributes:
        ready: done when its event loop has answered for the first time; fails when it never will.
        exit: how it ended, None while it lives.
    """

    def __init__(self, hub: Hub, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.pid = 0
        self.exit: WorkerExit | None = None
        # The end that its one actor came to, when it has been started for that alone.
        self.reason: ExitReason | None = None
        # That actor, and what came from the process after its end.
        self.actor: RemoteCell | None = None
        self.late: list[Op] = []
        self.processes = self.queued = 0
        # Loop times: of the last answer, and of the oldest question that is not answered.
        self.heard = hub.node.loop.time()
        self.asked: float | None = None
        self.reported = False
        # Seconds of silence after which its stack is reported, and after which it is killed.
        self.report_after = REPORT_AFTER
        self.kill_after: float | None = None
        self._hub = hub
        self._loop = hub.node.loop
        self._pidfd = -1
        self._status: int | None = None
        self._peak: int | None = None
        self._detail = ""
        self._ending = False
        self._over = False
        self._waits_for_status = False
        self._timer: asyncio.TimerHandle | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.ready.add_done_callback(_seen)
        self.gone: asyncio.Future[None] = self._loop.create_future()
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection = Connection(ours, 0, hub.on_ops, hub.forward, self._on_closed, hub.waits)
        self.connection.start()
        self.stack = os.memfd_create("koboshi-stack", os.MFD_CLOEXEC)

    async def boot(self, server: ForkServer) -> None:
        """Have the process forked.

        Raises:
            WorkerStartFailed: it could not be.
        """
        try:
            with self._theirs:
                self.pid, self._pidfd = await server.spawn(
                    self._theirs, self.stack, self._on_status, node=(self.index, self.name)
                )
        except BaseException as error:
            self._finish(error if isinstance(error, WorkerStartFailed) else None)
            raise
        self._loop.add_reader(self._pidfd, self._on_gone)

    def abandon(self) -> None:
        """Forget a process that was not forked."""
        self._theirs.close()
        self._finish()

    @property
    def alive(self) -> bool:
        """Whether its end has not been seen yet."""
        return not self._over

    def answered(self, processes: int, queued: int) -> None:
        """Its event loop comes round."""
        self.heard, self.asked, self.reported = self._loop.time(), None, False
        self.processes, self.queued = processes, queued
        if not self.ready.done():
            self.ready.set_result(None)

    def signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self, detail: str = "") -> None:
        """End the process at once; `detail` goes into its exit."""
        self._detail = self._detail or detail
        self._ending = True
        self.signal(signal.SIGKILL)

    def write_stack(self) -> None:
        """Have the process write the stacks of its threads, even in the middle of C code."""
        os.ftruncate(self.stack, 0)
        os.lseek(self.stack, 0, os.SEEK_SET)
        self.signal(STACK_SIGNAL)

    def read_stack(self) -> str:
        """What `write_stack` has brought so far; empty when the process is stopped."""
        return os.pread(self.stack, 1 << 16, 0).decode(errors="replace")

    async def stop(self, timeout: float) -> WorkerExit | None:
        """Let it end in good order; kill it after `timeout` seconds."""
        self.close()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self.gone)
        except TimeoutError:
            self.kill(f"it had not stopped {timeout:g} s after it was told to")
            await asyncio.shield(self.gone)
        return self.exit

    def close(self) -> None:
        """Tell it to end."""
        if not self._ending and not self._over:
            self._ending = True
            self.connection.shut()

    def _on_closed(self, error: WireError | None) -> None:
        """It has closed its socket. Normally it ends at once; if not, it is of no use any more."""
        if error is not None:
            self.kill(f"it sent garbage: {error}")
        elif not self._ending and self._timer is None and not self._over:
            self._timer = self._loop.call_later(_CLOSED_GRACE, self.kill, "it had closed its socket")

    def _on_status(self, status: int | None, peak: int | None) -> None:
        if status is None:
            self._detail = self._detail or "its fork server died"
            status = int(signal.SIGKILL)
        self._status, self._peak = status, peak
        if self._waits_for_status:
            self._finish()

    def _on_gone(self) -> None:
        """The process has ended; its status comes from the fork server."""
        self._loop.remove_reader(self._pidfd)
        if self._status is not None:
            self._finish()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._waits_for_status = True
        self._timer = self._loop.call_later(_STATUS_GRACE, self._finish)

    def _finish(self, failure: WorkerStartFailed | None = None) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        # All that it sent is in our receive buffer, and comes before its end.
        self.connection.receive_rest()
        self.connection.close()
        cause: object = failure
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
            cause = self.exit = WorkerExit.from_status(self.pid, self._status, self._detail, self._peak)
        os.close(self.stack)
        if not self.ready.done():
            self.ready.set_exception(WorkerStartFailed(f"node {self.name!r} ended before it was up: {cause}"))
        self._hub.node_ended(self, NoConnection(self.name, cause))
        self.gone.set_result(None)

    def __repr__(self) -> str:
        state = "gone" if self._over else "alive"
        return f"<NodeProcess {self.index} {self.name!r} pid={self.pid} {state}>"


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
