"""The failover with a stored cursor: over changes of the source, and over restarts of the program."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.durable.kept import KeptStore
from tests.otp.failover.sources import Log
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


class Taken(msgspec.Struct):
    items: list[int] = []


class Book(kb.DurableActor[Taken]):
    @kb.message
    def take(self, item: int) -> None:
        self.state.items.append(item)

    @kb.query
    def items(self) -> list[int]:
        return self.state.items


@pytest.fixture
def store() -> Iterator[KeptStore]:
    made = KeptStore()
    yield made
    made.drop()


def life(store: KeptStore, log: Log, seconds: float, *sources: Any, grow: int) -> dict[str, list[int]]:
    """One life of a program, in which the log grows by so much; what both books have then."""

    async def main() -> dict[str, list[int]]:
        log.grown = asyncio.Condition()
        books = kb.durable(Book, store=store)
        failover = kb.child(
            kb.DurableFailover,
            *sources,
            name="orders",
            store=store,
            to=lambda item: books["even" if item % 2 == 0 else "odd"],
            message=Book.take,
        )
        found: dict[str, list[int]] = {}
        async with kb.Supervisor(books.child(), failover):
            for _ in range(grow):
                await log.grow()
                await asyncio.sleep(seconds / grow)
            for key in ("even", "odd"):
                found[key] = await books[key].call(Book.items)
        return found

    return run_virtual(main)


def test_items_reach_their_actors_once_over_restarts_and_changes_of_the_source(store: KeptStore) -> None:
    log = Log()
    life(store, log, 10.0, log.push("first"), log.poll("second"), grow=10)
    log.down.add("first")
    life(store, log, 10.0, log.push("first"), log.poll("second"), grow=10)
    log.down.clear()
    found = life(store, log, 100.0, log.push("first"), log.poll("second"), grow=11)

    assert {"even": list(range(2, 31, 2)), "odd": list(range(1, 32, 2))} == found


def test_items_without_a_cursor_are_refused(store: KeptStore) -> None:
    refused: list[Exception] = []

    async def push(feed: otp.Feed) -> None:
        try:
            await feed.deliver(1)
        except Exception as error:
            refused.append(error)
            raise

    life(store, Log(), 1.0, otp.Push("push", push), grow=1)
    assert isinstance(refused[0], kb.UsageError)


def test_what_cannot_work_is_refused() -> None:
    books = kb.durable(Book, store="memory://one")
    with pytest.raises(kb.UsageError, match="at least one source"):
        kb.DurableFailover(name="x", store="memory://one", to=books["a"], message=Book.take)
