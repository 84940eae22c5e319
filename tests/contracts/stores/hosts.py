"""What every engine promises to several hosts that use one database."""

from __future__ import annotations

import asyncio

import pytest

from koboshi.durable.stores import Select, Session, Store, _sql_engine
from koboshi.durable.stores._hosts import Beat, ForgetHosts
from koboshi.durable.stores._tables import ACTOR, COUNTER

from .place import Place
from .rows import COLUMNS, KEY, found, rows_of
from .values import ACTOR_KEY, ALL, actor

ROUNDS = 30


def hosts(session: Session) -> set[str]:
    """The ids of those that have a row."""
    return {row[0] for row in session.fetch(Select("SELECT host_id FROM kb_host"))}


class HostsContract:
    """Hosts; a subclass has the fixture `place`."""

    @pytest.fixture(autouse=True)
    def only_shared(self, place: Place) -> None:
        if not place.shared:
            pytest.skip("a store in memory has one host")

    async def test_of_two_that_compare_and_set_one_row_exactly_one_wins(self, place: Place) -> None:
        async def claim(store: Store, epoch: int, owner: str) -> int:
            row = ("here", "Account", "ann", epoch, epoch + 1, owner)
            return await store.change(
                lambda session: session.update(ACTOR, (*ACTOR_KEY, "epoch"), ("epoch", "owner"), [row])
            )

        async with place.store() as one, place.store() as two:
            await one.change(lambda session: session.insert(ACTOR, ALL, [actor("ann")]))
            wins = [
                await asyncio.gather(claim(one, epoch, "one"), claim(two, epoch, "two"))
                for epoch in range(ROUNDS)
            ]

        assert [1] * ROUNDS == [sum(pair) for pair in wins]

    async def test_of_two_that_insert_one_key_exactly_one_adds_it(self, place: Place) -> None:
        async def insert(store: Store, number: int) -> int:
            row = ("here", f"row{number}", 0)
            return await store.change(lambda session: session.insert(COUNTER, COLUMNS, [row], ignore=True))

        async with place.store() as one, place.store() as two:
            added = [
                await asyncio.gather(insert(one, number), insert(two, number)) for number in range(ROUNDS)
            ]

            assert [1] * ROUNDS == [sum(pair) for pair in added]
            assert ROUNDS == len(await one.read(found))

    async def test_a_key_that_another_host_is_just_adding_is_waited_for_and_left_alone(
        self, place: Place
    ) -> None:
        keys = [("here", f"row{number}", 0) for number in range(3)]

        def slowly(session: Session) -> int:
            added = session.insert(COUNTER, COLUMNS, keys, ignore=True)
            for _ in range(100):  # the other one gets its turn between these
                session.lookup(COUNTER, COLUMNS, KEY, [key[:2] for key in keys])
            return added

        def meanwhile(session: Session) -> int:
            session.lookup(COUNTER, COLUMNS, KEY, [("here", "row0")])
            return session.insert(COUNTER, COLUMNS, [*keys, ("here", "new", 1)], ignore=True)

        async with place.store() as one, place.store() as two:
            added = await asyncio.gather(one.change(slowly), two.change(meanwhile))

            assert 4 == sum(added)
            assert 4 == len(await one.read(found))

    async def test_hosts_that_change_the_same_rows_in_other_orders_all_succeed(self, place: Place) -> None:
        rows = rows_of(20)

        async def change(store: Store, order: list[tuple[str, str, int]]) -> None:
            def several(session: Session) -> None:
                for row in order:
                    session.update(
                        COUNTER,
                        KEY,
                        ("amount",),
                        [(*row[:2], session.lookup(COUNTER, ("amount",), KEY, [row[:2]])[0][0])],
                    )

            await store.change(several)

        async with place.store() as one, place.store() as two:
            await one.change(lambda session: session.insert(COUNTER, COLUMNS, rows))
            for _ in range(10):
                await asyncio.gather(change(one, rows), change(two, rows[::-1]))

            assert {name: amount for _, name, amount in rows} == await two.read(found)

    async def test_increments_of_two_hosts_are_all_counted(self, place: Place) -> None:
        more = Select("UPDATE kb_counter SET amount = amount + :more WHERE system_name = :system")

        async def increment(store: Store) -> None:
            for _ in range(ROUNDS):
                await store.change(lambda session: session.run(more, 1, "here"))

        async with place.store() as one, place.store() as two:
            await one.change(lambda session: session.insert(COUNTER, COLUMNS, [("here", "n", 0)]))
            await asyncio.gather(increment(one), increment(two))

            assert {"n": 2 * ROUNDS} == await one.read(found)

    async def test_two_hosts_may_open_an_empty_database_at_once(self, place: Place) -> None:
        stores = [Store(place.engine()) for _ in range(3)]
        await asyncio.gather(*(store.open() for store in stores))
        try:
            await stores[0].change(lambda session: session.insert(COUNTER, COLUMNS, rows_of(1)))

            assert [{"row000000": 0}] * 3 == [await store.read(found) for store in stores]
        finally:
            for store in stores:
                await store.close()

    async def test_a_host_is_alive_for_others_until_its_lease_by_the_databases_clock(
        self, place: Place
    ) -> None:
        async with place.store() as store:
            await store.run(Beat("short", "ab", 0.0, "{}"))
            await store.run(Beat("long", "cd", 3_600.0, "{}"))
            others = await store.run(Beat(store.host, store.incarnation, 15.0, "{}"))

            assert [("long", "cd")] == others
            await store.run(ForgetHosts(["long", "short"]))
            assert [] == await store.run(Beat(store.host, store.incarnation, 15.0, "{}"))

    async def test_a_store_that_is_closed_leaves_no_row_of_its_host(self, place: Place) -> None:
        async with place.store() as one:
            async with place.store():
                pass

            assert [] == await one.run(Beat(one.host, one.incarnation, 15.0, "{}"))

    async def test_a_host_without_a_connection_is_seen_to_be_gone_before_its_lease_ends(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not place.presence:
            pytest.skip("no lock shows who is connected; the lease alone tells")
        monkeypatch.setattr(_sql_engine, "_LOOK_AGAIN", 0.0)
        there, gone = ("there.1." + "a" * 32, "a" * 32), ("gone.1." + "b" * 32, "b" * 32)
        one, two = place.engine(), place.engine()
        await one.open("here.1." + "c" * 32)
        await two.open(there[0])
        try:
            assert [] == await one.absent_hosts([there], 0.0)
            assert [gone[0]] == await one.absent_hosts([there, gone], 0.0)
            # Nobody is absent from a server that has only just come up.
            assert [] == await one.absent_hosts([there, gone], 1e9)
            await two.close()
            while [there[0]] != await one.absent_hosts([there], 0.0):
                pass  # the server may not have ended the connection yet
        finally:
            await two.close()
            await one.close()

    async def test_the_lease_of_a_host_without_a_connection_is_taken_away(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not place.presence:
            pytest.skip("no lock shows who is connected; the lease alone tells")
        monkeypatch.setattr(_sql_engine, "_LOOK_AGAIN", 0.0)
        async with place.store() as store:
            await store.run(Beat("gone.1." + "b" * 32, "b" * 32, 3_600.0, "{}"))
            store.forget_lost([("gone.1." + "b" * 32, "b" * 32), (store.host, store.incarnation)])
            while await store.run(Beat(store.host, store.incarnation, 15.0, "{}")):
                pass
            assert store.host in await store.read(hosts)
