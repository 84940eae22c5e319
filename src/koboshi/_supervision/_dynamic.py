"""`DynamicSupervisor`: children of one kind, started at run time, side by side."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from .._kernel._errors import ChildNotFound, TooManyChildren, UsageError
from .._kernel._ref import ActorRef
from .._kernel._reply import defer, in_hand
from ._child import Child
from ._restart import AutoShutdown, Backoff
from ._root import request
from ._spec import ChildSpec
from ._supervisor import Supervisor


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
        most: object = max_children
        if most is not None and (not isinstance(most, int) or most < 0):
            raise UsageError(f"max_children takes a whole number >= 0 or None, got {most!r}")
        options: dict[str, Any] = {
            "max_restarts": max_restarts,
            "within": within,
            "auto_shutdown": auto_shutdown,
            "backoff": backoff,
        }
        self._max_children = max_children
        self._extra_args = tuple(extra_args)
        self._numbers = itertools.count(1)
        super().__init__(**options)
        self._made_with = (), {"max_children": max_children, "extra_args": extra_args, **options}

    def _extra(self) -> tuple[Any, ...]:
        return self._extra_args

    async def _stop_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for child in tuple(self._children.values()):
                group.create_task(self._stop(child))

    # A message is contravariant in its actor, so each one that is overridden narrows what it takes.
    @request
    async def start_child(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, spec: ChildSpec[Any]
    ) -> ActorRef[Any]:
        """Start a child; many may be starting at once. Nothing is stored of one that does not start.

        Raises:
            TooManyChildren, StartError, Ignored
        """
        spec = self._accept(spec)
        if self._max_children is not None and len(self._children) >= self._max_children:
            raise TooManyChildren(
                f"{self._kb_cell.label()} has {len(self._children)} children "
                f"and max_children={self._max_children}"
            )
        # A number, unless the spec names an id: that one is used for the path and may repeat.
        number = next(self._numbers)
        id = number if spec.id is None else (spec.id if spec.id not in self._children else (spec.id, number))
        child = self._new_child(id, spec)
        child.status = "starting"
        # The cell's own protocol: one that is being traced runs other functions than its class says.
        if in_hand()[1][0] is not self._kb_cell.protocol[DynamicSupervisor.start_child].fn:
            return await self._start_here(child)
        reply = defer()
        try:
            cell = self._start_in_background(child, reply)
        except BaseException:
            self._forget(child)
            raise
        if child.cell is not None:
            reply.send(ActorRef(cell))
        return ActorRef(cell)

    async def _start_here(self, child: Child) -> ActorRef[Any]:
        """Start a child for a handler of a subclass: the reply to the call in hand is that handler's."""
        try:
            await self._bring_up(child)
        except BaseException:
            self._forget(child)
            raise
        assert child.cell is not None
        return ActorRef(child.cell)

    def _leave_down(self, child: Child) -> None:
        self._forget(child)

    def _over(self, child: Child) -> None:
        self._forget(child)

    @request
    async def terminate_child(self, id: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Stop a child, by its ref or its id, and forget it.

        Raises:
            ChildNotFound: there is no such child now; a ref from before a restart names nobody.
        """
        if isinstance(id, ActorRef):
            ref: ActorRef[Any] = id  # pyright: ignore[reportUnknownVariableType]
            child = self._by_cell.get(ref._target())
        else:
            child = self._get(id)
        if child is None:
            raise ChildNotFound(f"{self._kb_cell.label()} has no child {id!r} now")
        await self._stop(child)
        self._forget(child)
