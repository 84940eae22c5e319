"""What a saga has written and is not committed yet: entries wait a moment for others, and are committed in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ._journal import Entry, Failure

__all__ = ["Owner", "Writing"]

# Seconds for which an entry that nobody waits for may wait for others, so that they are one commit.
_TOGETHER = 0.002


class Owner(Protocol):
    """Whoever keeps the journal of a saga."""

    async def record(self, entries: list[Entry]) -> None:
        """Commit entries. If it fails somebody else has the saga, or the store cannot tell."""
        ...

    async def close(self, status: str, result: Any, failure: Failure | None) -> None:
        """Commit the end of the saga, or that it needs a hand."""
        ...

    def stubborn(self) -> None:
        """Report that `run` did not end when it was ended, and is left where it is."""
        ...


class Writing:
    """The buffer of one saga.

    Args:
        record: commits entries.
        task: makes a task that ends with the saga's runner.
        lost: told of the error when entries could not be committed.
    """

    def __init__(
        self,
        record: Callable[[list[Entry]], Coroutine[Any, Any, None]],
        task: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        lost: Callable[[Exception], None],
    ) -> None:
        self._record = record
        self._task = task
        self._lost = lost
        self._buffer: list[Entry] = []
        self._sent: asyncio.Task[Any] | None = None
        self._kick: asyncio.TimerHandle | None = None
        self._ended = False

    def add(self, entry: Entry) -> None:
        """Have an entry committed soon."""
        self._buffer.append(entry)
        if self._kick is None:
            self._kick = asyncio.get_running_loop().call_later(_TOGETHER, self._send)

    @property
    def is_idle(self) -> bool:
        """Whether all that was added is committed."""
        return not self._buffer and (self._sent is None or self._sent.done())

    async def flush(self) -> None:
        """Wait until all that was added is committed, or lost."""
        self._send()
        while (sent := self._sent) is not None and not sent.done():
            await asyncio.wait([sent])

    def end(self) -> None:
        """Commit nothing more."""
        self._ended = True
        if self._kick is not None:
            self._kick.cancel()

    def _send(self) -> None:
        if self._kick is not None:
            self._kick.cancel()
            self._kick = None
        entries, self._buffer = self._buffer, []
        if entries and not self._ended:
            self._sent = self._task(self._sending(entries))

    async def _sending(self, entries: list[Entry]) -> None:
        try:
            await self._record(entries)
        except Exception as error:
            self._lost(error)
