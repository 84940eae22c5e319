"""A failover whose cursor is kept by a database server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.durable.changes import until

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


async def push(feed: otp.Feed) -> None:
    """Fails before the fourth item, so that the other one takes over."""
    for item in range((feed.cursor or 0) + 1, 4):
        await feed.deliver(item, item)
    raise ConnectionError("the line is cut")


def poll_up_to(last: int) -> Callable[[int | None], Any]:
    async def poll(cursor: int | None) -> tuple[list[int], int]:
        return list(range((cursor or 0) + 1, last + 1)), last

    return poll


async def items_arrive_once(url: str) -> None:
    """Over a change of the source and two lives."""
    books = kb.durable(Book, store=url)
    for last in (6, 9):
        failover = kb.child(
            kb.DurableFailover,
            otp.Push("push", push),
            otp.Poll("poll", poll_up_to(last), every=0.05),
            name="numbers",
            store=url,
            to=books["a"],
            message=Book.take,
        )
        async with kb.Supervisor(books.child(), failover):

            async def arrived(last: int = last) -> list[int] | None:
                items = await books["a"].call(Book.items)
                return items if last in items else None

            assert list(range(1, last + 1)) == await until(arrived, books)


@pytest.mark.slow
async def test_items_arrive_once_over_changes_and_restarts_on_postgres(postgres_url: str) -> None:
    await items_arrive_once(postgres_url)


@pytest.mark.slow
async def test_items_arrive_once_over_changes_and_restarts_on_mariadb(mariadb_url: str) -> None:
    await items_arrive_once(mariadb_url)
