"""An event loop in virtual time: when nothing is ready, its clock jumps to the next timer.

Whatever waits in a test under this loop costs no time at all, and happens in the order of its
deadlines on every machine. It is for code that waits on timers and messages only: a loop that waits
for a socket or a thread does not know how long that takes, so with real input use the real loop.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _NoWait(selectors.DefaultSelector):
    """Polls, and moves the loop's clock by the time that would have been waited."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                # Nothing is scheduled: only another thread or a socket could go on.
                return super().select(0.05)
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop whose `time()` is virtual and starts at 1,000 s."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _NoWait()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main()` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
