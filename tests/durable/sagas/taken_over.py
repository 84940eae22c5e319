"""A saga of another program, which is killed while it waits.

python -m tests.durable.sagas.taken_over URL
"""

from __future__ import annotations

import asyncio
import sys

from tests.durable.changes import until

import koboshi as kb


async def book(name: str) -> str:
    return f"booked {name}"


async def unbook(booked: str) -> None:
    assert booked.startswith("booked")


async def find_room(name: str) -> None:
    if name == "bad":
        raise ValueError("no room")


class Booking(kb.Saga[str, str]):
    async def run(self, name: str) -> str:
        booked = await self.step("book", book, name, undo=unbook)
        await self.sleep(0.01)
        await self.step("room", find_room, name)
        if name in ("waiting", "theirs"):
            await self.wait_event("go on", int, timeout=3_600.0)
        return booked


async def waits(saga: kb.SagaRef[str]) -> bool:
    """Whether it runs here and has come to its event."""
    return "event go on" in (await saga.status()).waiting


async def main(url: str) -> None:
    """Start one and wait for the end."""
    sagas = kb.sagas(Booking, store=url, lease=3.0)
    async with kb.Supervisor(sagas.child()):
        ref = await sagas.start("theirs", id="theirs")
        await until(lambda: waits(ref), sagas)
        print("started", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
