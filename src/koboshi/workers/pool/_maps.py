"""The maps and streams of one pool: begun, kept supplied with room, closed when the pool ends."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

from ..process._jobs import FunctionRef
from ._batch import Batch
from ._stream import StreamTaker
from ._takers import MapTaker

__all__ = ["Maps"]

R = TypeVar("R")
K = TypeVar("K", bound=MapTaker[Any])


class Maps:
    """Begins maps, and refers to them weakly: one that its user has dropped stops by itself.

    Args:
        frame_limit: bytes that one item may take.
        submit: queues a batch for a lane.
        room: how many jobs there is room for.
        take_back: removes the jobs of a taker that no worker has.
    """

    def __init__(
        self,
        frame_limit: int,
        submit: Callable[[int | None, Batch], None],
        room: Callable[[], int],
        take_back: Callable[[Any], object],
    ) -> None:
        self._frame_limit = frame_limit
        self._submit = submit
        self._room = room
        self._take_back = take_back
        self._takers: weakref.WeakSet[MapTaker[Any]] = weakref.WeakSet()

    def map(
        self, kind: type[K], ref: FunctionRef, items: Any, ahead: int, retries: int, lane: int | None
    ) -> K:
        """Begin a map; `kind` says in which order results come."""
        taker = self._make(kind, ref, iter(items), ahead, retries, lane)
        taker.total = len(items) if hasattr(items, "__len__") else None
        taker.refill()
        return taker

    def stream(
        self,
        kind: type[StreamTaker[R]],
        ref: FunctionRef,
        items: Any,
        ahead: int,
        retries: int,
        lane: int | None,
    ) -> tuple[StreamTaker[R], Callable[[], asyncio.Task[None] | None]]:
        """Begin a stream; also returns what ends it early."""
        if hasattr(items, "__aiter__"):
            source: AsyncIterator[Any] = aiter(items)
            taker = self._make(kind, ref, iter(()), ahead, retries, lane)
            taker.feed(source)
        else:
            taker = self.map(kind, ref, items, ahead, retries, lane)
        return taker, functools.partial(self._halt, taker)

    def _make(
        self,
        kind: type[K],
        ref: FunctionRef,
        items: Iterator[Any],
        ahead: int,
        retries: int,
        lane: int | None,
    ) -> K:
        submit = functools.partial(self._submit, lane)
        taker = kind(ref, items, self._frame_limit, ahead, retries, submit, self._room)
        self._takers.add(taker)
        return taker

    def _halt(self, taker: StreamTaker[Any]) -> asyncio.Task[None] | None:
        if taker.out:
            self._take_back(taker)
        return taker.halt()

    def refill(self) -> None:
        """There may be room for more jobs."""
        for taker in list(self._takers):
            taker.refill()

    def close(self, error: Callable[[str], Exception]) -> None:
        """Pull no more items; each map ends with the error that is made from its function's name."""
        takers, self._takers = list(self._takers), weakref.WeakSet()
        for taker in takers:
            taker.close(error(taker.name))
