"""`Worker`: the actor that stands for one worker process in the supervision tree."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..._kernel._actor import Actor
from ..._kernel._end import gone
from ..._kernel._message import message
from ..._kernel._reasons import SHUTDOWN, ExitReason
from ._crew import Crew

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Worker"]


class Worker(Actor):
    """One worker process of a pool: it starts with the process and dies with it.

    Its exit reason is then `Crashed(WorkerCrashed)`, which names the signal or the exit code.
    """

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self._name = name
        self._crew: Crew | None = None

    async def on_start(self) -> None:
        """Returns when the process is up and set up."""
        crew = self._crew = await self._pool.started_crew(self._name)
        me = self.me

        def died(error: Exception) -> None:
            me.cast(Worker.died, error)

        crew.died = died
        process = crew.process
        assert process is not None
        # A kill of this actor skips `on_stop`, and must not leave the process behind.
        self._guard = asyncio.ensure_future(gone(self._kb_cell))
        self._guard.add_done_callback(self._killed)
        self._pool.engine.employ(crew)

    def _killed(self, _: object) -> None:
        assert self._crew is not None
        self._crew.closing = True
        for process in self._crew.processes:
            self._pool.engine.dispatcher.retire(process)
            process.kill("its worker was killed")

    @message
    def died(self, error: Exception) -> None:
        """The process is gone, or could not be replaced when it was due; so is this actor."""
        assert self._crew is not None
        # Those that were replaced before have jobs in hand, which this end does not concern.
        self._crew.leaving.clear()
        raise error

    @message
    def leave(self) -> None:
        """The pool needs it no more."""
        self.stop(SHUTDOWN)

    async def on_stop(self, reason: ExitReason) -> None:
        """Let the process finish what it has, for as long as the pool grants it."""
        if self._crew is None:
            return
        self._crew.closing = True
        processes = self._crew.processes
        for process in processes:
            self._pool.engine.dispatcher.retire(process)
        await asyncio.gather(*(process.stop(self._pool.grace) for process in processes))

    def format_status(self) -> object:
        crew = self._crew
        if crew is None or crew.process is None:
            return {"pid": None}
        return {"pid": crew.process.pid, "done": crew.done}
