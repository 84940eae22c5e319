"""Lives of a program that runs sagas, in virtual time, one after another on one store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.virtual import run_virtual

import koboshi as kb

# What steps did, in order; each test begins with an empty one.
world: list[Any] = []


def within(
    make: Callable[[], kb.Sagas[Any, Any]], work: Callable[[kb.Sagas[Any, Any]], Coroutine[Any, Any, Any]]
) -> Any:
    """One life of a program that runs these sagas."""

    async def main() -> Any:
        sagas = make()
        found: Any = None
        async with kb.Supervisor(sagas.child()):
            found = await work(sagas)
        return found

    return run_virtual(main)


async def do(what: str) -> str:
    world.append(what)
    return what


async def undo(what: str) -> None:
    world.append(f"no {what}")


async def after(seconds: float, what: str) -> str:
    await asyncio.sleep(seconds)
    return await do(what)
