"""Bulkheads, rate limiters, load shedders and fallbacks."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp
from koboshi.otp.resilience._rate_rules import Buckets
from koboshi.otp.resilience._shedder import Estimate
from koboshi.testing import wait_idle


def now() -> float:
    return asyncio.get_running_loop().time()


class Holder(kb.Actor):
    """Takes a place and keeps it."""

    def __init__(self, bulkhead: otp.Bulkhead) -> None:
        self.bulkhead = bulkhead

    @kb.message
    async def take(self) -> None:
        self.place = await self.bulkhead.acquire()

    @kb.message
    async def work(self) -> None:
        async with self.bulkhead:
            await asyncio.Event().wait()


# -- bulkheads ---------------------------------------------------------------------------------------


async def test_over_its_limit_and_its_queue_a_bulkhead_refuses_at_once() -> None:
    events: list[Any] = []
    stop = kb.listen(events.append)
    bulkhead = otp.Bulkhead("db", limit=1, queue=1)
    place = await bulkhead.acquire()
    waiting = asyncio.ensure_future(bulkhead.acquire())
    await asyncio.sleep(0)

    for _ in range(2):
        with pytest.raises(otp.BulkheadFull, match="all of its 1 places and 1 in the queue are taken"):
            await bulkhead.acquire()

    assert otp.BulkheadStatistics(1, 1, 1, 1, 2) == bulkhead.statistics()
    assert place.release()
    assert not place.release()
    assert (await waiting).held
    assert ["Saturated", "Relieved"] == [type(each).__name__ for each in events]
    assert otp.Relieved("db", 2) == events[1]
    stop()


async def test_the_longest_waiting_is_next_and_no_newcomer_slips_in() -> None:
    bulkhead = otp.Bulkhead(limit=1, queue=5)
    first = await bulkhead.acquire()
    order: list[int] = []

    async def work(n: int) -> None:
        async with bulkhead:
            order.append(n)

    tasks = [asyncio.ensure_future(work(n)) for n in range(3)]
    await asyncio.sleep(0)
    first.release()
    tasks.append(asyncio.ensure_future(work(3)))
    await asyncio.gather(*tasks)

    assert [0, 1, 2, 3] == order
    assert 0 == bulkhead.statistics().taken


def test_who_waits_gives_up_after_the_timeout_or_at_the_callers_deadline() -> None:
    async def main() -> None:
        bulkhead = otp.Bulkhead(limit=1, queue=5, timeout=3.0)
        place = await bulkhead.acquire()
        began = now()
        with pytest.raises(otp.BulkheadFull, match="within 3 s"):
            await bulkhead.acquire()
        assert 3.0 == pytest.approx(now() - began)

        holder = await kb.start(Holder, bulkhead)
        began = now()
        with pytest.raises(kb.CallTimeout):
            await holder.within(1.0).call(Holder.take)
        assert 1.0 == pytest.approx(now() - began)
        await asyncio.sleep(0)
        assert (1, 0) == (bulkhead.statistics().taken, bulkhead.statistics().waiting)
        place.release()
        assert 0 == bulkhead.statistics().taken

    run_virtual(main)


async def test_the_place_of_a_process_that_dies_is_released_before_its_exit_is_seen() -> None:
    for message in (Holder.take, Holder.work):
        bulkhead = otp.Bulkhead(limit=1)
        holder = await kb.start(Holder, bulkhead)
        holder.cast(message)
        await wait_idle()
        assert 1 == bulkhead.statistics().taken
        seen: list[int] = []

        async def watch(holder: kb.ActorRef[Holder], seen: list[int], bulkhead: otp.Bulkhead) -> None:
            kb.monitor(holder)
            await kb.receive(kb.Down)
            seen.append(bulkhead.statistics().taken)

        watcher = kb.spawn(watch, holder, seen, bulkhead)
        await asyncio.sleep(0)
        holder.kill()
        await watcher.wait_exit()

        assert [0] == seen


async def test_a_process_that_dies_while_it_waits_is_taken_out_of_the_queue() -> None:
    bulkhead = otp.Bulkhead(limit=1, queue=1)
    place = await bulkhead.acquire()
    holder = await kb.start(Holder, bulkhead)
    holder.cast(Holder.take)
    await wait_idle()
    assert 1 == bulkhead.statistics().waiting
    holder.kill()
    await holder.wait_exit()

    assert 0 == bulkhead.statistics().waiting
    place.release()
    assert 0 == bulkhead.statistics().taken


async def test_a_place_handed_over_to_one_that_gives_up_goes_on_to_the_next() -> None:
    bulkhead = otp.Bulkhead(limit=1, queue=2)
    place = await bulkhead.acquire()
    one, two = (asyncio.ensure_future(bulkhead.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    place.release()  # to the first, which is cancelled before it runs
    one.cancel()

    assert (await two).held
    assert (1, 0) == (bulkhead.statistics().taken, bulkhead.statistics().waiting)


# -- rate limiters -----------------------------------------------------------------------------------


def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    async def main() -> None:
        limiter = otp.RateLimiter(rate=10.0, burst=3)
        began = now()
        times: list[float] = []
        for _ in range(6):
            async with limiter:
                times.append(round(now() - began, 6))

        assert [0.0, 0.0, 0.0, 0.1, 0.2, 0.3] == times

    run_virtual(main)


def test_a_limiter_that_refuses_says_when_to_come_again() -> None:
    async def main() -> None:
        limiter = otp.RateLimiter("api", rate=2.0, when_empty="refuse")
        await limiter.acquire()
        with pytest.raises(otp.RateLimited) as caught:
            await limiter.acquire()
        assert 0.5 == pytest.approx(caught.value.retry_after)
        assert not limiter.try_acquire()
        await asyncio.sleep(0.5)

        assert limiter.try_acquire()
        assert otp.RateStatistics(1, 0, 2, 2) == limiter.statistics()

    run_virtual(main)


def test_a_limiter_that_is_asked_without_waiting_tells_of_the_first_and_the_last_refusal_of_a_row() -> None:
    async def main() -> None:
        events: list[Any] = []
        stop = kb.listen(events.append)
        limiter = otp.RateLimiter("api", rate=1.0)
        assert [True, False, False] == [limiter.try_acquire() for _ in range(3)]
        await asyncio.sleep(1.0)
        assert limiter.try_acquire()
        stop()

        assert ["Saturated", "Relieved"] == [type(each).__name__ for each in events]
        assert ("api", 2) == (events[0].process, events[1].refused)

    run_virtual(main)


def test_each_key_has_a_bucket_of_its_own() -> None:
    async def main() -> None:
        limiter = otp.RateLimiter(rate=1.0, when_empty="refuse")

        assert [True, True, False] == [limiter.try_acquire(key) for key in ("a", "b", "a")]

    run_virtual(main)


def test_a_new_key_never_makes_one_that_owes_something_forgotten() -> None:
    async def main() -> None:
        limiter = otp.RateLimiter(rate=1.0, max_keys=2)
        assert [True, True, False] == [limiter.try_acquire(key) for key in "abc"]
        await asyncio.sleep(0.9)
        assert [False, False] == [limiter.try_acquire(key) for key in "ca"]
        await asyncio.sleep(0.2)

        assert limiter.try_acquire("c")
        assert 1 == limiter.statistics().keys

    run_virtual(main)


def test_who_could_not_wait_that_long_is_refused_at_once_and_takes_nothing() -> None:
    class Client(kb.Actor):
        @kb.message
        async def go(self) -> float | None:
            began = now()
            try:
                await limiter.acquire()
            except otp.RateLimited:
                return None
            return now() - began

    async def main() -> None:
        client = await kb.start(Client)
        began = now()
        assert 0.0 == await client.call(Client.go)
        assert None is await client.within(5.0).call(Client.go)
        assert began == now()

        assert 10.0 == pytest.approx(await client.within(11.0).call(Client.go))

    limiter = otp.RateLimiter(rate=0.1)
    run_virtual(main)


def test_a_wait_that_is_given_up_gives_its_token_back() -> None:
    async def main() -> None:
        limiter = otp.RateLimiter(rate=1.0)
        await limiter.acquire()
        waiting = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        began = now()
        await limiter.acquire()

        assert 1.0 == pytest.approx(now() - began)

    run_virtual(main)


@given(st.integers(1, 5), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 3)), max_size=40))
def test_in_no_interval_are_more_tokens_given_than_burst_and_rate_allow(
    burst: int, steps: list[tuple[float, int]]
) -> None:
    buckets, at = Buckets(2.0, burst, 10), 0.0
    given_at: list[tuple[float, int]] = []
    for pause, tokens in steps:
        at += pause
        if tokens <= burst and buckets.take("k", tokens, at, 0.0).given:
            given_at.append((at, tokens))
    for first in range(len(given_at)):
        for last in range(first, len(given_at)):
            span = given_at[last][0] - given_at[first][0]

            assert sum(n for _, n in given_at[first : last + 1]) <= burst + 2.0 * span + 1e-6


# -- load shedders -----------------------------------------------------------------------------------


def test_what_would_be_late_is_refused_at_once() -> None:
    class Front(kb.Actor):
        @kb.message
        async def go(self) -> str:
            began = now()
            try:
                async with shedder:
                    return await back.call(Back.work)
            except otp.Overloaded as refused:
                assert began == now()
                return f"refused by {refused.gate}"

    class Back(kb.Actor):
        @kb.message
        async def work(self) -> str:
            await asyncio.sleep(1.0)
            return "done"

    async def main() -> None:
        nonlocal back  # type: ignore[misc]
        back = await kb.start(Back)
        fronts = [await kb.start(Front) for _ in range(4)]
        assert "done" == await fronts[0].call(Front.go)  # from now on it knows how long that takes
        assert 1.0 == pytest.approx(shedder.statistics().service)
        replies = await asyncio.gather(*(each.within(2.5).call(Front.go) for each in fronts))

        assert ["done", "done", "refused by back", "refused by back"] == replies
        assert (3, 2) == (shedder.statistics().passed, shedder.statistics().shed)
        assert 1.0 == pytest.approx(shedder.statistics().service)  # waiting is no service

    back: kb.ActorRef[Back]
    shedder = otp.LoadShedder("back")
    run_virtual(main)


def test_with_nothing_under_way_one_is_let_through_however_slow_it_was() -> None:
    async def main() -> None:
        shedder = otp.LoadShedder(within=1.0, smoothing=1.0)
        await shedder.call(asyncio.sleep, 5.0)
        slow = asyncio.ensure_future(shedder.call(asyncio.sleep, 0.1))
        await asyncio.sleep(0)
        with pytest.raises(otp.Overloaded, match="it would take 10 s and has 1 s"):
            await shedder.call(asyncio.sleep, 0.1)
        await slow

        assert 0.1 == pytest.approx(shedder.statistics().service)

    run_virtual(main)


def test_the_service_time_of_several_servers_is_told_from_the_time_between_ends() -> None:
    estimate = Estimate(2, 1.0)
    tickets = [estimate.begin(0.0) for _ in range(4)]
    assert 0.0 == estimate.seconds()
    estimate.end(tickets[0], 2.0)
    estimate.end(tickets[1], 2.0)
    assert 2.0 == estimate.service
    assert 3.0 == estimate.seconds()  # half a service time until a server is free, and its own
    estimate.end(tickets[2], 3.0)

    assert 2.0 == estimate.service


# -- fallbacks ---------------------------------------------------------------------------------------


async def test_a_fallback_goes_on_only_after_errors_that_fall_through() -> None:
    async def down(key: str) -> str:
        raise kb.NotRunning("cache", key)

    async def broken(key: str) -> str:
        raise ValueError(key)

    async def last(key: str) -> str:
        return f"{key} from disk"

    events: list[Any] = []
    stop = kb.listen(events.append)
    get = otp.fallback(down, last, name="get")
    assert "k from disk" == await get("k")
    assert ("get", "NotRunning") == (events[0].process, type(events[0].error).__name__)
    assert events[0].failed.endswith("down")
    assert events[0].next.endswith("last")
    assert otp.FallbackStatistics((0, 1), 0) == get.statistics()
    stop()
    with pytest.raises(ValueError, match="k"):
        await otp.fallback(broken, last)("k")
    assert "k from disk" == await otp.fallback(broken, down, last, on=(ValueError, kb.CallError))("k")

    with pytest.raises(kb.NotRunning):
        await otp.fallback(down, down)("k")


async def test_refusals_of_the_gates_fall_through() -> None:
    async def never() -> str:
        return "primary"

    async def other() -> str:
        return "other"

    full = otp.Bulkhead(limit=1)
    place = await full.acquire()
    assert "other" == await otp.fallback(full(never), other)()
    place.release()

    assert "primary" == await otp.fallback(full(never), other)()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: otp.Bulkhead(limit=0), "limit takes a whole number >= 1, got 0"),
        (lambda: otp.Bulkhead(limit=1, queue=-1), "queue takes a whole number >= 0, got -1"),
        (lambda: otp.Bulkhead(limit=1, timeout=0), "timeout takes seconds > 0 or None, got 0"),
        (lambda: otp.RateLimiter(rate=0), "rate takes tokens per second > 0, got 0"),
        (lambda: otp.RateLimiter(rate=1, burst=0), "burst takes a whole number >= 1, got 0"),
        (lambda: otp.RateLimiter(rate=1, when_empty="drop"), "when_empty is one of"),  # type: ignore[arg-type]
        (lambda: otp.RateLimiter(rate=1, max_keys=0), "max_keys takes a whole number >= 1"),
        (lambda: otp.LoadShedder(servers=0), "servers takes a whole number >= 1"),
        (lambda: otp.LoadShedder(within=-1), "within takes seconds > 0 or None"),
        (lambda: otp.LoadShedder(smoothing=0), "smoothing takes a number above 0"),
        (lambda: otp.fallback(asyncio.sleep), "at least one other"),
        (lambda: otp.fallback(asyncio.sleep, asyncio.sleep, on=1), "on takes exception"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_option_is_refused_by_name(make: Any, told: str) -> None:
    with pytest.raises(kb.UsageError, match=re.escape(told)):
        make()


async def test_a_key_that_cannot_be_and_tokens_that_never_come_are_refused() -> None:
    limiter = otp.RateLimiter(rate=1.0, burst=2)
    with pytest.raises(kb.UsageError, match="hashable"):
        limiter.try_acquire([])
    with pytest.raises(kb.UsageError, match="at most the burst of 2, got 3"):
        await limiter.acquire(tokens=3)


def test_they_print_in_one_line() -> None:
    assert "<Bulkhead db 0 of 2 places taken>" == repr(otp.Bulkhead("db", limit=2))
    assert "<RateLimiter limiter 5/s, burst 1>" == repr(otp.RateLimiter(rate=5))
    assert "<LoadShedder shedder 0 pending>" == repr(otp.LoadShedder())
    assert "<Fallback f of 2 functions>" == repr(otp.fallback(asyncio.sleep, asyncio.sleep, name="f"))
