"""Timers that send: once or again and again, cancelled with what was left of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._bonds import bonds_of
from ._cell import DEAD
from ._errors import CallError, UsageError
from ._events import Dropped

if TYPE_CHECKING:
    from ._node import Node
    from ._ref import ActorRef


class Timer:
    """A message that is sent later. It ends with its target, and a stable target that restarts keeps it."""

    __slots__ = ("_due", "_handle", "_node", "_repeat", "_seconds", "_send", "_target")

    def __init__(
        self, node: Node, seconds: float, send: Callable[[], None], target: ActorRef[Any], *, repeat: bool
    ) -> None:
        if not seconds >= 0 or (repeat and seconds == 0):
            raise UsageError(
                f"a timer takes seconds {'> 0 to repeat' if repeat else '>= 0'}, got {seconds!r}"
            )
        self._node = node
        self._seconds = seconds
        self._send = send
        self._target = target
        self._repeat = repeat
        self._due = node.loop.time() + seconds
        self._handle: asyncio.TimerHandle | None = None
        if target._place is None:
            if target._cell.state == DEAD:
                return  # nobody would ever end it
            bonds = bonds_of(target._cell)
            if bonds.timers is None:
                bonds.timers = {}
            bonds.timers[self] = None
        self._handle = node.loop.call_at(self._due, self._fire, context=node.context)

    def cancel(self) -> float | None:
        """Stop the timer; the seconds that were left, or None when it was over already."""
        handle, self._handle = self._handle, None
        self._forget()
        if handle is None:
            return None
        handle.cancel()
        return max(0.0, self._due - self._node.loop.time())

    @property
    def left(self) -> float | None:
        """Seconds until it sends; None when it is over."""
        return None if self._handle is None else max(0.0, self._due - self._node.loop.time())

    def _fire(self) -> None:
        self._handle = None
        if self._repeat:
            self._due += self._seconds
            self._handle = self._node.loop.call_at(self._due, self._fire, context=self._node.context)
        else:
            self._forget()
        try:
            self._send()
        except CallError as refused:  # nobody is there to hear of a full mailbox
            self._node.instruments.emit(Dropped(repr(self._target), str(refused), 0))

    def _forget(self) -> None:
        bonds = self._target._cell.bonds
        if bonds is not None and bonds.timers is not None:
            bonds.timers.pop(self, None)

    def __repr__(self) -> str:
        left = self.left
        return f"<Timer {'over' if left is None else f'{left:.3f} s left'} to {self._target!r}>"
