"""What is damaged, missing, exchanged, unknown or too new is refused, and costs one actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import koboshi as kb

from .carts import Added, Cart, CartState

Sql = Callable[..., list[Any]]


async def fill(path: str) -> kb.Durable[Cart]:
    """Two carts with three events each, asleep."""
    carts = kb.durable(Cart, store=f"sqlite:///{path}")
    async with kb.Supervisor(carts.child()):
        for key in ("bad", "good"):
            for item in "abc":
                await carts[key].call(Cart.add, item, 1)
    return carts


DAMAGES = {
    "a byte is changed": "UPDATE kb_event SET payload = "
    "CAST(substr(payload, 1, length(payload) - 1) || x'07' AS BLOB) WHERE actor_key = 'bad' AND seq = 2",
    "an event is missing in the middle": "DELETE FROM kb_event WHERE actor_key = 'bad' AND seq = 2",
    "the first event is missing": "DELETE FROM kb_event WHERE actor_key = 'bad' AND seq = 1",
    "the last event is missing": "DELETE FROM kb_event WHERE actor_key = 'bad' AND seq = 3",
    "two events are exchanged": "UPDATE kb_event SET payload ="
    " (SELECT payload FROM kb_event WHERE actor_key = 'bad' AND seq = 3) WHERE actor_key = 'bad' AND seq = 2",
    "an event of another actor": "UPDATE kb_event SET payload ="
    " (SELECT payload FROM kb_event WHERE actor_key = 'good' AND seq = 2) WHERE actor_key = 'bad' AND seq = 2",
    "its type is changed": "UPDATE kb_event SET event_type = 'Cleared' WHERE actor_key = 'bad' AND seq = 2",
    "the actor's row is older than its events": "UPDATE kb_actor SET revision = 2 WHERE actor_key = 'bad'",
    "the actor's row is newer than its events": "UPDATE kb_actor SET revision = 4 WHERE actor_key = 'bad'",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_damaged_is_corrupted_and_costs_one_actor(damage: str, path: str, sql: Sql) -> None:
    carts = await fill(path)
    sql(DAMAGES[damage])
    async with kb.Supervisor(carts.child()):
        with pytest.raises(kb.Corrupted, match="Cart/bad"):
            await carts["bad"].call(Cart.look)
        assert CartState(("a", "b", "c"), 3) == await carts["good"].call(Cart.look)


async def test_a_damaged_snapshot_is_corrupted_and_may_be_deleted(path: str, sql: Sql) -> None:
    carts = kb.durable(Cart, store=f"sqlite:///{path}", snapshot_every_events=2)
    async with kb.Supervisor(carts.child()):
        for item in "abc":
            await carts["x"].call(Cart.add, item, 1)
    sql("UPDATE kb_actor SET state = CAST(state || x'00' AS BLOB)")
    async with kb.Supervisor(carts.child()):
        with pytest.raises(kb.Corrupted, match=r"state 2 \(msgpack, version 1\) does not match"):
            await carts["x"].call(Cart.look)
        sql("UPDATE kb_actor SET state = NULL, state_revision = 0")
        assert CartState(("a", "b", "c"), 3) == await carts["x"].call(Cart.look)


async def test_a_zombie_writes_no_event(path: str, sql: Sql) -> None:
    carts = kb.durable(Cart, store=f"sqlite:///{path}")
    async with kb.Supervisor(carts.child()):
        await carts["x"].call(Cart.add, "a", 1)
        # As another host that has taken it over.
        sql("UPDATE kb_actor SET token = x'00', epoch = epoch + 1")
        with pytest.raises(kb.Fenced):
            await carts["x"].call(Cart.add, "b", 1)
        assert sql("SELECT seq FROM kb_event") == [(1,)]
        assert CartState(("a",), 1) == await carts["x"].call(Cart.look)


class Old(msgspec.Struct, frozen=True):
    name: str


class New(msgspec.Struct, frozen=True):
    first: str
    last: str


class First(kb.EventSourced[CartState]):
    @kb.message
    def name(self, name: str) -> None:
        self.emit(Old(name))

    @kb.query
    def look(self) -> CartState:
        return self.state

    @kb.event(type="named")
    @staticmethod
    def named(state: CartState, event: Old) -> CartState:
        return CartState((*state.items, event.name))


class Second(kb.EventSourced[CartState]):
    schema_version = 2

    @kb.message
    def name(self, first: str, last: str) -> None:
        self.emit(New(first, last))

    @kb.query
    def look(self) -> CartState:
        return self.state

    @kb.event(
        type="named",
        version=2,
        upcasters={1: lambda old: dict(zip(("first", "last"), old["name"].split(), strict=True))},
    )
    @staticmethod
    def named(state: CartState, event: New) -> CartState:
        return CartState((*state.items, f"{event.last}, {event.first}"))


class WithoutUpcaster(kb.EventSourced[CartState]):
    @kb.query
    def look(self) -> CartState:
        return self.state

    @kb.event(type="named", version=2)
    @staticmethod
    def named(state: CartState, event: New) -> CartState:
        return state


class Renamed(kb.EventSourced[CartState]):
    @kb.query
    def look(self) -> CartState:
        return self.state

    @kb.event(type="called")
    @staticmethod
    def called(state: CartState, event: Old) -> CartState:
        return state


async def test_older_events_are_brought_up_to_date_and_older_snapshots_made_again(path: str) -> None:
    url = f"sqlite:///{path}"
    first = kb.durable(First, store=url, type="person", snapshot_every_events=1)
    async with kb.Supervisor(first.child()):
        await first["x"].call(First.name, "Ada Lovelace")
    second = kb.durable(Second, store=url, type="person", snapshot_every_events=1)
    async with kb.Supervisor(second.child()):
        await second["x"].call(Second.name, "Alan", "Turing")
        assert ("Lovelace, Ada", "Turing, Alan") == (await second["x"].call(Second.look)).items
        assert ("Lovelace, Ada",) == (await second["x"].as_of(1)).items
        assert [New("Ada", "Lovelace"), New("Alan", "Turing")] == [
            each.event for each in await second["x"].history()
        ]
    async with kb.Supervisor(first.child()):
        with pytest.raises(kb.SchemaTooNew, match="newer program"):
            await first["x"].call(First.look)


async def test_what_cannot_be_read_says_why(path: str) -> None:
    url = f"sqlite:///{path}"
    first = kb.durable(First, store=url, type="person")
    async with kb.Supervisor(first.child()):
        await first["x"].call(First.name, "Ada Lovelace")
    without = kb.durable(WithoutUpcaster, store=url, type="person")
    async with kb.Supervisor(without.child()):
        with pytest.raises(kb.NoUpcaster, match="from 1 to 2"):
            await without["x"].call(WithoutUpcaster.look)
    renamed = kb.durable(Renamed, store=url, type="person")
    async with kb.Supervisor(renamed.child()):
        with pytest.raises(kb.UnknownType, match=r"@kb\.event\(type='named'\)"):
            await renamed["x"].call(Renamed.look)


async def test_an_unreadable_event_stops_a_projection_there(path: str, sql: Sql) -> None:
    carts = await fill(path)
    sql("UPDATE kb_event SET payload = x'00' WHERE actor_key = 'bad' AND seq = 2")

    class Seen(kb.Projection[list[str]]):
        @kb.on
        def added(self, event: Added) -> None:
            self.state.append(event.item)

    seen = kb.projection(Seen, of=carts, max_attempts=1, poll=0.01)
    async with kb.Supervisor(carts.child(), seen.child()):
        with pytest.raises(TimeoutError):
            await seen.wait_for(timeout=0.3)
        assert (seen.status().state, seen.status().place) == ("stopped", 1)
        await seen.skip()
        await seen.wait_for()
        assert (seen.status().state, seen.status().place) == ("running", 6)
