"""A worker node in an OS process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from ...wire import WireError
from .._errors import WorkerStartFailed
from .._exit import WorkerExit
from ..process._spawner import ForkServer
from ._node_main import STACK_SIGNAL
from ._peer import Peer

if TYPE_CHECKING:
    from ._hub import Hub

_STATUS_GRACE = 0.5
_CLOSED_GRACE = 0.05


class NodeProcess(Peer):
    """A worker node's process, forked by the fork server."""

    def __init__(self, hub: Hub, index: int, name: str) -> None:
        super().__init__(hub, index, name)
        self._pidfd = -1
        self._status: int | None = None
        self._peak: int | None = None
        self._detail = ""
        self._waits_for_status = False
        self._timer: asyncio.TimerHandle | None = None
        self._stack = os.memfd_create("koboshi-stack", os.MFD_CLOEXEC)

    async def boot(self) -> None:
        server: ForkServer = self._hub.server()
        try:
            with self._theirs:
                self.pid, self._pidfd = await server.spawn(
                    self._theirs, self._stack, self._on_status, node=(self.index, self.name)
                )
        except BaseException as error:
            self._finish(error if isinstance(error, WorkerStartFailed) else None)
            raise
        self._loop.add_reader(self._pidfd, self._on_gone)
        if self._detail:  # killed while it was being forked
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self, detail: str = "") -> None:
        self._detail = self._detail or detail or "it was killed"
        self._ending = True
        self._signal(signal.SIGKILL)

    def write_stack(self) -> None:
        os.ftruncate(self._stack, 0)
        os.lseek(self._stack, 0, os.SEEK_SET)
        self._signal(STACK_SIGNAL)

    def read_stack(self) -> str:
        return os.pread(self._stack, 1 << 16, 0).decode(errors="replace")

    def _on_closed(self, error: WireError | None) -> None:
        """Normally its process ends at once; if not, it is of no use any more."""
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
            self._finish(None)

    def _on_gone(self) -> None:
        """The process has ended; its status comes from the fork server."""
        self._loop.remove_reader(self._pidfd)
        if self._timer is not None:
            self._timer.cancel()
        if self._status is not None:
            self._finish(None)
            return
        self._waits_for_status = True
        self._timer = self._loop.call_later(_STATUS_GRACE, self._finish, None)

    def _finish(self, cause: object) -> None:
        if self._over:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
            cause = self.exit = WorkerExit.from_status(self.pid, self._status, self._detail, self._peak)
        os.close(self._stack)
        super()._finish(cause)
