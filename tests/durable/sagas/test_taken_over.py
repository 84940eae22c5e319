"""A program that has lost a saga while it stood still begins no attempt of a step any more."""

from __future__ import annotations

import asyncio
import functools

import pytest
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import do, within, world

import koboshi as kb

LONG = 300.0


class Stopped(kb.Saga[str, str]):
    """Its program ends in order while it is at an attempt; the next one loses it before it goes on with that."""

    def __init__(self, store: KeptStore) -> None:
        self._store = store

    async def run(self, where: str) -> str:
        world.append("run")
        if world.count("run") == 2:
            self._store.rows("UPDATE kb_actor SET token = x'00'")
        await self.step("first", hang if where == "step" else do, "first", undo=hang)
        raise ValueError("undo it")


async def hang(what: str) -> str:
    world.append(f"hang {what}")
    await asyncio.sleep(LONG)
    return what


@pytest.mark.parametrize(("where", "done"), [("step", []), ("undo", ["first"])])
def test_an_attempt_is_begun_again_only_by_who_has_recorded_that(
    store: KeptStore, where: str, done: list[str]
) -> None:
    def make() -> kb.Sagas[str, str]:
        return kb.sagas(functools.partial(Stopped, store), store=store)

    async def first(sagas: kb.Sagas[str, str]) -> None:
        await sagas.start(where, id="a")
        await asyncio.sleep(1.0)

    async def second(sagas: kb.Sagas[str, str]) -> None:
        await asyncio.sleep(10.0)

    within(make, first)
    assert ["run", *done, "hang first"] == world
    within(make, second)
    # The one that had lost it has done nothing but `run`, and has it again then.
    assert ["run", *done, "hang first", "run", "run", "hang first"] == world
