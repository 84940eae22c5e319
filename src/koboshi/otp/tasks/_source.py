"""Where a stream's items come from: one is read when there is a place for it, and never earlier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final, Literal, Protocol

from ..._kernel._errors import UsageError


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


PENDING: Final = _Mark("PENDING")
END: Final = _Mark("END")


class Source(Protocol):
    """Items, one by one. What reading them raised is in `error`, once they are at their `END`."""

    error: Exception | None

    def pull(self) -> Any:
        """The next item; `PENDING` when it is asked for and will be told of; `END` behind the last."""
        ...

    def stop(self) -> asyncio.Task[None] | None:
        """Read no more; a task that is over when nothing reads any more."""
        ...


class PlainSource:
    """Items of an ordinary iterable, read in the consumer's own code."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items: Iterator[Any] | None = iter(items)
        self.error: Exception | None = None

    def pull(self) -> Any:
        """See `Source`."""
        if self._items is None:
            return END
        try:
            return next(self._items)
        except StopIteration:
            self._items = None
        except Exception as error:
            self._items, self.error = None, error
        return END

    def stop(self) -> None:
        """See `Source`. A generator is left as it is: its owner may want to go on with it."""
        self._items = None


class AsyncSource:
    """Items of an asynchronous iterable, read by one asyncio task, so that results can come meanwhile.

    One task for all of them, and not one for each: a generator may hold a timeout or a task group open
    between two items.
    """

    def __init__(self, items: AsyncIterable[Any], notify: Callable[[], None]) -> None:
        self._items: AsyncIterator[Any] = aiter(items)
        self._notify = notify
        self._wanted = asyncio.Event()
        self._item: Any = PENDING
        self._over = False
        self._reader: asyncio.Task[None] | None = None
        self.error: Exception | None = None

    def pull(self) -> Any:
        """See `Source`."""
        item, self._item = self._item, PENDING
        if item is not PENDING:
            return item
        if self._over:
            return END
        self._wanted.set()
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())
        return PENDING

    async def _read(self) -> None:
        try:
            async for item in self._items:
                self._wanted.clear()
                self._item = item
                self._notify()
                await self._wanted.wait()
        except Exception as error:
            self.error = error
        finally:
            self._over = True
            self._notify()

    def stop(self) -> asyncio.Task[None] | None:
        """See `Source`."""
        self._over = True
        if self._reader is not None:
            self._reader.cancel()
        return self._reader


def source_of(items: Any, notify: Callable[[], None]) -> Source:
    """The source that reads `items`."""
    return AsyncSource(items, notify) if kind_of(items) == "async" else PlainSource(items)


def kind_of(items: Any) -> Literal["async", "plain"]:
    """Which kind of iterable it is.

    Raises:
        UsageError: it is none.
    """
    if hasattr(items, "__aiter__"):
        return "async"
    if hasattr(items, "__iter__"):
        return "plain"
    raise UsageError(f"a stream takes an iterable or an asynchronous one, got {items!r}")
