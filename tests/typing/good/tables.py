"""A correct program with tables and rings: both checkers must find nothing, and know each type exactly."""

from __future__ import annotations

from typing import Any, NamedTuple, assert_type

import koboshi as kb
from koboshi import otp


class Room(NamedTuple):
    name: str
    seats: int


def is_big(room: Room) -> bool:
    return room.seats > 10


class Rooms(kb.Actor):
    async def on_start(self) -> None:
        self.history = otp.Ring[str](100)
        self.rooms = otp.Table[Room]("rooms", kind="ordered_set", access="public")
        self.hits = await otp.DiskTable[tuple[str, int]].open("hits", auto_save=None)

    @kb.message
    async def use(self) -> otp.TableHandle[Room]:
        rooms = self.rooms
        rooms.insert(Room("hall", 200), Room("cell", 1))
        assert_type(rooms.insert_new(Room("attic", 3)), bool)
        assert_type(rooms.lookup("hall"), list[Room])
        assert_type(rooms.take("hall"), list[Room])
        assert_type(rooms.rows(), list[Room])
        assert_type(rooms.select(is_big), list[Room])
        assert_type(rooms.select((otp.ANY, 3), limit=1), list[Room])
        assert_type(rooms.select(None, lambda room: room.seats), list[int])
        assert_type(rooms.match((otp.Var("name"), otp.ANY)), list[tuple[Any, ...]])
        assert_type(rooms.select_delete(lambda room: room.seats == 1), int)
        assert_type(rooms.select_replace(is_big, lambda room: room._replace(seats=10)), int)
        assert_type(rooms.foldl(lambda total, room: total + room.seats, 0), int)
        assert_type([room.seats for room in rooms], list[int])
        assert_type(self.hits.update_counter("n", 1, ("n", 0)), int)
        assert_type(self.hits.update_counter("n", [(1, 1), (1, 2, 10, 0)]), list[int])
        assert_type(self.hits.handle, otp.TableHandle[tuple[str, int]])
        await self.hits.sync()
        self.history.append("used")
        assert_type(self.history.last(3), list[str])
        assert_type(self.history.snapshot(), tuple[str, ...])
        return rooms.handle


async def from_anywhere(rooms: otp.TableHandle[Room]) -> None:
    assert_type(await rooms.lookup("hall"), list[Room])
    assert_type(await rooms.select(is_big), list[Room])
    assert_type(await rooms.select(None, lambda room: room.name), list[str])
    assert_type(await rooms.update_counter("hall"), int)
    assert_type(rooms.local, otp.Table[Room] | None)
    await rooms.insert(Room("hall", 2))


def owner() -> kb.ChildSpec[otp.TableOwner]:
    return kb.child(otp.TableOwner, otp.TableSpec("hits", path="hits", auto_save=1.0))
