"""A saga whose `run` has work of its own going beside what it waits for stays in memory until that is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.durable.changes import until
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import within, world

import koboshi as kb

LONG = 300.0


class Waits(kb.Saga[None, str]):
    """One that does it in some way."""

    async def paid(self) -> str:
        return await self.wait_event("paid", str)

    async def work(self) -> None:
        await asyncio.sleep(LONG)
        world.append("worked")


class Beside(Waits):
    async def run(self, value: None) -> str:
        paid = asyncio.create_task(self.paid())
        await self.work()
        return await paid


class OwnFuture(Waits):
    async def run(self, value: None) -> str:
        paid = asyncio.create_task(self.paid())
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(LONG, done.set_result, None)
        await done
        world.append("worked")
        return await paid


class Gathered(Waits):
    async def run(self, value: None) -> str:
        paid, _ = await asyncio.gather(self.paid(), self.work())
        return paid


class Deep(Waits):
    async def run(self, value: None) -> str:
        async def more() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.sleep(2 * LONG))
                group.create_task(self.work())

        paid, _ = await asyncio.gather(self.paid(), more())
        return paid


class Background(Waits):
    async def run(self, value: None) -> str:
        work = asyncio.create_task(self.work())
        paid = await self.paid()
        await work
        return paid


class InAGroup(Waits):
    async def run(self, value: None) -> str:
        async with asyncio.TaskGroup() as group:
            paid = group.create_task(self.paid())
            group.create_task(self.work())
        return paid.result()


class AnEvent(Waits):
    async def run(self, value: None) -> str:
        done = asyncio.Event()

        async def work() -> None:
            await self.work()
            done.set()

        # What sets it is not known to be of the saga.
        keep = asyncio.get_running_loop().create_task(work())
        paid = asyncio.create_task(self.paid())
        await done.wait()
        await keep
        return await paid


class Clock(Waits):
    async def run(self, value: None) -> str:
        try:
            async with asyncio.timeout(LONG):
                return await self.paid()
        except TimeoutError:
            world.append("worked")
        return await self.paid()


class ClockOfOneWait(Waits):
    async def run(self, value: None) -> str:
        try:
            return await asyncio.wait_for(self.paid(), LONG)
        except TimeoutError:
            world.append("worked")
        return await self.paid()


async def asleep(sagas: kb.Sagas[Any, Any]) -> None:
    await until(lambda: not sagas.statistics().active, sagas)


def lives(
    store: KeptStore,
    cls: type[Waits],
    work: Callable[[kb.Sagas[None, str], kb.SagaRef[str]], Coroutine[Any, Any, Any]],
) -> Any:
    async def main(sagas: kb.Sagas[None, str]) -> Any:
        return await work(sagas, await sagas.start(None, id="a"))

    return within(lambda: kb.sagas(cls, store=store, deactivate_after=1.0), main)


@pytest.mark.parametrize(
    "cls",
    [Beside, OwnFuture, Gathered, Deep, Background, InAGroup, AnEvent, Clock, ClockOfOneWait],
)
def test_one_with_work_of_its_own_is_awake_until_that_is_done(store: KeptStore, cls: type[Waits]) -> None:
    async def work(sagas: kb.Sagas[None, str], ref: kb.SagaRef[str]) -> None:
        await asyncio.sleep(LONG - 1.0)
        assert [] == world
        assert 1 == sagas.statistics().active
        await until(lambda: bool(world), sagas)
        assert ["worked"] == world
        await asleep(sagas)

    lives(store, cls, work)


class AwaitsTasks(Waits):
    async def run(self, value: None) -> str:
        paid = asyncio.create_task(self.paid())
        later = asyncio.create_task(self.sleep(LONG))
        found = await paid
        await later
        return found


class GathersWaits(Waits):
    async def run(self, value: None) -> str:
        async def more() -> None:
            await asyncio.gather(self.wait_event("more"), self.sleep(LONG))

        paid, _, _ = await asyncio.gather(
            self.paid(), asyncio.gather(more(), self.sleep(1.0)), asyncio.sleep(0)
        )
        return paid


class GroupsWaits(Waits):
    async def run(self, value: None) -> str:
        async with asyncio.TaskGroup() as group:
            paid = group.create_task(self.paid())
            group.create_task(self.wait_event("more"))
            async with asyncio.timeout(None), asyncio.TaskGroup() as inner:
                inner.create_task(self.sleep(LONG))
                await self.sleep(1.0)
        return paid.result()


@pytest.mark.parametrize("cls", [AwaitsTasks, GathersWaits, GroupsWaits])
def test_one_whose_branches_only_wait_leaves_memory(store: KeptStore, cls: type[Waits]) -> None:
    async def work(sagas: kb.Sagas[None, str], ref: kb.SagaRef[str]) -> str:
        for name in ("more", "paid"):
            await asleep(sagas)
            assert await ref.signal(name, name)
        return await ref.result(2 * LONG)

    assert "paid" == lives(store, cls, work)


def test_a_task_factory_of_the_program_makes_the_tasks_of_run_too(store: KeptStore) -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **options)

    async def work(sagas: kb.Sagas[None, str], ref: kb.SagaRef[str]) -> str:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        await asleep(sagas)
        assert await ref.signal("more")
        assert await ref.signal("paid", "yes")
        found = await ref.result(2 * LONG)
        assert factory == loop.get_task_factory()
        return found

    assert "yes" == lives(store, GathersWaits, work)
    assert "Waits.paid" in made
