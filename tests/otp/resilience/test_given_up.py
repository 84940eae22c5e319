"""Calls that are given up at a gate: what they leave behind for the others."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.virtual import run_virtual

from koboshi import otp
from koboshi.otp.resilience._rate_rules import Buckets


def test_waits_that_are_all_given_up_cost_no_tokens_in_whatever_order_they_go() -> None:
    async def main() -> None:
        limiter = otp.RateLimiter(rate=1.0)
        await limiter.acquire()
        waiting = [asyncio.ensure_future(limiter.acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        for each in waiting[::2] + waiting[1::2]:
            each.cancel()
        await asyncio.wait(waiting)
        began = asyncio.get_running_loop().time()
        await limiter.acquire()

        assert 1.0 == pytest.approx(asyncio.get_running_loop().time() - began)

    run_virtual(main)


def test_who_waits_behind_one_that_gave_up_keeps_its_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = otp.RateLimiter(rate=1.0)
        await limiter.acquire()
        began = loop.time()
        first, second = (asyncio.ensure_future(limiter.acquire()) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        await second
        assert 2.0 == pytest.approx(loop.time() - began)
        await limiter.acquire()

        assert 3.0 == pytest.approx(loop.time() - began)

    run_virtual(main)


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=300), st.randoms())
def test_buckets_from_which_all_was_given_back_are_as_if_never_asked(
    asked: list[tuple[int, bool]], order: random.Random
) -> None:
    buckets = Buckets(1.0, 3, 10)
    promises: list[tuple[float, float]] = []
    for tokens, gives_up in asked:
        promises.append(buckets.take("k", tokens, 0.0, None).promise)
        if gives_up:  # some in between, the others in any order at the end
            buckets.give_back("k", promises.pop(order.randrange(len(promises))), 0.0)
    order.shuffle(promises)
    for promise in promises:
        buckets.give_back("k", promise, 0.0)

    assert 0.0 == buckets.take("k", 3, 0.0, None).wait


def test_what_was_given_up_is_not_remembered_for_ever() -> None:
    buckets = Buckets(1.0, 1, 10)
    for now in range(10_000):
        promise = buckets.take("k", 1, float(now), None).promise
        buckets.take("k", 1, float(now), None)
        buckets.give_back("k", promise, float(now))
        buckets.full_at["k"] = now + 1.0  # the second one is served

    assert 200 > len(buckets._given_up)


def test_a_call_that_failed_is_no_part_of_the_service_time_of_the_next_one() -> None:
    async def main() -> None:
        shedder = otp.LoadShedder(within=100.0, smoothing=1.0)
        one_at_a_time = asyncio.Lock()

        async def work(seconds: float, error: Exception | None = None) -> None:
            async with one_at_a_time:
                await asyncio.sleep(seconds)
                if error is not None:
                    raise error

        await shedder.call(work, 2.0)
        calls = [shedder.call(work, 10.0, ConnectionError()), shedder.call(work, 1.0)]
        await asyncio.gather(*calls, return_exceptions=True)

        assert 2.0 == pytest.approx(shedder.statistics().service)
        await asyncio.gather(shedder.call(work, 5.0), shedder.call(work, 3.0))
        assert 3.0 == pytest.approx(shedder.statistics().service)

    run_virtual(main)
