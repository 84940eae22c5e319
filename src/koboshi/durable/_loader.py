"""Moves jobs from the source into the ledger, never far ahead of the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from itertools import islice

from .._kernel._actor import Actor
from ._feeder import Feeder
from ._keeper import Keeper
from ._plan import Plan, Source

__all__ = ["Loader"]

_CHUNK = 256

Jobs = list[tuple[str, bytes]]


class Loader(Actor):
    """Goes through the source from its start each time it is started; known ids change nothing."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def on_start(self) -> None:
        self.continue_with()

    async def on_continue(self, value: object) -> None:
        plan = self._plan
        feeder = plan.find(Feeder, "feeder")
        # This part is the last to start, so now all are up.
        feeder.cast(Feeder.begin)
        if plan.source is not None:
            ledger = await plan.find(Keeper, "store").call(Keeper.ledger)
            async for chunk in chunks(plan.source):
                await ledger.put_many(chunk)
                feeder.cast(Feeder.loaded)
                if (await ledger.counts()).pending >= plan.ahead:
                    await feeder.call(Feeder.wait_room)
        feeder.cast(Feeder.loaded, exhausted=True)


async def chunks(source: Source) -> AsyncIterator[Jobs]:
    """The source's jobs in lists. A plain iterable is read in a thread, because it may read files."""
    jobs = source()
    if isinstance(jobs, AsyncIterable):
        async for chunk in _gathered(jobs):
            yield chunk
        return
    iterator = iter(jobs)
    while chunk := await asyncio.to_thread(lambda: list(islice(iterator, _CHUNK))):
        yield chunk


async def _gathered(jobs: AsyncIterable[tuple[str, bytes]]) -> AsyncIterator[Jobs]:
    """Lists of what comes at once: a source that waits must not hold back what it gave before."""
    queue: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(_CHUNK)

    async def read() -> None:
        try:
            async for job in jobs:
                await queue.put(job)
        finally:
            await queue.put(None)

    reader = asyncio.ensure_future(read())
    try:
        last = False
        while not last:
            taken = [await queue.get()]
            while not queue.empty() and len(taken) < _CHUNK:
                taken.append(queue.get_nowait())
            last = taken[-1] is None
            if chunk := [job for job in taken if job is not None]:
                yield chunk
        await reader  # raises what the source raised
    finally:
        reader.cancel()
