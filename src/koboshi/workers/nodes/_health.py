"""Whether worker nodes answer: the root asks, and says where one is stuck that does not.

A node that is merely busy does not answer either, so it is killed only where its owner has said after
how long. What counts is the time since the oldest question without an answer, less the time for
which this process itself was held up: a question that lies unread here is not the other's fault.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..._kernel._events import LoopBlocked
from ._ops import PING

if TYPE_CHECKING:
    from ._hub import Hub
    from ._peer import Peer

LOOK_EVERY = 0.25
# Seconds for the signal to be delivered and the stacks to be written.
_WRITING = 0.1


class Health:
    """Looks after the nodes of a hub while there are any."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._loop = hub.node.loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def watch(self) -> None:
        """Begin to look, if that is not being done."""
        if self._timer is None and self._hub.peers:
            self._due = self._loop.time() + LOOK_EVERY
            self._timer = self._loop.call_at(self._due, self._look, context=self._hub.node.context)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        held_up = max(0.0, now - self._due)
        for process in tuple(self._hub.peers.values()):
            if process.asked is None:
                if now - process.heard >= LOOK_EVERY / 2:
                    process.asked = now
                    self._hub.mesh.send(process.index, (PING,))
                continue
            process.asked += held_up
            silent = now - process.asked
            if process.kill_after is not None and silent >= process.kill_after:
                process.kill(f"its event loop did not answer for {silent:.3g} s")
            elif silent >= process.report_after and not process.reported:
                process.reported = True
                process.write_stack()
                self._loop.call_later(_WRITING, self._report, process, context=self._hub.node.context)
        self.watch()

    def _report(self, process: Peer) -> None:
        if process.alive and process.asked is not None:
            silent = self._loop.time() - process.asked
            stack = process.read_stack() or "no stack: the process is stopped, or not scheduled\n"
            self._hub.node.instruments.emit(
                LoopBlocked(f"node {process.name}", "its event loop", silent, stack)
            )
