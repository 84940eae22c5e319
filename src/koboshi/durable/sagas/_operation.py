"""One operation of a saga's `run` that takes time: a step, a wait for an event, a sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ._journal import Began, Ended

__all__ = ["Operation"]


class Operation:
    """It has been begun; `future` has its end."""

    __slots__ = (
        "began",
        "execute",
        "future",
        "label",
        "resumed",
        "task",
        "undo",
    )

    def __init__(
        self,
        began: Began,
        execute: Callable[[Operation], Coroutine[Any, Any, None]],
        undo: Callable[[bytes], Coroutine[Any, Any, tuple[Any, bool]]] | None,
        resumed: bool,
    ) -> None:
        self.label = began.label
        self.began = began
        self.execute = execute
        self.undo = undo
        # Whether it was begun by an earlier run of the program.
        self.resumed = resumed
        self.future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None

    @property
    def is_wait(self) -> bool:
        """Whether nothing is done until it ends."""
        return not self.label.startswith("step ")

    @property
    def is_open(self) -> bool:
        """Whether it has no end yet."""
        return not self.future.done()
