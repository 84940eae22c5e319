"""Moves tasks from the source into the queue, never far ahead of the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import islice
from typing import Any

from ..._kernel._actor import Actor
from ..tasks._options import PutOptions
from ..tasks._putting import put_in, row_of
from ._plan import Plan, Source
from ._tally import Tally

__all__ = ["Loader", "chunks", "put_pairs"]

_CHUNK = 256

Pairs = list[tuple[str, Any]]


class Loader(Actor):
    """Goes through the source from its start each time it is started; known ids change nothing."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def on_start(self) -> None:
        self.continue_with()

    async def on_continue(self, value: object) -> None:
        plan = self._plan
        tally = plan.find(Tally, "tally")
        tally.cast(Tally.exhausted, False)
        if plan.source is not None:
            async for chunk in chunks(plan.source, min(_CHUNK, plan.queue.plan.limit or _CHUNK)):
                await put_pairs(plan, chunk)
        tally.cast(Tally.exhausted, True)


async def put_pairs(plan: Plan, pairs: Iterable[tuple[str, Any]]) -> list[bool]:
    """Puts tasks in portions, each when there is room for it; for each, whether its id was new."""
    iterator, size = iter(pairs), min(_CHUNK, plan.queue.plan.limit or _CHUNK)
    found: list[bool] = []
    while portion := list(islice(iterator, size)):
        rows = [
            row_of(plan.queue.plan, plan.work, (argument,), {}, PutOptions(id=id)) for id, argument in portion
        ]
        found += [new for _, new in await put_in(plan.live(), plan.queue.plan, rows, "wait")]
    return found


async def chunks(source: Source[Any], size: int = _CHUNK) -> AsyncIterator[Pairs]:
    """The source's tasks in lists. A plain iterable is read in a thread, because it may read files."""
    tasks = source()
    if isinstance(tasks, AsyncIterable):
        async for chunk in _gathered(tasks, size):
            yield chunk
        return
    iterator = iter(tasks)
    while chunk := await asyncio.to_thread(lambda: list(islice(iterator, size))):
        yield chunk


async def _gathered(tasks: AsyncIterable[tuple[str, Any]], size: int) -> AsyncIterator[Pairs]:
    """Lists of what comes at once: a source that waits must not hold back what it gave before."""
    queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue(size)

    async def read() -> None:
        try:
            async for task in tasks:
                await queue.put(task)
        finally:
            await queue.put(None)

    reader = asyncio.ensure_future(read())
    try:
        last = False
        while not last:
            taken = [await queue.get()]
            while not queue.empty() and len(taken) < size:
                taken.append(queue.get_nowait())
            last = taken[-1] is None
            if chunk := [task for task in taken if task is not None]:
                yield chunk
        await reader  # raises what the source raised
    finally:
        reader.cancel()
