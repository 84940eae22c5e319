"""What every engine does with groups: operations that share a transaction and nothing else."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import koboshi as kb
from koboshi.durable.stores import Change, Operation, Outcome, Query, Select, Session
from koboshi.durable.stores._tables import COUNTER, HOST

from .place import Place
from .rows import COLUMNS, found


def add(name: str, amount: int = 0) -> Change[int]:
    """An operation that adds one counter, and fails if it is there."""
    return Change(lambda session: session.insert(COUNTER, COLUMNS, [("here", name, amount)]))


FOUR = {"one": 1, "two": 2, "three": 3, "four": 4}


def add_many(session: Session) -> int:
    """An operation that adds three counters at once, of which the last is there in the end."""
    rows = [("here", "before", 0), ("here", "between", 0), ("here", "one", 0)]
    return session.insert(COUNTER, COLUMNS, rows)


def move_many(session: Session) -> int:
    """An operation that renames three counters at once, the last of them to a name that is taken."""
    rows = [("here", name, new) for name, new in (("two", "2"), ("three", "3"), ("four", "one"))]
    return session.update(COUNTER, COLUMNS[:2], ("counter_name",), rows)


def fail(session: Session) -> None:
    """An operation that writes first and then fails by its own fault."""
    session.insert(COUNTER, COLUMNS, [("here", "half", 0)])
    raise ValueError("this one is bad")


def swallow(session: Session) -> str:
    """An operation that hides an error of the database from us."""
    session.insert(COUNTER, COLUMNS, [("here", "swallowed", 0)])
    try:
        session.execute("SELECT nothing FROM nowhere", {})
    except Exception as error:
        return type(error).__name__
    return "no error"


class GroupsContract:
    """Groups; a subclass has the fixture `place`."""

    async def group(self, place: Place, operations: list[Operation[Any]]) -> list[Outcome]:
        """Commit a group of exactly these on an engine of its own."""
        engine = place.engine()
        await engine.open("host.1.ab")
        outcomes: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        engine.commit(operations, outcomes.set_result)
        try:
            return await outcomes
        finally:
            await engine.close()

    async def test_each_operation_gets_its_own_outcome_in_order(self, place: Place) -> None:
        numbers: list[Operation[Any]] = [Change(lambda _, number=number: number) for number in range(20)]  # type: ignore[misc]

        assert [Outcome(number, None) for number in range(20)] == await self.group(place, numbers)

    async def test_what_sees_one_moment_sees_the_writes_of_its_group(self, place: Place) -> None:
        steady = Query(found, steady=True)

        outcomes = await self.group(
            place, [steady, add("one", 1), Query(fail, steady=True), steady, add("two", 2)]
        )

        both = {"one": 1, "two": 2}
        assert [both, 1, None, both, 1] == [each.value for each in outcomes]
        assert [False, False, True, False, False] == [each.error is not None for each in outcomes]

    async def test_a_refused_statement_is_one_error_on_all_engines(self, place: Place) -> None:
        text = "SELECT amount FROM nowhere WHERE name = :name"
        bad: Operation[Any] = Change(lambda session: session.execute(text, {"name": "secret"}))

        [_, (value, error)] = await self.group(place, [add("one"), bad])

        assert isinstance(error, kb.StatementRefused)
        assert (None, text, "") == (value, error.statement, error.of)
        assert "nowhere" in error.detail
        assert error.__cause__ is not None
        for each in (error, error.__cause__, pickle.loads(pickle.dumps(error))):
            assert "secret" not in str(each)
            assert error.detail in str(each)

    @pytest.mark.parametrize("bad", [Change(fail), add("one"), Change(lambda _: 1 // 0)])
    async def test_a_bad_operation_fails_alone(self, place: Place, bad: Operation[Any]) -> None:
        read = Query(found)

        outcomes = await self.group(place, [add("one", 1), bad, add("two", 2), add("three", 3), read])

        assert [1, None, 1, 1, {"one": 1, "two": 2, "three": 3}] == [each.value for each in outcomes]
        assert [False, True, False, False, False] == [each.error is not None for each in outcomes]

    @pytest.mark.parametrize("bad", [add_many, move_many])
    async def test_of_many_rows_with_a_bad_one_nothing_is_left(
        self, place: Place, bad: Callable[[Session], int]
    ) -> None:
        adding = [add(name, amount) for name, amount in FOUR.items()]

        outcomes = await self.group(place, [*adding, Change(bad), Query(found)])

        assert [1, 1, 1, 1, None, FOUR] == [each.value for each in outcomes]
        assert outcomes[-2].error is not None

    @pytest.mark.parametrize("bad", [add_many, move_many])
    async def test_of_many_rows_with_a_bad_one_nothing_is_left_where_they_are_alone(
        self, place: Place, bad: Callable[[Session], int]
    ) -> None:
        async with place.store() as store:
            for name, amount in FOUR.items():
                await store.run(add(name, amount))

            with pytest.raises(Exception, match=r"(?i)constraint|duplicate"):
                await store.change(bad)

            assert FOUR == await store.read(found)

    async def test_a_bad_operation_alone_in_its_group_writes_nothing(self, place: Place) -> None:
        async with place.store() as store:
            with pytest.raises(ValueError, match="this one is bad"):
                await store.change(fail)

            assert {} == await store.read(found)

    @pytest.mark.parametrize("alone", [False, True])
    async def test_an_operation_that_hides_an_error_harms_no_other(self, place: Place, alone: bool) -> None:
        others = [] if alone else [add("one"), add("two")]

        outcomes = await self.group(place, [*others, Change(swallow)])

        # Whether it can go on after the error is the database's affair.
        assert [1] * len(others) == [each.value for each in outcomes[: len(others)]]
        assert outcomes[-1].error is not None or outcomes[-1].value != "no error"

    async def test_operations_run_in_the_order_of_their_ranks(self, place: Place) -> None:
        read, write = await self.group(place, [Query(found), add("one", 1)])

        assert ({"one": 1}, 1) == (read.value, write.value)

    async def test_what_those_who_are_told_ask_for_is_one_group(self, place: Place) -> None:
        async with place.store() as store:
            before = store.statistics().groups
            ended = [asyncio.get_running_loop().create_future() for _ in range(5)]

            def again(number: int) -> Callable[[Any, Exception | None], None]:
                def ask(_: Any, error: Exception | None) -> None:
                    store.submit(Query(found), lambda value, error: ended[number].set_result(value))

                return ask

            store.submit(Query(found), lambda value, error: ended[0].set_result(value))
            for number in range(1, 5):
                store.submit(Query(found), again(number))
            await asyncio.gather(*ended)

            # The first one that is asked for may be handed over at once, all by itself.
            assert store.statistics().groups - before <= 3

    async def test_an_outcome_is_told_only_when_others_can_see_it(self, place: Place) -> None:
        if not place.shared:
            pytest.skip("nobody else can look")
        async with place.store() as writer, place.store() as reader:
            for number in range(5):
                await writer.run(add(f"row{number}", number))

                assert number + 1 == len(await reader.read(found))

    async def test_a_reader_sees_nothing_of_what_is_not_committed(self, place: Place) -> None:
        if not place.shared:
            pytest.skip("nobody else can look")
        async with place.store() as writer, place.store() as reader:
            with pytest.raises(ValueError, match="bad"):
                await writer.change(fail)

            assert {} == await reader.read(found)

    async def test_time_stands_still_inside_a_transaction_and_passes_between(self, place: Place) -> None:
        def times(session: Session) -> tuple[float, float]:
            return session.now, session.now

        async with place.store() as store:
            first, again = await store.change(times)
            later, _ = await store.change(times)

        assert first == again
        assert first <= later < first + 60.0
        assert first > 1_700_000_000.0

    async def test_every_write_is_counted_in_the_row_of_the_host(self, place: Place) -> None:
        if not place.shared:
            pytest.skip("a store in memory has no COMMIT that could be lost")
        count = Select("SELECT writes FROM kb_host")
        read: Callable[[Session], Any] = lambda session: session.fetch(count)  # noqa: E731
        async with place.store() as store:
            [(before,)] = await store.read(read)
            await store.run(add("one"))
            await store.read(found)
            await store.run(add("two"))

            assert [(before + 2,)] == await store.read(read)

    async def test_an_operation_may_do_many_things_to_many_tables(self, place: Place) -> None:
        def change(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, [("here", f"row{number}", number) for number in range(10)])
            session.delete(COUNTER, ("system_name", "counter_name"), [("here", "row3")])
            session.upsert(COUNTER, COLUMNS, [("here", "row4", 44), ("here", "row3", 33)])
            row = ("other", "incarnation", 5.0, "up", "{}", 0)
            columns = tuple(column.name for column in HOST.columns)
            session.insert(HOST, columns, [row])
            return len(session.lookup(HOST, columns, ("host_id",), [("other",)]))

        async with place.store() as store:
            assert 1 == await store.change(change)
            assert {33, 44} <= set((await store.read(found)).values())
