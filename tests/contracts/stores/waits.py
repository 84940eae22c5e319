"""What every engine of a server does with an operation that waits or works too long: it fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from koboshi.durable._failures import StatementRefused, StoreUnavailable
from koboshi.durable.stores import Change, Operation, Outcome, Session, Store, engine_of
from koboshi.durable.stores._tables import COUNTER

from .place import Place
from .rows import COLUMNS, KEY, found

# Seconds that a statement may take here, and a lock as well.
LIMIT = 2.0
# An operation waits so long once, and those behind it for a moment each; a busy machine takes its time too.
BOUND = 2 * LIMIT + 2.0


def setting(name: str, amount: int) -> Change[int]:
    """An operation that changes a counter that is there."""
    return Change(lambda session: session.update(COUNTER, KEY, ("amount",), [("here", name, amount)]))


class WaitsContract:
    """Waits; a subclass has the fixture `place`, and what takes a server long.

    Attributes:
        slow: a statement that takes longer than anybody waits.
    """

    slow: str

    @asynccontextmanager
    async def locked(self, place: Place, *names: str) -> AsyncIterator[None]:
        """Somebody else's transaction, which has changed these counters and does not end."""
        engine = create_async_engine(place.url)
        async with engine.connect() as other:
            for name in names:
                text = "UPDATE kb_counter SET amount = -1 WHERE system_name = 'here' AND counter_name = :name"
                await other.execute(sa.text(text), {"name": name})
            try:
                yield
            finally:
                await other.rollback()
        await engine.dispose()

    async def group(self, place: Place, operations: list[Operation[Any]]) -> list[Outcome]:
        """Commit a group of exactly these, within the bound."""
        engine = engine_of(f"{place.url}?statement_timeout={LIMIT}")
        await engine.open("host.1.ab")
        outcomes: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        engine.commit(operations, outcomes.set_result)
        try:
            async with asyncio.timeout(BOUND):
                return await outcomes
        finally:
            await engine.close()

    async def put_rows(self, place: Place, *names: str) -> None:
        """Have these counters in the database."""
        async with place.store() as store:
            rows = [("here", name, 0) for name in names]
            await store.change(lambda session: session.insert(COUNTER, COLUMNS, rows))

    @pytest.mark.slow
    async def test_a_row_that_somebody_else_holds_fails_only_what_needs_it(self, place: Place) -> None:
        await self.put_rows(place, "held", "free", "last")
        async with self.locked(place, "held"):
            first, held, last = await self.group(
                place, [setting("free", 1), setting("held", 2), setting("last", 3)]
            )

        assert (Outcome(1, None), Outcome(1, None)) == (first, last)
        assert isinstance(held.error, StoreUnavailable)
        assert "locked by somebody else" in str(held.error)
        async with place.store() as store:
            assert {"held": 0, "free": 1, "last": 3} == await store.read(found)

    @pytest.mark.slow
    async def test_many_rows_that_are_held_are_not_waited_for_one_after_the_other(self, place: Place) -> None:
        names = [f"held{number:03}" for number in range(40)]
        await self.put_rows(place, *names, "free")
        async with self.locked(place, *names):
            *held, free = await self.group(place, [*(setting(name, 1) for name in names), setting("free", 1)])

        assert [StoreUnavailable] * len(names) == [type(each.error) for each in held]
        # On a server that cannot wait for less than a second the time of the group is over before its turn.
        assert free == Outcome(1, None) or isinstance(free.error, StoreUnavailable)

    @pytest.mark.slow
    async def test_a_write_that_finds_its_row_by_the_key_waits_for_no_other(self, place: Place) -> None:
        await self.put_rows(place, "held", "free", "gone")
        async with self.locked(place, "held"), place.store() as store:
            assert 1 == await store.run(setting("free", 1))
            gone = Change(lambda session: session.delete(COUNTER, KEY, [("here", "gone")]))
            assert 1 == await store.run(gone)

    @pytest.mark.slow
    async def test_a_statement_of_the_programs_own_that_takes_too_long_fails_alone_and_for_good(
        self, place: Place
    ) -> None:
        def work(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, [("here", "half", 0)])
            return len(session.execute(self.slow, {}))

        await self.put_rows(place, "free")
        slow, free = await self.group(place, [Change(work), setting("free", 1)])

        assert isinstance(slow.error, StatementRefused)
        assert Outcome(1, None) == free
        async with place.store() as store:
            assert {"free": 1} == await store.read(found)

    @pytest.mark.slow
    async def test_limits_are_what_they_were_after_a_hurry(self, place: Place) -> None:
        await self.put_rows(place, "held", "free")
        store = Store(engine_of(f"{place.url}?statement_timeout={LIMIT}"))
        await store.open()
        before = await store.read(lambda session: session.execute(self.limits, {}))
        async with self.locked(place, "held"):
            busy = store.run(setting("free", 0))
            await asyncio.gather(
                busy, store.run(setting("held", 1)), store.run(setting("free", 2)), return_exceptions=True
            )

        assert before == await store.read(lambda session: session.execute(self.limits, {}))
        await store.close()

    #: Asks the server for a session's limits.
    limits: str
