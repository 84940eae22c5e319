"""Deadlines of calls: what expires when, what is skipped, and how they travel through chains of calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb


class Worker(kb.Actor):
    """Works for as long as it is told to."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @kb.message
    def double(self, n: int) -> int:
        self.done.append(f"double {n}")
        return 2 * n

    @kb.message
    def history(self) -> list[str]:
        return list(self.done)

    @kb.message
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        self.done.append(f"slept {seconds:g}")
        return "woke"


def test_the_default_deadline_is_five_seconds() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)
        loop = asyncio.get_running_loop()
        began = loop.time()

        with pytest.raises(kb.CallTimeout) as caught:
            await worker.call(Worker.sleep, 60.0)

        assert 5.0 == pytest.approx(loop.time() - began)
        assert 5.0 == pytest.approx(caught.value.elapsed)

    run_virtual(main)


def test_a_timeout_of_a_started_call_says_that_it_may_have_been_executed() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)

        with pytest.raises(kb.CallTimeout, match="had begun") as caught:
            await worker.within(1.0).call(Worker.sleep, 2.0)

        assert caught.value.maybe_executed
        assert isinstance(caught.value, TimeoutError)
        # The running handler is not cancelled: it ends in its own time.
        assert ["slept 2"] == await worker.call(Worker.history)

    run_virtual(main)


def test_an_expired_request_that_was_not_started_is_skipped() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)
        worker.cast(Worker.sleep, 2.0)

        with pytest.raises(kb.CallTimeout, match="not been started") as caught:
            await worker.within(1.0).call(Worker.double, 1)

        assert not caught.value.maybe_executed
        assert ["slept 2"] == await worker.call(Worker.history)

    run_virtual(main)


def test_a_reply_that_came_before_the_deadline_is_returned_however_late_the_caller_looks() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)

        class Slow(kb.Actor):
            @kb.message
            async def run(self) -> int:
                call = worker.within(1.0).call(Worker.double, 4)
                waiting = asyncio.ensure_future(call)
                await asyncio.sleep(3.0)
                return await waiting

        slow = await kb.start(Slow)
        assert 8 == await slow.call(Slow.run)

    run_virtual(main)


def test_calls_of_different_deadlines_expire_in_the_order_of_their_deadlines() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)
        worker.cast(Worker.sleep, 60.0)
        expired: list[float] = []

        async def one(seconds: float) -> None:
            with pytest.raises(kb.CallTimeout):
                await worker.within(seconds).call(Worker.double, 1)
            expired.append(seconds)

        await asyncio.gather(*(one(seconds) for seconds in (3.0, 1.0, 2.0, 0.5, 1.5)))

        assert [0.5, 1.0, 1.5, 2.0, 3.0] == expired

    run_virtual(main)


def test_a_deadline_is_kept_when_calls_of_the_same_duration_went_before() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)
        loop = asyncio.get_running_loop()
        await worker.within(2.0).call(Worker.sleep, 1.0)
        began = loop.time()

        with pytest.raises(kb.CallTimeout):
            await worker.within(2.0).call(Worker.sleep, 9.0)

        assert 2.0 == pytest.approx(loop.time() - began)

    run_virtual(main)


def test_a_call_within_none_waits_for_ever() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)

        assert "woke" == await worker.within(None).call(Worker.sleep, 100_000.0)

    run_virtual(main)


def test_a_reply_at_the_very_deadline_is_a_reply_or_a_timeout_and_nothing_else() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)
        (outcome,) = await asyncio.gather(worker.within(1.0).call(Worker.sleep, 1.0), return_exceptions=True)
        assert outcome == "woke" or (isinstance(outcome, kb.CallTimeout) and outcome.maybe_executed)
        assert ["slept 1"] == await worker.call(Worker.history)

    run_virtual(main)


def test_a_deadline_of_zero_expires_a_call_that_has_to_wait() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)
        worker.cast(Worker.sleep, 1.0)
        with pytest.raises(kb.CallTimeout):
            await worker.within(0).call(Worker.double, 1)

    run_virtual(main)


class Chain(kb.Actor):
    """Passes a call on to the next of its kind and reports what time was left."""

    def __init__(self, following: kb.ActorRef[Any] | None = None) -> None:
        self.following = following
        self.left: float | None = None
        self.caught: BaseException | None = None

    @kb.message
    async def run(self, spend: float, work: float, within: float | None) -> str:
        self.left = kb.time_left()
        await asyncio.sleep(spend)
        if self.following is None:
            await asyncio.sleep(work)
            return "done"
        try:
            return await self.following.within(within).call(Chain.run, spend, work, within)
        except BaseException as error:
            self.caught = error
            raise

    @kb.message
    def seen(self) -> tuple[float | None, BaseException | None]:
        return self.left, self.caught

    @kb.message
    def left_now(self) -> float | None:
        return kb.time_left()


def test_a_deadline_travels_through_a_chain_of_calls() -> None:
    async def main() -> None:
        last = await kb.start(Chain)
        middle = await kb.start(Chain, last)
        first = await kb.start(Chain, middle)

        assert "done" == await first.within(5.0).call(Chain.run, 1.0, 0.5, None)

        lefts = [(await each.call(Chain.seen))[0] for each in (first, middle, last)]
        assert [5.0, 4.0, 3.0] == [pytest.approx(left) for left in lefts]

    run_virtual(main)


def test_a_callee_may_shorten_a_deadline_but_never_lengthen_it() -> None:
    async def main() -> None:
        last = await kb.start(Chain)
        first = await kb.start(Chain, last)

        assert "done" == await first.within(5.0).call(Chain.run, 1.0, 0.0, 2.0)
        assert 2.0 == pytest.approx((await last.call(Chain.seen))[0])

        assert "done" == await first.within(5.0).call(Chain.run, 1.0, 0.0, 900.0)
        assert 4.0 == pytest.approx((await last.call(Chain.seen))[0])

    run_virtual(main)


def test_an_inner_call_fails_when_the_first_caller_gives_up() -> None:
    async def main() -> None:
        last = await kb.start(Chain)
        first = await kb.start(Chain, last)
        ended = asyncio.ensure_future(first.wait_exit())
        loop = asyncio.get_running_loop()
        began = loop.time()

        with pytest.raises(kb.CallTimeout):
            await first.within(2.0).call(Chain.run, 1.0, 50.0, None)
        reason = await ended

        assert 2.0 == pytest.approx(loop.time() - began)
        assert isinstance(reason, kb.Crashed)
        assert isinstance(reason.error, kb.CallTimeout)
        assert last.alive

    run_virtual(main)


def test_a_call_made_after_the_caller_gave_up_fails_at_once_and_is_not_executed() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)

        class Late(kb.Actor):
            def __init__(self) -> None:
                self.caught: list[kb.CallTimeout] = []

            @kb.message
            async def run(self) -> None:
                await asyncio.sleep(2.0)
                try:
                    await worker.call(Worker.double, 1)
                except kb.CallTimeout as error:
                    self.caught.append(error)

            @kb.message
            def errors(self) -> list[kb.CallTimeout]:
                return self.caught

        late = await kb.start(Late)
        with pytest.raises(kb.CallTimeout):
            await late.within(1.0).call(Late.run)

        (error,) = await late.call(Late.errors)
        assert not error.maybe_executed
        assert [] == await worker.call(Worker.history)

    run_virtual(main)


async def test_time_left_is_none_for_casts_and_for_calls_without_a_deadline() -> None:
    lefts: list[float | None] = []

    class Asked(kb.Actor):
        @kb.message
        def left(self) -> None:
            lefts.append(kb.time_left())

    asked = await kb.start(Asked)
    asked.cast(Asked.left)
    await asked.within(None).call(Asked.left)

    assert [None, None] == lefts
