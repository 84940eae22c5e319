"""A state that is a Protobuf message: kept in its own encoding, and read by its own rules."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

import koboshi as kb
from koboshi.durable.actors._codec import codec_of

Field = FieldDescriptorProto


def _basket() -> Any:
    """What protoc makes of `message Basket { string owner = 1; int64 total = 2; map<string, int32> items = 3; }`."""
    file = FileDescriptorProto(name="basket.proto", package="shop", syntax="proto3")
    basket = file.message_type.add(name="Basket")
    basket.field.add(name="owner", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    basket.field.add(name="total", number=2, type=Field.TYPE_INT64, label=Field.LABEL_OPTIONAL)
    entry = basket.nested_type.add(name="ItemsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=Field.TYPE_INT32, label=Field.LABEL_OPTIONAL)
    items = basket.field.add(name="items", number=3, type=Field.TYPE_MESSAGE, label=Field.LABEL_REPEATED)
    items.type_name = ".shop.Basket.ItemsEntry"
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("shop.Basket"))


Basket: Any = _basket()


class Shopper(kb.DurableActor[Basket]):
    @kb.message
    def add(self, item: str, count: int) -> int:
        self.state.items[item] += count
        self.state.total += count
        if count < 0:
            raise kb.Refused("counts are positive")
        return int(self.state.total)

    @kb.message
    def items(self) -> dict[str, int]:
        return dict(self.state.items)

    @kb.message
    def spoil(self) -> None:
        self.state = "no basket"

    @kb.message
    def sort(self) -> None:
        """The same items, put in again in another order: no change."""
        items = sorted(self.state.items.items(), reverse=True)
        self.state.items.clear()
        self.state.items.update(items)


class Named(Shopper):
    schema_version = 2
    upcasters: ClassVar = {1: lambda old: Basket(owner="of version 1", total=old.total)}

    @kb.message
    def owner(self) -> str:
        return f"{self.state.owner}, {self.state.total}"


class Plain(kb.DurableActor[dict[str, int]]):
    def initial(self) -> dict[str, int]:
        return {}

    @kb.message
    def put(self, name: str, value: int) -> None:
        self.state[name] = value


def revision(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection, connection:
        found = connection.execute("SELECT revision FROM kb_actor").fetchone()
    return int(found[0])


async def test_it_is_there_again_after_a_restart_in_its_own_encoding(url: str, file: Path) -> None:
    shoppers = kb.durable(Shopper, store=url)
    async with kb.Supervisor(shoppers.child()):
        await shoppers["ada"].call(Shopper.add, "tea", 2)
        assert 5 == await shoppers["ada"].call(Shopper.add, "milk", 3)

    again = kb.durable(Shopper, store=url)
    async with kb.Supervisor(again.child()):
        assert {"tea": 2, "milk": 3} == await again["ada"].call(Shopper.items)
    with closing(sqlite3.connect(file)) as connection, connection:
        [(codec, stored)] = connection.execute("SELECT codec, state FROM kb_actor").fetchall()
    assert "protobuf" == codec
    assert stored.endswith(Basket(total=5, items={"tea": 2, "milk": 3}).SerializeToString(deterministic=True))


async def test_a_refused_turn_that_changed_it_in_place_is_undone(url: str) -> None:
    shoppers = kb.durable(Shopper, store=url)
    async with kb.Supervisor(shoppers.child()):
        await shoppers["ada"].call(Shopper.add, "tea", 2)
        with pytest.raises(kb.Refused):
            await shoppers["ada"].call(Shopper.add, "tea", -1)

        assert {"tea": 2} == await shoppers["ada"].call(Shopper.items)


async def test_the_order_of_a_map_is_no_change(url: str, file: Path) -> None:
    shoppers = kb.durable(Shopper, store=url)
    async with kb.Supervisor(shoppers.child()):
        for number in range(40):
            await shoppers["ada"].call(Shopper.add, f"item {number}", 1)
        await shoppers["ada"].call(Shopper.sort)

    assert 40 == revision(file)


async def test_what_is_no_such_message_is_refused_and_the_state_stays(url: str) -> None:
    shoppers = kb.durable(Shopper, store=url)
    async with kb.Supervisor(shoppers.child()):
        await shoppers["ada"].call(Shopper.add, "tea", 2)
        with pytest.raises(kb.ActorExited, match="a message Basket is to be stored, got 'no basket'"):
            await shoppers["ada"].call(Shopper.spoil)

        assert {"tea": 2} == await shoppers["ada"].call(Shopper.items)


async def test_an_upcaster_takes_the_older_message_and_gives_the_newer(url: str) -> None:
    shoppers = kb.durable(Shopper, store=url, type="Shopper")
    async with kb.Supervisor(shoppers.child()):
        await shoppers["ada"].call(Shopper.add, "tea", 2)

    named = kb.durable(Named, store=url, type="Shopper")
    async with kb.Supervisor(named.child()):
        assert "of version 1, 2" == await named["ada"].call(Named.owner)


async def test_a_state_of_another_codec_is_not_taken_for_one(url: str) -> None:
    plain = kb.durable(Plain, store=url, type="Shopper")
    async with kb.Supervisor(plain.child()):
        await plain["ada"].call(Plain.put, "total", 7)

    shoppers = kb.durable(Shopper, store=url, type="Shopper")
    async with kb.Supervisor(shoppers.child()):
        with pytest.raises(kb.Corrupted, match="Expected `Basket`, got `dict`"):
            await shoppers["ada"].call(Shopper.items)


def test_bytes_that_are_no_message_are_refused_as_those_of_every_codec_are() -> None:
    with pytest.raises(msgspec.DecodeError):
        codec_of(Basket).decode(b"no message")
