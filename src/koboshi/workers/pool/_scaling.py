"""`Scaling`: a supervisor of workers that takes in more of them, and lets some go.

Neither is a restart, so neither spends from the budget.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..._kernel._cell import NO_KWARGS
from ..._kernel._errors import NameTaken, StartError
from ..._kernel._events import RestartFailed
from ..._kernel._reasons import ExitReason, as_reason
from ..._kernel._ref import ActorRef
from ..._kernel._start import Ignored
from ..._supervision._child import Child
from ..._supervision._spec import ChildSpec
from ..._supervision._supervisor import Supervisor
from ._crew import Crew
from ._slot import Worker

if TYPE_CHECKING:
    import asyncio

    from ._engine import Engine

__all__ = ["Scaling", "crew_of", "worker_name"]


def worker_name(number: int) -> str:
    """The id of a worker, from 1."""
    return f"w{number}"


def crew_of(number: int) -> Crew:
    """Worker `number`, without a process yet."""
    return Crew(worker_name(number), lane=number - 1)


class Scaling(Supervisor):
    """The workers of a pool, by name, and how their number changes."""

    if TYPE_CHECKING:
        engine: Engine
        _boots: dict[str, asyncio.Task[None]]

        async def _boot(self, crew: Crew) -> None: ...
        def _worker_spec(self, name: str) -> ChildSpec[Any]: ...

    def _open_scaling(self, crews: dict[str, Crew]) -> None:
        self._crews = crews
        # Those that are being started because the pool grows; those that are ending because it shrinks.
        self._growing: set[str] = set()
        self._shrinking: set[str] = set()

    @property
    def workers(self) -> int:
        """How many it is to have at present."""
        return len(self._crews) - len(self._shrinking)

    def resize(self, size: int) -> None:
        """Grow to so many workers, or let go of those too many that have nothing to do now."""
        # Behind what is in the mailbox: children are changed in the supervisor's own turn alone.
        self._kb_cell.post((Scaling._take_size, (size,), NO_KWARGS, copy_context(), None))

    def _take_size(self, size: int) -> None:
        if size > self.workers:
            self._grow(size - self.workers)
        else:
            self._shrink(self.workers - size)
        if self.engine.elastic is not None:
            self.engine.elastic.resized(self.workers)

    def _grow(self, count: int) -> None:
        number = 0
        while count:
            number += 1
            name = worker_name(number)
            if name in self._crews:
                continue
            count -= 1
            crew = self._crews[name] = crew_of(number)
            self._boots[name] = self._kb_cell.node.loop.create_task(self._boot(crew))
            self._growing.add(name)
            child = self._new_child(name, self._worker_spec(name))
            child.status = "starting"
            try:
                self._start_in_background(child, None)
            except (StartError, NameTaken, Ignored) as error:
                self._not_up(child, error)

    def _shrink(self, count: int) -> None:
        """Let go of up to `count` workers, the newest first: only such as have nothing to do."""
        for name, crew in reversed(tuple(self._crews.items())):
            child = self._children[name]
            process = crew.process
            if count == 0:
                return
            if name in self._shrinking or child.cell is None or process is None or not process.alive:
                continue
            if self.engine.dispatcher.busy(process) or any(each is not process for each in crew.processes):
                continue
            count -= 1
            # From this moment on it is given nothing, so it has nothing to lose.
            self.engine.dispatcher.retire(process)
            crew.closing = True
            self._shrinking.add(name)
            ActorRef[Worker](child.cell).cast(Worker.leave)

    # -- what becomes of them: the hooks of `Restarting` -----------------------------------------

    def _restarted(self, child: Child) -> None:
        if child.id in self._growing:
            self._growing.discard(child.id)
        else:
            super()._restarted(child)

    def _not_up(self, child: Child, error: Exception) -> None:
        if child.id not in self._growing:
            super()._not_up(child, error)
            return
        self._growing.discard(child.id)
        self._let_go(child)
        instruments = self._kb_cell.node.instruments
        reason = error.reason if isinstance(error, StartError) else as_reason(error)
        instruments.emit(RestartFailed(self._kb_cell.label(), repr(child.id), reason))
        if self.engine.elastic is not None:
            self.engine.elastic.failed(self.workers)

    def _ended(self, child: Child, reason: ExitReason) -> Coroutine[Any, Any, None] | None:
        if child.id not in self._shrinking:
            return super()._ended(child, reason)
        assert child.cell is not None
        self._by_cell.pop(child.cell, None)
        child.cell = child.place.cell = None
        self._shrinking.discard(child.id)
        self._let_go(child)
        return None

    def _let_go(self, child: Child) -> None:
        del self._crews[child.id]
        self._boots.pop(child.id, None)
        self._forget(child)
