"""A queue's operations on a store without anything that runs tasks: what each of them leaves in the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.durable.tasks import work

import koboshi as kb
from koboshi.durable.stores import Engine, Store
from koboshi.durable.tasks import TaskRow
from koboshi.durable.tasks._claim import Claim, Claimed, Claims, Recover
from koboshi.durable.tasks._look import Cancel, Purge, Requeue, TaskInfo, read
from koboshi.durable.tasks._put import PutTasks
from koboshi.durable.tasks._settle import Settle, Settlement
from koboshi.durable.tasks._vault import Vault

__all__ = ["Desk", "desks"]

NAME = "desk"


class Desk:
    """One program's hand on the queue `desk`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.queue = kb.Queue(NAME, store="memory://never opened")

    def row(self, number: int = 1, **options: Any) -> TaskRow:
        return self.queue.options(**options).row(work.add, number)

    async def put(self, *, limit: int | None = None, **options: Any) -> tuple[str, bool]:
        found = await self.store.run(PutTasks([self.row(**options)], limit))
        return found[0] if found else ("full", False)

    async def claims(self, most: int = 10, rate: kb.Rate | None = None) -> Claims:
        return await self.store.run(Claim(NAME, self.store.host, most, rate))

    async def claim(self, most: int = 10, rate: kb.Rate | None = None) -> list[Claimed]:
        return (await self.claims(most, rate)).claimed

    async def settle(self, claimed: Claimed, kind: Any = "done", **options: Any) -> bool:
        result = b"\x02" if kind == "done" else None
        operation = Settle()
        operation.settlements.append(Settlement(claimed, kind, result, **options))
        return (await self.store.run(operation))[0]

    async def cancel(self, id: str, keep: float | None = 100.0) -> bool:
        return await self.store.run(Cancel(NAME, id, keep))

    async def requeue(self, *ids: str) -> int:
        return await self.store.run(Requeue(NAME, ids))

    async def purge(self, keep_dead: float | None = None) -> int:
        return await self.store.run(Purge(NAME, keep_dead))

    async def recover(self, *, own: bool = False) -> int:
        return await self.store.run(Recover(NAME, self.store.host, own=own, counts=lambda _: True))

    async def info(self, id: str) -> TaskInfo | None:
        return await self.store.read(lambda session: read(session, NAME, Vault(NAME, None), id))

    async def state(self, id: str) -> str | None:
        found = await self.info(id)
        return None if found is None else found.state


@asynccontextmanager
async def desks(count: int, make: Callable[[], Engine]) -> AsyncIterator[list[Desk]]:
    """Several programs' hands on one queue."""
    async with AsyncExitStack() as stack:
        found: list[Desk] = []
        for _ in range(count):
            store = Store(make())
            await store.open()
            stack.push_async_callback(store.close)
            found.append(Desk(store))
        yield found
