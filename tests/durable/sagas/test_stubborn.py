"""A saga whose `run` goes on although it was ended is left where it is: its program and the others go on, and end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest
from tests.durable.changes import until
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import do, within, world

import koboshi as kb
from koboshi import events
from koboshi._kernel._node import this_node

LONG = 300.0
# Of one that would go on for ever, so that a failure is no hang.
MANY = 3_000


class Deaf(kb.Saga[None, str]):
    """Waits again whatever it is told."""

    async def run(self, value: None) -> str:
        while len(world) < MANY:
            try:
                return await self.wait_event("go on", str)
            except GeneratorExit:
                raise
            except BaseException:
                world.append("caught")
        return "never"


class DeafToAll(kb.Saga[None, str]):
    """Does so even when its coroutine is closed."""

    async def run(self, value: None) -> str:
        while len(world) < MANY:
            try:
                return await self.wait_event("go on", str)
            except BaseException:
                world.append("caught")
        return "never"


class Noting(kb.Saga[None, str]):
    """Makes values before it waits again."""

    async def run(self, value: None) -> str:
        while len(world) < MANY:
            try:
                world.append(self.uuid())
                return await self.wait_event("go on", str)
            except GeneratorExit:
                raise
            except BaseException:
                world.append("caught")
        return "never"


class Branching(kb.Saga[None, str]):
    """Does so in a branch."""

    async def wait(self) -> str:
        while len(world) < MANY:
            with contextlib.suppress(asyncio.CancelledError):
                return await self.wait_event("go on", str)
            world.append("caught")
        return "never"

    async def run(self, value: None) -> str:
        found, _ = await asyncio.gather(self.wait(), self.sleep(1.0))
        return found


class Slow(kb.Saga[None, str]):
    """Waits for something else, which nobody could tell from the closing of a client."""

    async def run(self, value: None) -> str:
        while len(world) < MANY:
            with contextlib.suppress(asyncio.CancelledError):
                return await self.wait_event("go on", str)
            while len(world) < MANY:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1.0)
                world.append("caught")
        return "never"


@pytest.mark.filterwarnings("ignore:.*ignored GeneratorExit:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("cls", [Deaf, DeafToAll, Noting, Branching, Slow])
def test_a_run_that_goes_on_is_left_and_its_saga_goes_on_without_it(
    store: KeptStore, cls: type[kb.Saga[None, str]]
) -> None:
    seen: list[events.Event] = []

    async def work(sagas: kb.Sagas[None, str]) -> str:
        this_node().instruments.add(seen.append)
        ref = await sagas.start(None, id="a")
        await until(lambda: not sagas.statistics().active, sagas)
        await asyncio.sleep(LONG)
        caught = len(world)
        assert caught < MANY
        await asyncio.sleep(LONG)
        assert caught == len(world)
        assert [(f"{cls.__name__}/a", "run")] == [
            (each.process, each.message) for each in seen if isinstance(each, events.Stubborn)
        ]
        assert await ref.signal("go on", "done")
        return await ref.result(10.0)

    assert "done" == within(lambda: kb.sagas(cls, store=store, deactivate_after=10.0), work)
    gc.collect()  # what such a coroutine says then belongs to this test


@pytest.mark.parametrize("cls", [Deaf, Noting, Branching, Slow])
def test_a_run_that_goes_on_does_not_keep_its_program_from_its_end(
    store: KeptStore, cls: type[kb.Saga[None, str]]
) -> None:
    async def work(sagas: kb.Sagas[None, str]) -> None:
        await sagas.start(None, id="a")

    within(lambda: kb.sagas(cls, store=store), work)
    assert len(world) < MANY


def test_a_saga_that_is_cancelled_and_deaf_to_everything_is_undone(store: KeptStore) -> None:
    class Booked(Deaf):
        async def run(self, value: None) -> str:
            await self.step("book", do, "book", undo=unbook)
            return await super().run(value)

    async def unbook(_: str) -> None:
        undone.append("book")

    undone: list[Any] = []

    async def work(sagas: kb.Sagas[None, str]) -> None:
        ref = await sagas.start(None, id="a")
        await asyncio.sleep(1.0)
        assert await ref.cancel()
        with pytest.raises(kb.SagaCancelled):
            await ref.result(10.0)

    within(lambda: kb.sagas(Booked, store=store), work)
    assert ["book"] == undone
