"""What every engine does with rows, however many there are."""

from __future__ import annotations

import pytest

from koboshi.durable.stores import Select, Session
from koboshi.durable.stores._tables import COUNTER, SUBSCRIPTION

from .place import Place

SIZES = [0, 1, 2, 3_000]
KEY = ("system_name", "counter_name")
COLUMNS = (*KEY, "amount")
_ALL = Select("SELECT counter_name, amount FROM kb_counter WHERE system_name = :system ORDER BY counter_name")


def rows_of(count: int, amount: int = 0) -> list[tuple[str, str, int]]:
    """Rows of kb_counter, named so that their order is that of their numbers."""
    return [("here", f"row{number:06}", amount + number) for number in range(count)]


def found(session: Session) -> dict[str, int]:
    """The counters, by name."""
    return dict(session.fetch(_ALL, "here"))


class RowsContract:
    """One `Session` operation each; a subclass has the fixture `place`."""

    @pytest.mark.parametrize("count", SIZES)
    async def test_rows_that_are_inserted_are_counted_and_found(self, place: Place, count: int) -> None:
        async with place.store() as store:
            added = await store.change(lambda session: session.insert(COUNTER, COLUMNS, rows_of(count)))

            assert count == added
            assert {name: amount for _, name, amount in rows_of(count)} == await store.read(found)

    @pytest.mark.parametrize("count", SIZES)
    async def test_an_insert_that_ignores_adds_only_what_is_not_there(self, place: Place, count: int) -> None:
        def insert(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, rows_of(count)[: count // 2])
            return session.insert(COUNTER, COLUMNS, rows_of(count, amount=7), ignore=True)

        async with place.store() as store:
            added = await store.change(insert)

            kept = {name: amount for _, name, amount in rows_of(count)[: count // 2]}
            new = {name: amount for _, name, amount in rows_of(count, amount=7)[count // 2 :]}
            assert count - count // 2 == added
            assert kept | new == await store.read(found)

    async def test_an_insert_that_ignores_adds_a_key_once_that_comes_twice(self, place: Place) -> None:
        twice = [("here", "a", 1), ("here", "a", 2), ("here", "b", 3)]
        async with place.store() as store:
            added = await store.change(lambda session: session.insert(COUNTER, COLUMNS, twice, ignore=True))

            assert 2 == added
            assert {"a": 1, "b": 3} == await store.read(found)

    @pytest.mark.parametrize("count", SIZES)
    async def test_an_update_changes_its_rows_and_counts_them(self, place: Place, count: int) -> None:
        def change(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, [*rows_of(count), ("here", "zz", 0), ("there", "row000000", 0)])
            missing = ("here", "missing", 1)
            return session.update(COUNTER, KEY, ("amount",), [*rows_of(count, amount=5), missing])

        async with place.store() as store:
            changed = await store.change(change)

            assert count == changed
            expected = {name: amount for _, name, amount in rows_of(count, amount=5)}
            assert expected | {"zz": 0} == await store.read(found)

    async def test_an_update_counts_rows_that_match_and_not_those_that_change(self, place: Place) -> None:
        async with place.store() as store:
            await store.change(lambda session: session.insert(COUNTER, COLUMNS, rows_of(3)))

            def change(session: Session) -> int:
                return session.update(COUNTER, KEY, ("amount",), rows_of(3))

            assert 3 == await store.change(change)
            single = Select("UPDATE kb_counter SET amount = amount WHERE system_name = :system")
            assert 3 == await store.change(lambda session: session.run(single, "here"))

    async def test_an_update_matches_what_is_no_part_of_the_key_as_well(self, place: Place) -> None:
        def change(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, rows_of(3))
            right, wrong = ("here", "row000001", 1, 10), ("here", "row000002", 99, 10)
            match = (*KEY, "amount")
            # The new value of what is matched is the same column again.
            return session.update(COUNTER, match, ("amount",), [right, wrong])

        async with place.store() as store:
            changed = await store.change(change)

            assert 1 == changed
            assert {"row000000": 0, "row000001": 10, "row000002": 2} == await store.read(found)

    @pytest.mark.parametrize("count", SIZES)
    async def test_an_upsert_adds_and_replaces(self, place: Place, count: int) -> None:
        def change(session: Session) -> None:
            session.insert(COUNTER, COLUMNS, rows_of(count)[: count // 2])
            session.upsert(COUNTER, COLUMNS, rows_of(count, amount=3))

        async with place.store() as store:
            await store.change(change)

            expected = {name: amount for _, name, amount in rows_of(count, amount=3)}
            assert expected == await store.read(found)

    async def test_of_an_upsert_of_one_key_the_last_row_counts(self, place: Place) -> None:
        twice = [("here", "a", 1), ("here", "b", 2), ("here", "a", 3)]
        async with place.store() as store:
            await store.change(lambda session: session.upsert(COUNTER, COLUMNS, twice))

            assert {"a": 3, "b": 2} == await store.read(found)

    async def test_an_upsert_of_a_table_that_is_all_key_adds_once(self, place: Place) -> None:
        columns = ("system_name", "channel", "actor_type", "actor_key", "message")
        row = ("here", "news", "Reader", "ann", "read")

        def change(session: Session) -> list[tuple[object, ...]]:
            session.upsert(SUBSCRIPTION, columns, [row])
            session.upsert(SUBSCRIPTION, columns, [row])
            return session.lookup(SUBSCRIPTION, columns, columns[:1], [row[:1]])

        async with place.store() as store:
            assert [row] == await store.change(change)

    @pytest.mark.parametrize("count", SIZES)
    async def test_rows_that_are_deleted_are_counted_and_gone(self, place: Place, count: int) -> None:
        def change(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, [*rows_of(count), ("here", "zz", 0)])
            return session.delete(COUNTER, KEY, [*(row[:2] for row in rows_of(count)), ("here", "missing")])

        async with place.store() as store:
            deleted = await store.change(change)

            assert count == deleted
            assert {"zz": 0} == await store.read(found)

    async def test_a_delete_by_the_beginning_of_the_key_takes_all_that_begin_so(self, place: Place) -> None:
        def change(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, [*rows_of(4), ("there", "a", 1)])
            return session.delete(COUNTER, ("system_name",), [("here",), ("nowhere",)])

        async with place.store() as store:
            assert 4 == await store.change(change)

    @pytest.mark.parametrize("count", SIZES)
    async def test_a_lookup_finds_the_rows_that_match(self, place: Place, count: int) -> None:
        def look(session: Session) -> list[tuple[object, ...]]:
            keys = [*(row[:2] for row in rows_of(count)), ("here", "missing")]
            return session.lookup(COUNTER, ("amount", "counter_name"), KEY, keys)

        async with place.store() as store:
            await store.change(
                lambda session: session.insert(COUNTER, COLUMNS, [*rows_of(count), ("here", "zz", 0)])
            )
            rows = await store.read(look)

        assert {(amount, name) for _, name, amount in rows_of(count)} == set(rows)
        assert count == len(rows)

    async def test_a_query_takes_a_value_in_several_places_and_a_limit(self, place: Place) -> None:
        query = Select(
            "SELECT counter_name FROM kb_counter WHERE system_name = :system AND amount >= :least"
            " AND (counter_name <> :name OR amount > :least) ORDER BY counter_name LIMIT :most"
        )
        async with place.store() as store:
            await store.change(lambda session: session.insert(COUNTER, COLUMNS, rows_of(10)))
            rows = await store.read(lambda session: session.fetch(query, "here", 3, "row000003", 2))

        assert [("row000004",), ("row000005",)] == rows

    async def test_sums_and_counts_are_integers(self, place: Place) -> None:
        query = Select(
            "SELECT count(*), sum(amount), max(amount) FROM kb_counter WHERE system_name = :system"
        )
        async with place.store() as store:
            await store.change(lambda session: session.insert(COUNTER, COLUMNS, rows_of(5)))
            [row] = await store.read(lambda session: session.fetch(query, "here"))

        assert (5, 10, 4) == row
        assert {int} == {type(value) for value in row}

    async def test_a_change_by_a_condition_counts_what_it_changed(self, place: Place) -> None:
        change = Select("UPDATE kb_counter SET amount = amount + :more WHERE amount >= :least")
        async with place.store() as store:
            await store.change(lambda session: session.insert(COUNTER, COLUMNS, rows_of(5)))

            assert 2 == await store.change(lambda session: session.run(change, 100, 3))
            assert [0, 1, 2, 103, 104] == list((await store.read(found)).values())

    async def test_a_statement_of_the_users_own_runs_and_gives_its_rows(self, place: Place) -> None:
        def change(session: Session) -> list[tuple[object, ...]]:
            values = {"name": "100%", "amount": 5}
            add = "INSERT INTO kb_counter (system_name, counter_name, amount) VALUES ('here', :name, :amount)"
            assert [] == session.execute(add, values)
            return session.execute(
                "SELECT amount FROM kb_counter WHERE counter_name = :name AND counter_name LIKE '100%'",
                {"name": "100%"},
            )

        async with place.store() as store:
            assert [(5,)] == await store.change(change)
