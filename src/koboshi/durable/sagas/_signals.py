"""Events that were sent to a saga, and who of its `run` waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ._journal import Ended, Signalled
from ._operation import Operation

__all__ = ["Signals"]


class Signals:
    """Of one runner.

    Args:
        write: records what is given to whom; called when `offer` is.
    """

    def __init__(self, write: Callable[[Ended], None]) -> None:
        self._write = write
        # By name, with the number of each: they are counted from 1.
        self._come: dict[str, deque[tuple[int, bytes]]] = {}
        self._count = 0
        self._waiting: dict[str, list[Operation]] = {}

    def came(self, event: Signalled) -> None:
        """One is in the journal."""
        self._count += 1
        self._come.setdefault(event.name, deque()).append((self._count, event.value))

    def taken(self, ended: Ended) -> None:
        """What the journal says has been consumed."""
        queue = self._come[ended.label.removeprefix("event ").partition("#")[0]]
        queue.remove(next(each for each in queue if each[0] == ended.signal))

    def wait(self, name: str, operation: Operation) -> None:
        """The operation takes the next one of that name for which nobody else has waited longer."""
        self._waiting.setdefault(name, []).append(operation)

    def offer(self, name: str) -> None:
        """Give what has come to those that wait for it, in order."""
        queue, waiting = self._come.get(name), self._waiting.get(name, [])
        while queue and waiting:
            operation = waiting.pop(0)
            if operation.is_open:
                number, value = queue[0]
                self._write(Ended(operation.label, value, signal=number))
