"""Streams: maps over sources that may be asynchronous or endless, and that can be ended early."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from ._batch import Batch
from ._takers import OrderedTaker, Results

__all__ = ["Stream", "StreamTaker", "UnorderedStreamTaker"]

R = TypeVar("R")


class StreamTaker(OrderedTaker[R]):
    """A map in order that can be halted, and whose items may come from an asynchronous iterator.

    What is in flight, waits behind a slow head or lies ready is never more than `ahead` in all.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.halted = False
        self._feeder: asyncio.Task[None] | None = None
        # Set while the feeder waits for room.
        self._more: asyncio.Future[None] | None = None

    def feed(self, source: AsyncIterator[Any]) -> None:
        """Take items from `source`, in place of those that this was made with."""
        self._feeder = asyncio.get_running_loop().create_task(self._pull(source))

    def wants(self, tag: object) -> bool:
        """Nothing once it is halted."""
        return not self.halted

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """Keep outcomes, unless nobody will come for them."""
        if not self.halted:
            super().deliver(batch, outcomes)

    def refill(self) -> None:
        """Submit more jobs; with an asynchronous source, have it asked for more."""
        if self._feeder is None:
            super().refill()
        elif self._more is not None and not self._more.done() and self.free() > 0:
            self._more.set_result(None)

    def close(self, error: Exception | None = None) -> None:
        """Pull no more items, not even one that is being waited for."""
        super().close(error)
        if self._feeder is not None and self._feeder is not _current_task():
            self._feeder.cancel()

    def halt(self) -> asyncio.Task[None] | None:
        """Want nothing any more; returns the task that still holds the source, if there is one."""
        self.halted = True
        self.out = 0
        self.ready.clear()
        self._early.clear()
        self.close()
        return self._feeder

    async def _pull(self, source: AsyncIterator[Any]) -> None:
        try:
            await self._pull_all(source)
        finally:
            # A generator that waits in the middle would be finished by the collector, some day.
            if isinstance(source, AsyncGenerator):
                await source.aclose()  # pyright: ignore[reportUnknownMemberType]

    async def _pull_all(self, source: AsyncIterator[Any]) -> None:
        while not self.exhausted:
            if self.free() <= 0:
                self._more = asyncio.get_running_loop().create_future()
                await self._more
                continue
            try:
                item = await anext(source)
            except StopAsyncIteration:
                self.close()
            except Exception as error:  # it stands at its place, as one of a synchronous source does
                self.close(error)
            else:
                self._send([item])


class UnorderedStreamTaker(StreamTaker[R]):
    """The same with results as they come."""

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        if not self.halted:
            self.count(outcomes)
            self.out -= len(outcomes)
            self.ready.extend(outcomes)
            self.wake()

    def put_last(self, failure: Any) -> None:
        self.ready.append(failure)
        self.wake()


class Stream(Results[R]):
    """The results of a stream. Left early, or dropped, it cancels the jobs that no worker has.

    `async with` makes sure of that, as does `aclose`. An asynchronous generator that it takes items from is
    closed with it.
    """

    __slots__ = ("_failures_as_values", "_halt", "_loop")

    def __init__(self, taker: StreamTaker[R], halt: Callable[[], Any], failures_as_values: bool) -> None:
        super().__init__(taker)
        self._halt = halt
        self._failures_as_values = failures_as_values
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        """Return the next result; raise what its job raised, or return that as asked for."""
        if not self._failures_as_values:
            return await super().__anext__()
        value: Any = await self._next()
        return value  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Cancel the jobs that no worker has, and wait until the source is let go of.

        Harmless if repeated.
        """
        feeder: asyncio.Task[None] | None = self._halt()
        if feeder is not None:
            await asyncio.wait([feeder])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # Perhaps in another thread, or in the middle of anything. A loop that is closed has nothing left.
        with contextlib.suppress(RuntimeError, AttributeError):
            self._loop.call_soon_threadsafe(self._halt)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
