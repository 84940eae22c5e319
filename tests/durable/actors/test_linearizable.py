"""Queries that ask the store each time, at the price of one SELECT."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import koboshi as kb

from .test_fence import change


class Gauge(kb.DurableActor[int]):
    @kb.message
    def raise_by(self, amount: int) -> int:
        self.state += amount
        return self.state

    @kb.query
    def level(self) -> int:
        return self.state

    @kb.query(linearizable=True)
    def newest(self) -> int:
        return self.state

    @kb.query(linearizable=True)
    async def newest_later(self) -> int:
        await asyncio.sleep(0)
        return self.state


async def test_a_linearizable_query_notices_a_takeover_that_the_lease_does_not(url: str, file: Path) -> None:
    gauges = kb.durable(Gauge, store=url)

    async with kb.Supervisor(gauges.child()):
        await gauges["a"].call(Gauge.raise_by, 5)
        assert 5 == await gauges["a"].call(Gauge.newest)
        change(file, "UPDATE kb_actor SET token = x'00', owner = 'gone', revision = revision + 1")

        assert 5 == await gauges["a"].call(Gauge.level)
        with pytest.raises(kb.Fenced):
            await gauges["a"].call(Gauge.newest)


async def test_a_linearizable_query_notices_an_older_image_of_the_row(url: str, file: Path) -> None:
    gauges = kb.durable(Gauge, store=url)

    async with kb.Supervisor(gauges.child()):
        await gauges["a"].call(Gauge.raise_by, 5)
        change(file, "UPDATE kb_actor SET revision = 0")

        with pytest.raises(kb.Fenced):
            await gauges["a"].call(Gauge.newest_later)


async def test_a_linearizable_query_sees_what_was_sent_before_it(store: str) -> None:
    gauges = kb.durable(Gauge, store=store)

    async with kb.Supervisor(gauges.child()):
        found = await asyncio.gather(
            *(
                each
                for _ in range(20)
                for each in (
                    gauges["a"].call(Gauge.raise_by, 1),
                    gauges["a"].call(Gauge.newest),
                    gauges["a"].call(Gauge.newest_later),
                )
            )
        )

        assert [*range(1, 21)] == found[::3]
        assert [*range(1, 21)] == found[1::3] == found[2::3]


def test_without_a_runtime_a_linearizable_query_is_a_plain_method() -> None:
    assert 0 == Gauge().newest()
