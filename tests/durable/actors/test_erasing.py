"""An actor that is erased by another program than has it awake."""

from __future__ import annotations

import asyncio

import pytest
from tests.durable.another import another_program

import koboshi as kb
from koboshi.durable.actors._erasing import erase
from koboshi.durable.actors._identity import Identity

from .test_linearizable import Gauge
from .test_restarts import kind_of


@pytest.fixture
def gauges(url: str) -> kb.Durable[Gauge]:
    return kb.durable(Gauge, store=url)


def who(key: str) -> Identity:
    return Identity("default", "Gauge", key)


async def test_its_turns_and_linearizable_queries_are_refused_at_once(
    gauges: kb.Durable[Gauge], url: str
) -> None:
    async with kb.Supervisor(gauges.child()), another_program(url) as other:
        for key, message, args in (("a", Gauge.raise_by, (1,)), ("b", Gauge.newest, ())):
            await gauges[key].call(Gauge.raise_by, 5)
            rows, owner = await other.change(lambda session, key=key: erase(session, who(key)))  # type: ignore[misc]
            assert (1, kind_of(gauges).store.host) == (rows, owner)

            with pytest.raises(kb.Fenced, match="taken over by another host, or erased"):
                await gauges[key].call(message, *args)
            assert 0 == await gauges[key].call(Gauge.level)


async def test_its_plain_queries_are_answered_for_a_moment_only(gauges: kb.Durable[Gauge], url: str) -> None:
    loop = asyncio.get_running_loop()
    async with kb.Supervisor(gauges.child()), another_program(url) as other:
        for round in range(2):
            for key in ("erased", "kept"):
                await gauges[key].call(Gauge.raise_by, 5)
            down = await gauges["erased"].awake()
            await other.change(lambda session: erase(session, who("erased")))
            began = loop.time()
            assert kb.Shutdown("erased") == await down.wait_exit()
            # Far below the margin of the lease.
            assert loop.time() - began < kind_of(gauges).store._lease / 5

            assert 0 == await gauges["erased"].call(Gauge.level)
            assert 5 * (round + 1) == await gauges["kept"].call(Gauge.level)
        assert 4 == gauges.statistics().activated


async def test_one_that_sleeps_is_erased_without_anybody_being_told(
    gauges: kb.Durable[Gauge], url: str
) -> None:
    async with kb.Supervisor(gauges.child()):
        await gauges["a"].call(Gauge.raise_by, 5)
        kind = kind_of(gauges)
        await kind.store.settled()
        kind.deactivate(kind.active["a"])
        await gauges["b"].call(Gauge.raise_by, 5)
        assert 1 == await gauges["a"].erase()
        found = await kind.store.read(
            lambda session: session.execute("SELECT counter_name FROM kb_counter WHERE amount > 0", {})
        )

        assert [] == found
        assert 0 == await gauges["a"].call(Gauge.level)
