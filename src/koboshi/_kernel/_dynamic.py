"""`DynamicSupervisor`: children of one kind, started at run time, side by side."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from ._errors import ChildNotFound, StartError, TooManyChildren, UsageError
from ._lifecycle import Ignored, started
from ._reasons import ExitReason
from ._ref import ActorRef
from ._reply import ReplyTo, defer
from ._restart import AutoShutdown, Backoff
from ._root import request
from ._spec import ChildSpec
from ._supervisor import Child, Supervisor


class DynamicSupervisor(Supervisor):
    """Looks after any number of children that come and go; strategy "one_for_one".

    Children are known by their refs. A slow `on_start` holds up nobody else's start, and at the end
    all children are stopped at once, each with its own time.

    Args:
        max_children: how many there may be; ones that are being restarted count. None: no limit.
        extra_args: put before the arguments of every spec, again at each restart.
    """

    def __init__(
        self,
        *,
        max_children: int | None = None,
        extra_args: tuple[Any, ...] = (),
        max_restarts: int = 3,
        within: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        backoff: Backoff | tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(
            max_restarts=max_restarts, within=within, auto_shutdown=auto_shutdown, backoff=backoff
        )
        if max_children is not None and (not isinstance(max_children, int) or max_children < 0):
            raise UsageError(f"max_children takes a whole number >= 0 or None, got {max_children!r}")
        self._max_children = max_children
        self._extra_args = tuple(extra_args)
        self._made_with = (), {
            "max_children": max_children,
            "extra_args": extra_args,
            **{name: value for name, value in self._made_with[1].items() if name != "strategy"},
        }
        self._numbers = itertools.count(1)
        self._starting: set[asyncio.Task[None]] = set()

    def _extra(self) -> tuple[Any, ...]:
        return self._extra_args

    async def _stop_all(self) -> None:
        for task in self._starting:
            task.cancel()
        async with asyncio.TaskGroup() as group:
            for child in tuple(self._children.values()):
                group.create_task(self._stop(child))

    @request
    async def start_child(self, spec: ChildSpec[Any]) -> ActorRef[Any]:
        """Start a child; many may be starting at once. Raises `TooManyChildren`, `StartError`, `Ignored`."""
        spec = self._accept(spec)
        if self._max_children is not None and len(self._children) >= self._max_children:
            raise TooManyChildren(
                f"{self._cell.label()} has {len(self._children)} children and max_children={self._max_children}"
            )
        # A number, unless the spec names an id: that one is used for the path and may repeat.
        number = next(self._numbers)
        id = number if spec.id is None else (spec.id if spec.id not in self._children else (spec.id, number))
        child = self._new_child(id, spec)
        try:
            cell = spec.launch(self._cell.node, self._cell, child.place, self._extra())
        except BaseException:
            self._forget(child)
            raise
        if cell.task is None or spec.is_process:
            self._adopt(child, cell)
            return ActorRef(cell)
        child.status = "restarting"
        task = self._cell.node.loop.create_task(self._finish_start(child, cell, defer()))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return ActorRef(cell)

    async def _finish_start(self, child: Child, cell: Any, reply: ReplyTo[Any]) -> None:
        try:
            await started(cell, child.spec.start_timeout)
        except (StartError, Ignored) as error:
            self._forget(child)
            reply.fail(error)
        else:
            self._adopt(child, cell)
            reply.send(ActorRef(cell))

    def _leave_down(self, child: Child) -> None:
        self._forget(child)

    def _ended(self, child: Child, reason: ExitReason) -> Any:
        outcome = super()._ended(child, reason)
        if child.status == "stopped":
            self._forget(child)
        return outcome

    @request
    async def terminate_child(self, ref: ActorRef[Any]) -> None:
        """Stop a child by its ref and forget it. Raises `ChildNotFound`, also for a ref from before a restart."""
        child = self._by_cell.get(ref._target()) if isinstance(ref, ActorRef) else self._children.get(ref)
        if child is None:
            raise ChildNotFound(f"{self._cell.label()} has no running child {ref!r}")
        await self._stop(child)
        self._forget(child)
