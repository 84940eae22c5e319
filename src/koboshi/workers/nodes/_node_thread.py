"""A worker node on a thread of this process: for libraries that block.

It has an event loop of its own, so what blocks there holds up nobody else; and it is reached as any
other node, so what is sent to it is copied. But it shares the process: it cannot be killed, one that
crashes the interpreter takes all along, and Python code of two threads does not run at once.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from ..._kernel._events import Stubborn
from ...wire import WireError
from .._errors import WorkerStartFailed
from ._node_main import run_on_thread
from ._peer import Peer

if TYPE_CHECKING:
    from ._hub import Hub


class NodeThread(Peer):
    """A worker node's thread."""

    parallel = False

    def __init__(self, hub: Hub, index: int, name: str) -> None:
        super().__init__(hub, index, name)
        self.pid = os.getpid()
        self._error: BaseException | None = None
        # A daemon, because a program must be able to end while one of these blocks.
        self._thread = threading.Thread(target=self._run, name=f"koboshi-{name}", daemon=True)

    async def boot(self) -> None:
        try:
            self._thread.start()
        except RuntimeError as error:
            failed = WorkerStartFailed(f"no thread could be started for {self.name!r}: {error}")
            self._theirs.close()
            self._finish(failed)
            raise failed from error

    def _run(self) -> None:
        try:
            with self._theirs:
                run_on_thread(self._theirs, self.index, self.name)
        except BaseException as error:  # told to whoever waits for this node
            self._error = error
        try:
            self._loop.call_soon_threadsafe(self._on_ended)
        except RuntimeError:
            return  # the root's loop is closed: nobody waits any more

    def _on_ended(self) -> None:
        self._thread.join()
        self._finish(self._error)

    def kill(self, detail: str = "") -> None:
        """It cannot be killed: from here on it counts as gone, and ends when what it runs comes back."""
        if self._over:
            return
        self._ending = True
        if self._thread.is_alive():
            self._hub.node.instruments.emit(Stubborn(f"node {self.name}", detail or "killed"))
        self._finish(detail or "it was killed")

    def write_stack(self) -> None:
        """Nothing need be written: it can be looked at from here."""

    def read_stack(self) -> str:
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "" if frame is None else "".join(traceback.format_stack(frame))

    def _on_closed(self, error: WireError | None) -> None:
        if error is not None:
            self.kill(f"it sent garbage: {error}")
