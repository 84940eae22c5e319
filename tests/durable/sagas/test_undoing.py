"""Sagas in virtual time: undoing, changes of the code, and what runs side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import after, do, undo, within, world

import koboshi as kb

# Tries of one that would go on for ever.
MANY = 3_000
SLOW = kb.Backoff(10.0, 1_000.0, 2.0, 0.0)


class Doing(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        await self.step("a", do, "a", undo=undo)
        await self.step("b", do, "b", undo=undo)
        if how == "fail":
            raise ValueError("no more")
        await self.wait_event("go on")
        return await self.step("c", do, "c")


def test_a_cancelled_saga_is_undone_last_in_first_out(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[str, str]) -> Any:
        ref = await sagas.start("wait", id="x")
        await asyncio.sleep(1)
        assert ["x"] == await sagas.alive()
        assert ("event go on",) == (await ref.status()).waiting
        assert await ref.cancel()
        with pytest.raises(kb.SagaCancelled):
            await ref.result()
        assert not await ref.cancel()
        return (await ref.status()).status

    assert "cancelled" == within(lambda: kb.sagas(Doing, store=store), work)
    assert ["a", "b", "no b", "no a"] == world


@pytest.mark.parametrize("value", [False, True], ids=["waiting", "making values"])
def test_a_run_that_catches_that_it_was_cancelled_and_tries_again_is_ended_and_undone(
    store: KeptStore, value: bool
) -> None:
    tries: list[int] = []

    class Polling(kb.Saga[None, str]):
        async def run(self, nothing: None) -> str:
            caught: type[Exception] | None = None
            await self.step("a", do, "a", undo=undo)
            while True:
                tries.append(len(tries))
                if len(tries) == MANY:
                    return f"it spins with {caught}"
                try:
                    if value:
                        self.now()
                    return await self.wait_event("answer", str, timeout=10.0)
                except Exception as error:  # as one does who polls a service
                    caught = type(error)

    async def work(sagas: kb.Sagas[None, str]) -> Any:
        ref = await sagas.start(None, id="x")
        await asyncio.sleep(1)
        assert await ref.cancel()
        with pytest.raises(kb.SagaCancelled):
            await ref.result(10.0)
        return (await ref.status()).status

    assert "cancelled" == within(lambda: kb.sagas(Polling, store=store), work)
    assert ["a", "no a"] == world
    assert len(tries) < MANY


class Stubborn(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        await self.step("a", do, "a", undo=undo)
        await self.step("b", do, "b", undo=break_down)
        raise ValueError("no more")


broken = [True]


async def break_down(what: str) -> None:
    if broken[0]:
        world.append("breaks")
        raise OSError("the bank is closed")
    await undo(what)


def test_a_compensation_that_fails_for_good_is_a_dead_letter_until_it_is_retried(store: KeptStore) -> None:
    def make() -> kb.Sagas[str, str]:
        return kb.sagas(Stubborn, store=store, undo_retries=2, undo_backoff=SLOW)

    async def first(sagas: kb.Sagas[str, str]) -> None:
        broken[0] = True
        ref = await sagas.start("x", id="x")
        with pytest.raises(kb.SagaFailed, match="not undone") as caught:
            await ref.result()
        assert not caught.value.undone
        status = await ref.status()
        assert "dead" == status.status
        assert "the bank is closed" in status.report
        assert (["x"], []) == (await sagas.dead(), await sagas.alive())

    async def second(sagas: kb.Sagas[str, str]) -> str:
        broken[0] = False
        await asyncio.sleep(10)
        assert "dead" == (await sagas["x"].status()).status
        assert await sagas["x"].retry()
        assert not await sagas["x"].retry()
        with pytest.raises(kb.SagaFailed, match="no more"):
            await sagas["x"].result()
        return (await sagas["x"].status()).status

    within(make, first)
    assert ["a", "b", "breaks", "breaks", "breaks"] == world
    assert "failed" == within(make, second)
    assert ["no b", "no a"] == world[5:]


class Renamed(Doing):
    async def run(self, how: str) -> str:
        await self.step("a", do, "a", undo=undo)
        await self.step("B", do, "b", undo=undo)
        await self.wait_event("go on")
        return "x"


class Reordered(Doing):
    async def run(self, how: str) -> str:
        await self.step("b", do, "b", undo=undo)
        await self.step("a", do, "a", undo=undo)
        await self.wait_event("go on")
        return "x"


class Removed(Doing):
    async def run(self, how: str) -> str:
        await self.step("a", do, "a", undo=undo)
        await self.wait_event("go on")
        return "x"


class EndsEarly(Doing):
    async def run(self, how: str) -> str:
        return await self.step("a", do, "a", undo=undo)


class Sequential(Doing):
    async def run(self, how: str) -> str:
        await asyncio.sleep(3_600)
        return "waits for something that is no operation"


@pytest.mark.parametrize(
    ("changed", "expected", "found"),
    [
        (Renamed, "step b", "step B"),
        (Reordered, "step a", "step b"),
        (Removed, "step b", "event go on"),
        (EndsEarly, "step b", "its end"),
        (Sequential, "step a", "no operation"),
    ],
)
def test_a_changed_saga_is_parked_and_goes_on_with_the_code_as_it_was(
    store: KeptStore, changed: Any, expected: str, found: str
) -> None:
    async def first(sagas: kb.Sagas[str, str]) -> None:
        await sagas.start("wait", id="x")
        await asyncio.sleep(1)

    async def second(sagas: kb.Sagas[str, str]) -> Any:
        await asyncio.sleep(10)
        parked = (await sagas["x"].status()).parked
        assert isinstance(parked, kb.SagaChanged)
        assert "Doing/x" == parked.saga
        assert expected in parked.expected
        assert found in parked.found
        # What is sent to it meanwhile is kept.
        assert await sagas["x"].signal("go on")

    async def third(sagas: kb.Sagas[str, str]) -> str:
        return await sagas["x"].result(5.0)

    within(lambda: kb.sagas(Doing, store=store), first)
    within(lambda: kb.sagas(changed, store=store, type="Doing"), second)
    assert ["a", "b"] == world
    assert "c" == within(lambda: kb.sagas(Doing, store=store), third)
    assert ["a", "b", "c"] == world


class Branches(kb.Saga[str, list[str]]):
    async def run(self, how: str) -> list[str]:
        return list(await asyncio.gather(*(self.branch(number) for number in range(4))))

    async def branch(self, number: int) -> str:
        await self.step(f"first {number}", after, float(5 - number), f"first {number}", undo=undo)
        await self.sleep(float(number))
        return await self.step(f"second {number}", after, 3.0, f"second {number}", undo=undo)


@pytest.mark.parametrize("life", [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5])
def test_branches_side_by_side_go_on_after_a_restart_at_any_time(store: KeptStore, life: float) -> None:
    async def first(sagas: kb.Sagas[str, list[str]]) -> None:
        await sagas.start("x", id="x")
        await asyncio.sleep(life)

    async def second(sagas: kb.Sagas[str, list[str]]) -> list[str]:
        return await sagas["x"].result(100.0)

    within(lambda: kb.sagas(Branches, store=store), first)
    done = list(world)
    assert [f"second {number}" for number in range(4)] == within(
        lambda: kb.sagas(Branches, store=store), second
    )
    # Nothing that was recorded is done again.
    assert len(world) == len(set(world)) == 8, (done, world)
