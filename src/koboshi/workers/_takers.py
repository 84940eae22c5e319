"""Where outcomes go: to the futures of single calls, or to the iterator of a map."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from ._dispatch import Batch
from ._jobs import Entry, FunctionRef, encode_arguments, encode_items
from ._outcomes import Failure, decode

__all__ = ["CallTaker", "MapTaker", "Results"]

R = TypeVar("R")

_CHUNK = 512


class CallTaker:
    """Single calls: a batch's tags are their futures."""

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """Settle each future that still wants its outcome."""
        assert batch.tags is not None
        for future, outcome in zip(batch.tags, outcomes, strict=True):
            if future.done():
                continue
            value = decode(outcome)
            if type(value) is Failure:
                future.set_exception(value.error)
            else:
                future.set_result(value)


class MapTaker(Generic[R]):
    """One map: pulls items as results are consumed, keeps results until they are.

    Dropped by the user, it stops pulling once `ahead` results lie here, and is then
    collected: the pool refers to it weakly.
    """

    def __init__(
        self,
        function: FunctionRef,
        items: Iterator[Any],
        limit: int,
        ahead: int,
        retries: int,
        submit: Callable[[Batch], None],
        room: Callable[[], int],
    ) -> None:
        self.ready: deque[Any] = deque()
        self.waiter: asyncio.Future[None] | None = None
        # Jobs submitted and not delivered. With len(ready) never above `ahead`.
        self.out = 0
        self.exhausted = False
        self._function = function
        self._items = items
        self._limit = limit
        self._ahead = ahead
        self._retries = retries
        self._submit = submit
        self._room = room

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """Keep outcomes for the consumer; they are decoded when it takes them."""
        self.out -= len(outcomes)
        self.ready.extend(outcomes)
        self.wake()

    def wake(self) -> None:
        """Let a waiting consumer look again."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def close(self, error: Exception | None = None) -> None:
        """Pull no more items; `error` stands for those that will not be pulled."""
        if error is not None and not self.exhausted:
            self.ready.append(Failure(error))
        self.exhausted = True
        self.wake()

    def refill(self) -> None:
        """Submit as many more jobs as `ahead` and the pool's queue have room for."""
        while not self.exhausted:
            room = min(self._ahead - self.out - len(self.ready), self._room(), _CHUNK)
            if room <= 0 or (room < _CHUNK and self.out > self._ahead // 2):
                return
            items: list[Any] = []
            try:
                items.extend(islice(self._items, room))
            except Exception as error:
                self.close(error)
            else:
                if len(items) < room:
                    self.close()
            entries = self._encode(items)
            if entries:
                self.out += len(entries)
                self._submit(Batch(self._function, entries, self, None, self._retries))

    def _encode(self, items: list[Any]) -> list[Entry]:
        try:
            return encode_items(self._function, items, self._limit)
        except Exception:
            return list(self._encode_singly(items))

    def _encode_singly(self, items: list[Any]) -> Iterator[Entry]:
        """An item that cannot be sent costs itself only."""
        for item in items:
            try:
                yield encode_arguments(self._function, (item,), {}, self._limit)
            except Exception as error:
                self.ready.append(Failure(error))
                self.wake()


class Results(Generic[R]):
    """The results of a map, as they come. A failed job raises; iterate on to go on."""

    __slots__ = ("_ready", "_taker")

    def __init__(self, taker: MapTaker[R]) -> None:
        self._taker = taker
        self._ready = taker.ready

    def __repr__(self) -> str:
        return f"<Results ready={len(self._ready)} out={self._taker.out}>"

    def __aiter__(self) -> Results[R]:
        return self

    async def __anext__(self) -> R:
        """Return the next result; raise what its job raised.

        Raises:
            StopAsyncIteration: every item has had its result.
        """
        if not self._ready:
            await self._wait()
        outcome = self._ready.popleft()
        if type(outcome) is tuple:
            outcome = decode(outcome)
        if type(outcome) is Failure:
            raise outcome.error
        return outcome  # type: ignore[no-any-return]

    async def _wait(self) -> None:
        taker = self._taker
        while not self._ready:
            taker.refill()
            if self._ready:
                return
            if taker.exhausted and not taker.out:
                raise StopAsyncIteration
            taker.waiter = asyncio.get_running_loop().create_future()
            try:
                await taker.waiter
            finally:
                taker.waiter = None
