"""A dynamic tree that comes back: its children are noted in a disk table and started again.

Run it with:  .venv/bin/python examples/restored_rooms.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import koboshi as kb
from koboshi import otp


class Room(kb.Actor):
    def __init__(self, name: str, seats: int) -> None:
        self.name, self.seats = name, seats

    @kb.message
    def describe(self) -> str:
        return f"{self.name} with {self.seats} seats"


class Rooms(kb.Actor):
    """Opens and closes rooms. What is open is noted, and opened again whenever this actor starts."""

    async def on_start(self) -> None:
        self.noted: otp.TableHandle[tuple[str, int]] = otp.table("tables", "rooms")
        self.supervisor = kb.named(kb.DynamicSupervisor, "room supervisor")
        for name, seats in await self.noted.rows():
            await self.start(name, seats)

    async def start(self, name: str, seats: int) -> None:
        spec = kb.child(Room, name, seats).options(id=name, name=("room", name))
        await self.supervisor.call(kb.DynamicSupervisor.start_child, spec)

    @kb.message
    async def open(self, name: str, seats: int) -> bool:
        """False when there is one of this name."""
        # Noted first: a crash in between opens the room at the next start, and does not lose it.
        if not await self.noted.insert_new((name, seats)):
            return False
        await self.noted.sync()
        await self.start(name, seats)
        return True

    @kb.message
    async def close(self, name: str) -> None:
        await self.noted.delete(name)
        await self.noted.sync()
        await self.supervisor.call(kb.DynamicSupervisor.terminate_child, name)


def tree(file: Path) -> kb.Supervisor:
    """When one of them goes, those behind it are started again: the rooms' supervisor takes `Rooms` along."""
    return kb.Supervisor(
        kb.child(otp.TableOwner, otp.TableSpec("rooms", kind="ordered_set", path=file)).options(
            name="tables"
        ),
        kb.child(kb.DynamicSupervisor).options(name="room supervisor"),
        kb.child(Rooms).options(id="rooms", name="rooms"),
        strategy="rest_for_one",
    )


async def show(title: str) -> None:
    names = [name for name, _ in await otp.table("tables", "rooms").rows()]
    rooms = [await kb.named(Room, ("room", name)).call(Room.describe) for name in names]
    print(f"{title}: {', '.join(rooms)}")


async def main(file: Path) -> None:
    async with tree(file) as running:
        rooms = kb.named(Rooms, "rooms")
        for name, seats in (("hall", 200), ("attic", 12), ("cell", 1)):
            await rooms.call(Rooms.open, name, seats)
        await rooms.call(Rooms.close, "attic")
        await show("opened")
        supervisor = kb.whereis("room supervisor")
        assert supervisor is not None
        supervisor.kill()
        await supervisor.wait_exit()
        await running.wait_ready()
        await show("after a crash of their supervisor")
    async with tree(file):
        await show("after a restart of the program")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        kb.run(lambda: main(Path(folder, "rooms.table")))
