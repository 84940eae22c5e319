"""One worker node as the root sees it, whatever it runs in: its connection, its health, its end."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..._kernel._reasons import ExitReason, NoConnection
from ...wire import WireError
from .._errors import WorkerStartFailed
from .._exit import WorkerExit
from ._connection import Connection

if TYPE_CHECKING:
    from ..._kernel._cell import Cell
    from ..._kernel._route import RemoteCell
    from ._hub import Hub
    from ._ops import Op

REPORT_AFTER = 1.0


class Peer(ABC):
    """A worker node. What is sent before it is up waits in its socket.

    Attributes:
        pid: its OS process.
        exit: how its process ended; None while it lives, and of what has no process of its own.
        ready: done when its event loop has answered for the first time; fails when it never will.
        gone: done when it has ended and everybody has been told.
    """

    # Whether it runs while this thread does.
    parallel = True

    def __init__(self, hub: Hub, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.pid = 0
        self.exit: WorkerExit | None = None
        # The one actor that it was started for, how that one ended, and what came after its end.
        self.actor: RemoteCell | None = None
        self.reason: ExitReason | None = None
        self.late: list[Op] = []
        # As of its last answer.
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
        # It has been told to end; it has ended.
        self._ending = False
        self._over = False
        # The actor that stands for it in a tree, for nodes that have a name.
        self.keeper: Cell | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.ready.add_done_callback(_seen)
        self.gone: asyncio.Future[None] = self._loop.create_future()
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        waits = hub.waits if self.parallel else None
        self.connection = Connection(ours, 0, hub.on_ops, hub.forward, self._on_closed, waits)
        self.connection.start()

    @abstractmethod
    async def boot(self) -> None:
        """Have it started.

        Raises:
            WorkerStartFailed: it could not be.
        """

    @abstractmethod
    def kill(self, detail: str = "") -> None:
        """End it at once, as far as that can be done; `detail` goes into its exit."""

    @abstractmethod
    def write_stack(self) -> None:
        """Have it write down where its threads are, even in the middle of C code."""

    @abstractmethod
    def read_stack(self) -> str:
        """What `write_stack` has brought so far; empty when it does not even do that."""

    @abstractmethod
    def _on_closed(self, error: WireError | None) -> None:
        """Its end of the connection is closed, or sends what makes no sense."""

    @property
    def alive(self) -> bool:
        """Whether its end has not been seen yet."""
        return not self._over

    def abandon(self) -> None:
        """Forget what was not started."""
        self._theirs.close()
        self._finish(None)

    def answered(self, processes: int, queued: int) -> None:
        """Its event loop comes round."""
        self.heard, self.asked, self.reported = self._loop.time(), None, False
        self.processes, self.queued = processes, queued
        if not self.ready.done():
            self.ready.set_result(None)

    def close(self) -> None:
        """Tell it to end."""
        if not self._ending and not self._over:
            self._ending = True
            self.connection.shut()

    async def stop(self, timeout: float) -> None:
        """Let it end in good order; kill it after `timeout` seconds."""
        self.close()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self.gone)
        except TimeoutError:
            self.kill(f"it had not stopped {timeout:g} s after it was told to")
            await asyncio.shield(self.gone)

    def _finish(self, cause: object) -> None:
        """It has ended: take what it had still sent, then tell everybody."""
        if self._over:
            return
        self._over = True
        self.connection.receive_rest()
        self.connection.close()
        if not self.ready.done():
            self.ready.set_exception(WorkerStartFailed(f"node {self.name!r} ended before it was up: {cause}"))
        self._hub.node_ended(self, NoConnection(self.name, cause))
        self.gone.set_result(None)

    def __repr__(self) -> str:
        state = "gone" if self._over else "alive"
        return f"<{type(self).__name__} {self.index} {self.name!r} pid={self.pid} {state}>"


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
