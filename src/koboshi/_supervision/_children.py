"""What a supervisor does to a child: start it, take it in, stop it, forget it.

All of it happens in the supervisor's own turn. Where a start is not waited for in that turn, a task
waits and posts what came of it; the record changes when that message is handled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .._kernel._actor import Actor
from .._kernel._cell import DEAD, NO_KWARGS, Cell
from .._kernel._errors import StartError
from .._kernel._place import Place
from .._kernel._reasons import SHUTDOWN, ExitReason
from .._kernel._ref import ActorRef
from .._kernel._reply import ReplyTo
from .._kernel._start import Ignored
from ._child import ON_THE_WAY, Child, expect_start, stop_cell, wait_start
from ._spec import ChildSpec


class Children(Actor):
    """The children of one supervisor."""

    def __init__(self) -> None:
        # In start order.
        self._children: dict[Any, Child] = {}
        # Grows when a child is added or forgotten, so that who keeps a list of them knows when it is old.
        self._membership = 0
        # Who is running or starting in the background. A child that is stopped on purpose is taken
        # out first, so that the exit message that follows finds nobody.
        self._by_cell: dict[Cell, Child] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._waiting_ready: list[ReplyTo[None]] = []

    def _new_child(self, id: Any, spec: ChildSpec[Any]) -> Child:
        child = self._children[id] = Child(id, spec, self._place().inner(id))
        self._membership += 1
        return child

    def _place(self) -> Place:
        bonds = self._kb_cell.bonds
        assert bonds is not None
        if bonds.place is None:
            bonds.place = Place(type(self).__qualname__.rpartition("<locals>.")[2].lower())
        return bonds.place

    def _extra(self) -> tuple[Any, ...]:
        """Arguments that go before those of every child's spec."""
        return ()

    # -- starting ------------------------------------------------------------------------------

    def _launch(self, child: Child) -> Cell:
        return child.spec.launch(self._kb_cell.node, self._kb_cell, child.place, self._extra())

    async def _bring_up(self, child: Child) -> None:
        """Start a child and wait until it is up. Raises `StartError`, `NameTaken` or `Ignored`."""
        cell = self._launch(child)
        ready = expect_start(cell)
        if ready is not None:
            child.starting = cell
            try:
                await wait_start(cell, ready, child.spec.start_timeout)
            except (StartError, Ignored):
                child.starting = None
                raise
        self._adopt(child, cell)

    def _start_in_background(self, child: Child, reply: ReplyTo[Any] | None) -> Cell:
        """Launch a child and go on. It is running on return, or `_came_up` will say how it went.

        Raises:
            StartError, NameTaken, Ignored: it failed at once.
        """
        cell = self._launch(child)
        ready = expect_start(cell)
        if ready is None:
            self._adopt(child, cell)
            return cell
        child.starting = cell
        self._by_cell[cell] = child
        task = cell.node.loop.create_task(self._await_start(child, cell, ready, reply))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return cell

    async def _await_start(
        self, child: Child, cell: Cell, ready: asyncio.Future[Any], reply: ReplyTo[Any] | None
    ) -> None:
        failure: Exception | None = None
        try:
            await wait_start(cell, ready, child.spec.start_timeout)
        except (StartError, Ignored) as error:
            failure = error
        outcome = (child, cell, failure, reply)
        self._kb_cell.post((Children._came_up, outcome, NO_KWARGS, copy_context(), None))

    def _came_up(
        self, child: Child, cell: Cell, failure: Exception | None, reply: ReplyTo[Any] | None
    ) -> Coroutine[Any, Any, None] | None:
        """A start in the background is over."""
        if child.starting is not cell:  # it was stopped meanwhile
            if reply is not None:
                reply.fail(failure or StartError(cell.label(), cell.doom or SHUTDOWN))
            return None
        child.starting = None
        self._by_cell.pop(cell, None)
        if failure is not None:
            if reply is None:
                self._not_up(child, failure)
            else:
                self._forget(child)
                reply.fail(failure)
            return None
        self._adopt(child, cell)
        if reply is None:
            self._restarted(child)
        else:
            reply.send(ActorRef(cell))
        if cell.state == DEAD:  # its exit message came while it did not count as a child yet
            return self._ended(child, cell.doom or SHUTDOWN)
        return None

    def _adopt(self, child: Child, cell: Cell) -> None:
        child.starting = None
        child.cell = child.place.cell = cell
        child.status = "running"
        child.attempt += 1
        child.up_since = cell.node.loop.time()
        self._by_cell[cell] = child
        if child.spec.restart == "temporary":
            # It is never started again, so what it was started with need not be kept.
            child.spec = child.spec.without_arguments()
        self._tell_ready()

    def _leave_down(self, child: Child) -> None:
        """The child's `on_start` said that there is nothing to start."""
        if child.spec.restart == "temporary":
            self._forget(child)
        else:
            child.status = "stopped"
            child.attempt += 1
            self._tell_ready()

    # -- stopping ------------------------------------------------------------------------------

    async def _stop(self, child: Child) -> None:
        """Stop a child in its own time; afterwards it has no cell and its exit message finds nobody."""
        cell = child.cell if child.cell is not None else child.starting
        child.cell = child.starting = child.place.cell = None
        child.status = "stopped"
        child.attempt += 1
        if cell is not None:
            self._by_cell.pop(cell, None)
            child.last = await stop_cell(cell, self._kb_cell, child.spec.shutdown)
        self._tell_ready()

    async def _stop_all(self) -> None:
        for child in reversed(tuple(self._children.values())):
            await self._stop(child)

    def _forget(self, child: Child) -> None:
        self._children.pop(child.id, None)
        self._membership += 1
        self._tell_ready()

    def _tell_ready(self) -> None:
        """Answer those who wait for the time when no child is on its way."""
        if self._waiting_ready and not any(child.status in ON_THE_WAY for child in self._children.values()):
            for reply in self._waiting_ready:
                reply.send(None)
            self._waiting_ready.clear()

    if TYPE_CHECKING:
        # What comes of it; written in `_restarting`.
        def _restarted(self, child: Child) -> None: ...
        def _not_up(self, child: Child, error: Exception) -> None: ...
        def _ended(self, child: Child, reason: ExitReason) -> Coroutine[Any, Any, None] | None: ...
