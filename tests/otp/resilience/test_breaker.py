"""Circuit breakers: when they open, what they let through, how they close."""

from __future__ import annotations

import asyncio
import pickle
import re
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp
from koboshi.otp.resilience._breaker_rules import BreakerRules


async def fail(error: type[Exception] = ValueError) -> None:
    raise error("no")


async def succeed(value: int = 1) -> int:
    return value


async def fail_through(breaker: otp.CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="no"):
            await breaker.call(fail)


def test_it_opens_after_so_many_failures_and_refuses_without_calling() -> None:
    async def main() -> None:
        events: list[Any] = []
        stop = kb.listen(events.append)
        breaker = otp.CircuitBreaker("shop", failures=3, reset=5.0)
        await fail_through(breaker, 2)
        assert "closed" == breaker.state
        await fail_through(breaker)
        assert "open" == breaker.state

        with pytest.raises(
            otp.BreakerOpen, match="shop refused the call: it is open; try again in 5 s"
        ) as caught:
            await breaker.call(succeed)

        assert ("shop", 5.0) == (caught.value.gate, caught.value.retry_after)
        assert otp.BreakerStatistics("open", 0, 3, 1, 1, 5.0) == breaker.statistics()
        assert [otp.BreakerOpened("shop", 5.0, 3)] == events
        stop()

    run_virtual(main)


def test_failures_that_are_older_than_the_window_do_not_count_and_its_edge_does() -> None:
    async def main() -> None:
        apart, inside = (otp.CircuitBreaker(failures=2, window=10.0) for _ in range(2))
        await fail_through(apart)
        await fail_through(inside)
        await asyncio.sleep(10.0)
        await fail_through(inside)
        await asyncio.sleep(0.001)
        await fail_through(apart)

        assert ("closed", "open") == (apart.state, inside.state)

    run_virtual(main)


def test_after_its_time_one_probe_passes_and_its_success_closes_it() -> None:
    async def main() -> None:
        events: list[Any] = []
        stop = kb.listen(events.append)
        breaker = otp.CircuitBreaker(failures=1, reset=5.0)
        await fail_through(breaker)
        await asyncio.sleep(4.999)
        with pytest.raises(otp.BreakerOpen):
            await breaker.call(succeed)
        await asyncio.sleep(0.001)
        gate = asyncio.Event()
        probe = asyncio.ensure_future(breaker.call(gate.wait))
        await asyncio.sleep(0)

        with pytest.raises(otp.BreakerOpen, match="all its probes are under way") as caught:
            await breaker.call(succeed)
        assert caught.value.retry_after is None
        gate.set()
        await probe

        assert "closed" == breaker.state
        assert 7 == await breaker.call(succeed, 7)
        assert ["BreakerOpened", "BreakerHalfOpened", "BreakerClosed"] == [
            type(each).__name__ for each in events
        ]
        stop()

    run_virtual(main)


def test_a_failed_probe_opens_it_again_for_longer() -> None:
    async def main() -> None:
        breaker = otp.CircuitBreaker(failures=1, reset=kb.Backoff(1.0, 3.0))
        waits: list[float | None] = []
        for _ in range(4):
            await fail_through(breaker)
            waits.append(breaker.statistics().retry_after)
            await asyncio.sleep(waits[-1] or 0.0)

        assert [1.0, 2.0, 3.0, 3.0] == waits

    run_virtual(main)


def test_a_long_time_closed_makes_the_next_opening_short_again_and_a_short_one_does_not() -> None:
    async def main() -> None:
        breaker = otp.CircuitBreaker(failures=1, reset=kb.Backoff(1.0, 8.0))
        waits: list[float | None] = []
        for closed_for in (0.0, 7.0, 8.0, 0.0):
            await fail_through(breaker)
            waits.append(breaker.statistics().retry_after)
            await asyncio.sleep(waits[-1] or 0.0)
            await breaker.call(succeed)
            await asyncio.sleep(closed_for)

        assert [1.0, 2.0, 4.0, 1.0] == waits

    run_virtual(main)


def test_the_wait_has_its_jitter() -> None:
    async def main() -> None:
        waits = set()
        for seed in range(10):
            breaker = otp.CircuitBreaker(failures=1, reset=kb.Backoff(10.0, 10.0, jitter=0.5), seed=seed)
            await fail_through(breaker)
            waits.add(breaker.statistics().retry_after)

        assert 10 == len(waits)
        assert all(wait is not None and 5.0 <= wait <= 10.0 for wait in waits)

    run_virtual(main)


@pytest.mark.parametrize(
    "counts", [ConnectionError, (ConnectionError,), lambda e: isinstance(e, ConnectionError)]
)
async def test_only_what_counts_is_a_failure(counts: Any) -> None:
    breaker = otp.CircuitBreaker(failures=1, counts=counts)
    with pytest.raises(ValueError, match="no"):
        await breaker.call(fail)
    assert "closed" == breaker.state
    with pytest.raises(ConnectionError):
        await breaker.call(fail, ConnectionError)

    assert "open" == breaker.state


def test_an_answer_that_is_no_failure_closes_a_half_open_breaker() -> None:
    async def main() -> None:
        breaker = otp.CircuitBreaker(failures=1, reset=1.0, counts=ConnectionError)
        with pytest.raises(ConnectionError):
            await breaker.call(fail, ConnectionError)
        await asyncio.sleep(1.0)
        with pytest.raises(ValueError, match="no"):
            await breaker.call(fail)

        assert "closed" == breaker.state

    run_virtual(main)


def test_a_cancelled_probe_says_nothing_and_another_may_be_sent() -> None:
    async def main() -> None:
        breaker = otp.CircuitBreaker(failures=1, reset=1.0)
        await fail_through(breaker)
        await asyncio.sleep(1.0)
        probe = asyncio.ensure_future(breaker.call(asyncio.Event().wait))
        await asyncio.sleep(0)
        probe.cancel()
        await asyncio.wait([probe])

        assert "half_open" == breaker.state
        assert 1 == await breaker.call(succeed)
        assert "closed" == breaker.state

    run_virtual(main)


def test_a_probe_whose_error_could_not_be_judged_gives_its_turn_to_another() -> None:
    def judge(error: BaseException) -> bool:
        if str(error) == "odd":
            raise LookupError("cannot judge")
        return True

    async def odd() -> None:
        raise ValueError("odd")

    async def main() -> str:
        breaker = otp.CircuitBreaker(failures=1, reset=5.0, counts=judge)
        await fail_through(breaker)
        await asyncio.sleep(5.0)
        with pytest.raises(LookupError, match="cannot judge"):
            await breaker.call(odd)
        await breaker.call(succeed)
        return breaker.state

    assert "closed" == run_virtual(main)


def test_what_began_before_it_opened_says_nothing_afterwards() -> None:
    async def main() -> None:
        breaker = otp.CircuitBreaker(failures=1, reset=1.0)
        old = asyncio.ensure_future(breaker.call(asyncio.sleep, 5.0))
        await asyncio.sleep(0)
        await fail_through(breaker)
        await asyncio.sleep(1.0)
        probe = asyncio.ensure_future(breaker.call(asyncio.sleep, 10.0))
        await old

        assert "half_open" == breaker.state
        await probe
        assert "closed" == breaker.state

    run_virtual(main)


async def test_a_killed_process_gives_its_probe_back() -> None:
    class Prober(kb.Actor):
        @kb.message
        async def probe(self) -> None:
            await breaker.call(asyncio.Event().wait)

    breaker = otp.CircuitBreaker(failures=1, reset=0.001)
    await fail_through(breaker)
    prober = await kb.start(Prober)
    while breaker.state == "open":
        prober.cast(Prober.probe)
        try:
            await prober.within(0.01).call(Prober.probe)
        except kb.CallError:
            prober = prober if prober.alive else await kb.start(Prober)
    prober.kill()
    await prober.wait_exit()

    assert 1 == await breaker.call(succeed)


async def test_it_is_a_decorator_a_context_manager_and_goes_round_a_call() -> None:
    class Shop(kb.Actor):
        @kb.message
        def buy(self, count: int) -> int:
            return 2 * count

    breaker = otp.CircuitBreaker(failures=1)
    shop = await kb.start(Shop)
    assert 6 == await breaker.call(shop.call, Shop.buy, 3)

    @breaker
    async def double(n: int) -> int:
        return 2 * n

    assert 8 == await double(4)
    async with breaker, breaker:
        assert 2 == await succeed(2)
    with pytest.raises(ValueError, match="no"):
        async with breaker:
            await fail()

    with pytest.raises(otp.BreakerOpen):
        await double(4)
    assert "double" == double.__name__
    assert "<CircuitBreaker breaker open>" == repr(breaker)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"failures": 0}, "failures takes a whole number >= 1, got 0"),
        ({"probes": 0}, "probes takes a whole number >= 1, got 0"),
        ({"window": 0}, "window takes seconds > 0, got 0"),
        ({"reset": -1}, "reset takes seconds > 0, got -1"),
        ({"reset": None}, "reset takes seconds > 0 or a kb.Backoff, got None"),
        ({"counts": 3}, "counts takes exception classes or a function"),
        ({"name": ""}, "name takes a string"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any], told: str) -> None:
    with pytest.raises(kb.UsageError, match=re.escape(told)):
        otp.CircuitBreaker(**options)


def test_refusals_survive_pickling() -> None:
    for kind in (otp.BreakerOpen, otp.BulkheadFull, otp.RateLimited, otp.Overloaded):
        error = pickle.loads(pickle.dumps(kind("shop", "no", 1.5)))

        assert (kind, "shop", 1.5) == (type(error), error.gate, error.retry_after)
        assert "shop refused the call: no; try again in 1.5 s" == str(error)


class BreakerMachine(RuleBasedStateMachine):
    """Any order of events: what must hold in every state."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = BreakerRules(2, 5.0, kb.Backoff(1.0, 4.0), 2, lambda: 0.0)
        self.now = 0.0
        self.out: list[tuple[int, str]] = []

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def enter(self) -> None:
        was_open_until = self.breaker.until if self.breaker.state == "open" else None
        era = self.breaker.admit(self.now)
        if was_open_until is not None and self.now < was_open_until:
            assert era is None
        if era is not None:
            self.out.append((era, self.breaker.state))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        era, state = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.breaker.state, self.breaker.era
        if how == "abandoned":
            self.breaker.abandoned(era)
        else:
            getattr(self.breaker, how)(era, self.now)
        if era != before[1]:
            assert before == (self.breaker.state, self.breaker.era)  # of an older time
        elif state == "half_open" and how == "failed":
            assert "open" == self.breaker.state

    @invariant()
    def no_more_probes_than_allowed(self) -> None:
        if self.breaker.state == "half_open":
            assert 2 >= sum(1 for era, _ in self.out if era == self.breaker.era)


TestBreakerMachine = BreakerMachine.TestCase
