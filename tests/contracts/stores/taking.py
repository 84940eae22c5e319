"""What servers add: of one list, two transactions at the same time take different rows."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from koboshi.durable.stores import Row, Select, Session
from koboshi.durable.stores._tables import COUNTER

from .place import Place

__all__ = ["TakingContract"]

_FIRST = Select(
    "SELECT counter_name FROM kb_counter WHERE system_name = :system ORDER BY counter_name LIMIT :most"
)


class TakingContract:
    """Rows that are taken; a subclass has the fixture `place`, of a database that several write to at once."""

    async def test_what_one_transaction_has_taken_another_one_passes_over_without_waiting(
        self, place: Place
    ) -> None:
        found: dict[str, list[Row]] = {}

        async def beside() -> None:
            async with place.store() as other:
                found["beside"] = await other.change(lambda session: session.take(_FIRST, "here", 2))

        def take(session: Session) -> Any:
            found["first"] = session.take(_FIRST, "here", 2)
            # The other one begins and ends while this transaction holds its rows.
            thread = threading.Thread(target=lambda: asyncio.run(beside()))
            thread.start()
            thread.join(20.0)

        async with place.store() as store:
            rows = [("here", name, 0) for name in "abcde"]
            await store.change(
                lambda session: session.insert(COUNTER, ("system_name", "counter_name", "amount"), rows)
            )
            await store.change(take)
            found["after"] = await store.change(lambda session: session.take(_FIRST, "here", 5))

        assert [("a",), ("b",)] == found["first"]
        assert [("c",), ("d",)] == found["beside"]
        assert [(name,) for name in "abcde"] == found["after"]
