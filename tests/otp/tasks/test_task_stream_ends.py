"""Streams that end early: failures of items, timeouts (rule 64), leaving the loop, the end of their owner."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.otp.tasks.scenes import (
    Owner,
    double,
    fail,
    for_ever,
    inside,
    now,
    run_inside,
    stop_without_value,
)
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


class Running:
    """Runs for as long as an item says, or for ever, and knows what runs and what was ended early."""

    def __init__(self) -> None:
        self.now: set[Any] = set()
        self.cut: set[Any] = set()

    async def __call__(self, item: float | None) -> float | None:
        self.now.add(item)
        try:
            if item is None:
                raise ValueError("no item")
            await asyncio.sleep(item)
        except asyncio.CancelledError:
            self.cut.add(item)
            raise
        finally:
            self.now.discard(item)
        return item


async def collect(stream: otp.TaskStream[Any], outcomes: list[Any]) -> None:
    """Append what the stream gives, also before it raises."""
    while True:
        try:
            outcomes.append(await anext(stream))
        except StopAsyncIteration:
            return


def crash() -> kb.Crashed:
    return kb.Crashed(ValueError("no item"))


# -- failures of items ---------------------------------------------------------------------------


def test_rule_61_the_crash_of_an_item_ends_a_process_that_does_not_trap_exits_and_all_other_tasks() -> None:
    work = Running()

    async def scene() -> tuple[kb.ExitReason | None, list[str]]:
        passed: list[str] = []

        async def owner() -> None:
            try:
                async for _ in otp.task_stream([9.0, None, 8.0], work, max_concurrency=3, timeout=None):
                    raise AssertionError("an outcome")
            except kb.CallError:
                passed.append("an error")

        return await kb.spawn(owner).wait_exit(), passed

    reason, passed = run_virtual(scene)

    assert crash() == reason
    assert [] == passed
    assert set() == work.now
    assert {9.0} <= work.cut


def test_the_crash_of_an_item_is_an_outcome_in_its_place_for_a_process_that_traps_exits() -> None:
    async def scene() -> tuple[list[Any], Any]:
        kb.trap_exits()
        stream = otp.task_stream([2.0, None, 1.0], Running(), max_concurrency=3)
        return [outcome async for outcome in stream], await kb.receive(timeout=1.0)

    outcomes, left = run_inside(scene)

    assert [otp.Ok(2.0), otp.Failed(crash(), None), otp.Ok(1.0)] == outcomes
    assert kb.Timeout() == left


def test_a_failure_names_its_item() -> None:
    async def scene() -> list[otp.Outcome[int]]:
        owner = await kb.start(Owner)
        await owner.call(Owner.trap)
        outcomes = await owner.call(Owner.outcomes, ["a", "b"])
        await owner.stop()
        return outcomes

    expected = [otp.Failed(kb.Crashed(ValueError(text)), text) for text in "ab"]
    assert expected == run_virtual(scene)


def test_in_plain_asyncio_code_the_crash_of_an_item_is_raised_and_the_others_are_killed() -> None:
    work = Running()

    async def scene() -> kb.ActorExited:
        stream = otp.task_stream([9.0, None, 8.0], work, max_concurrency=3, timeout=None)
        with pytest.raises(kb.ActorExited) as caught:
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()
        return caught.value

    error = run_virtual(scene)

    assert crash() == error.reason
    assert isinstance(error.__cause__, ValueError)
    assert {9.0} <= work.cut
    assert set() == work.now


@pytest.mark.parametrize("in_process", [True, False])
def test_without_a_link_a_crash_is_an_outcome_in_its_place_whoever_iterates(in_process: bool) -> None:
    async def main() -> list[Any]:
        async with otp.TaskSupervisor() as supervisor:

            async def scene() -> list[Any]:
                stream = otp.tasks(supervisor).stream(
                    [2.0, None, 1.0], Running(), max_concurrency=3, link=False
                )
                return [outcome async for outcome in stream]

            return await inside(scene) if in_process else await scene()

    assert [otp.Ok(2.0), otp.Failed(crash(), None), otp.Ok(1.0)] == run_virtual(main)


def test_a_crash_while_the_next_task_is_being_started_ends_the_stream_and_that_task() -> None:
    async def one(item: int) -> None:
        await asyncio.sleep(1.0)
        raise ValueError("no item")

    async def main() -> tuple[kb.ActorExited, int]:
        async with otp.TaskSupervisor() as supervisor:

            def source() -> Iterator[int]:
                yield 1
                supervisor.me.suspend()
                asyncio.get_running_loop().call_later(2.0, supervisor.me.resume)
                yield 2

            stream = otp.tasks(supervisor).stream(source(), one, max_concurrency=2)
            with pytest.raises(kb.ActorExited) as caught:
                await anext(stream)
            await stream.aclose()
            return caught.value, (await supervisor.count_children()).active

    error, left = run_virtual(main)

    assert crash() == error.reason
    assert 0 == left


def test_an_item_that_ends_normally_without_a_value_is_an_outcome_and_ends_nobody() -> None:
    async def one(item: int) -> int:
        return await stop_without_value()

    async def scene() -> list[Any]:
        return [outcome async for outcome in otp.task_stream([7], one)]

    assert [otp.Failed(kb.Normal(), 7)] == run_inside(scene)


def test_failures_are_counted() -> None:
    async def scene() -> otp.StreamStatistics:
        kb.trap_exits()
        stream = otp.task_stream([1.0, None, None], Running())
        async for _ in stream:
            pass
        return stream.statistics()

    assert otp.StreamStatistics(taken=3, running=0, waiting=0, delivered=3, failed=2) == run_inside(scene)


# -- timeouts ------------------------------------------------------------------------------------


def test_rule_64_an_item_that_takes_too_long_ends_the_stream_with_a_timeout() -> None:
    work = Running()

    async def scene() -> tuple[list[Any], kb.CallTimeout, float]:
        outcomes: list[Any] = []
        with pytest.raises(kb.CallTimeout) as caught:
            await collect(otp.task_stream([1.0, 60.0, 1.5], work, max_concurrency=2, timeout=3.0), outcomes)
        at = now()
        await kb.receive(timeout=0.5)
        return outcomes, caught.value, at

    outcomes, error, at = run_inside(scene)

    assert [otp.Ok(1.0)] == outcomes
    assert isinstance(error, TimeoutError)
    assert pytest.approx(3.0) == error.elapsed == at
    assert {60.0} == work.cut
    assert set() == work.now


def test_rule_64_with_kill_an_item_that_takes_too_long_is_an_outcome_in_its_place() -> None:
    work = Running()

    async def scene() -> list[tuple[Any, float]]:
        stream = otp.task_stream([1.0, 60.0, 2.0], work, max_concurrency=3, timeout=3.0, on_timeout="kill")
        return [(outcome, now()) async for outcome in stream]

    outcomes = run_inside(scene)

    late = otp.Failed(kb.Killed("it took longer than 3 s"), 60.0)
    assert [otp.Ok(1.0), late, otp.Ok(2.0)] == [outcome for outcome, _ in outcomes]
    assert pytest.approx([1.0, 3.0, 3.0]) == [at for _, at in outcomes]
    assert {60.0} == work.cut


def test_rule_64_the_time_of_an_item_counts_from_the_start_of_its_task() -> None:
    async def scene() -> list[Any]:
        stream = otp.task_stream(
            [2.0, 2.5, 2.0, 60.0], Running(), max_concurrency=1, timeout=3.0, on_timeout="kill"
        )
        return [(outcome.ok, now()) async for outcome in stream]

    outcomes = run_inside(scene)

    assert [True, True, True, False] == [ok for ok, _ in outcomes]
    assert pytest.approx([2.0, 4.5, 6.5, 9.5]) == [at for _, at in outcomes]


def test_an_item_is_killed_at_its_time_while_its_consumer_does_something_else() -> None:
    work = Running()

    async def scene() -> tuple[set[Any], Any]:
        stream = otp.task_stream([1.0, 60.0], work, max_concurrency=2, timeout=3.0, on_timeout="kill")
        await anext(stream)
        await kb.receive(timeout=10.0)
        return set(work.now), await anext(stream)

    assert (set(), otp.Failed(kb.Killed("it took longer than 3 s"), 60.0)) == run_inside(scene)


def test_a_killed_item_keeps_its_place_until_it_is_gone() -> None:
    running = most = 0

    async def slow_to_leave(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await for_ever()
        finally:
            try:
                await asyncio.sleep(0.05)
            finally:
                running -= 1
        return item

    async def scene() -> list[bool]:
        stream = otp.task_stream(range(4), slow_to_leave, max_concurrency=2, timeout=1.0, on_timeout="kill")
        return [outcome.ok async for outcome in stream]

    assert [False] * 4 == run_inside(scene)
    assert 2 == most


def test_a_stream_without_a_timeout_waits_for_as_long_as_it_takes() -> None:
    async def scene() -> list[Any]:
        return [outcome async for outcome in otp.task_stream([1000.0], Running(), timeout=None)]

    assert [otp.Ok(1000.0)] == run_inside(scene)


def test_an_item_has_five_seconds_unless_told_otherwise() -> None:
    async def scene() -> float:
        with pytest.raises(kb.CallTimeout):
            await anext(otp.task_stream([1000.0], Running()))
        return now()

    assert pytest.approx(5.0) == run_inside(scene)


# -- sources that fail ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_the_error_of_a_source_comes_last_at_its_place(kind: str) -> None:
    def plain() -> Iterator[float]:
        yield 2.0
        yield 1.0
        raise OSError("the source is gone")

    async def lazy() -> AsyncIterator[float]:
        for item in (2.0, 1.0):
            yield item
        raise OSError("the source is gone")

    async def scene() -> list[Any]:
        outcomes: list[Any] = []
        source: Any = plain() if kind == "plain" else lazy()
        stream = otp.task_stream(source, Running(), max_concurrency=4)
        with pytest.raises(OSError, match="the source is gone"):
            await collect(stream, outcomes)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return outcomes

    assert [otp.Ok(2.0), otp.Ok(1.0)] == run_inside(scene)


# -- leaving early -------------------------------------------------------------------------------


def test_leaving_the_loop_kills_what_runs() -> None:
    work = Running()

    async def scene() -> tuple[set[Any], set[Any]]:
        async for _ in otp.task_stream([1.0, 50.0, 60.0, 70.0], work, max_concurrency=3, timeout=None):
            before = set(work.now)
            break
        await kb.receive(timeout=0.01)
        return before, set(work.now)

    before, after = run_inside(scene)

    assert {50.0, 60.0} == before
    assert set() == after


def test_an_error_in_the_loop_kills_what_runs() -> None:
    work = Running()

    async def scene() -> set[Any]:
        with pytest.raises(ZeroDivisionError):
            async for _ in otp.task_stream([1.0, 50.0], work, max_concurrency=3, timeout=None):
                raise ZeroDivisionError
        gc.collect()  # what held the error's frames
        await kb.receive(timeout=0.01)
        return set(work.now)

    assert set() == run_inside(scene)


@pytest.mark.parametrize("lazy", [False, True])
def test_aclose_waits_until_nothing_runs_any_more_and_takes_nothing_more(lazy: bool) -> None:
    work = Running()
    items = [1.0, 50.0, 60.0, 70.0]
    cut: list[str] = []

    async def source() -> AsyncIterator[float]:
        try:
            for item in items:
                yield item
            await for_ever()
        except asyncio.CancelledError:
            cut.append("the source")
            raise

    async def scene() -> tuple[Any, ...]:
        stream = otp.task_stream(source() if lazy else items, work, max_concurrency=5, timeout=None)
        await anext(stream)
        await stream.aclose()
        state = set(work.now), stream.statistics()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return state

    running, statistics = run_inside(scene)

    assert set() == running
    assert {50.0, 60.0, 70.0} == work.cut
    assert otp.StreamStatistics(taken=4, running=0, waiting=0, delivered=1, failed=0) == statistics
    assert (["the source"] if lazy else []) == cut


def test_the_end_of_an_async_with_closes_the_stream() -> None:
    work = Running()

    async def scene() -> set[Any]:
        async with otp.task_stream([1.0, 50.0], work, max_concurrency=2) as stream:
            await anext(stream)
        return set(work.now)

    assert set() == run_inside(scene)
    assert {50.0} == work.cut


def test_a_stream_that_is_dropped_on_another_thread_is_halted_on_its_own() -> None:
    work = Running()

    async def scene() -> set[Any]:
        held = [otp.task_stream([1.0, 50.0], work, max_concurrency=2, timeout=None)]
        await anext(held[0])
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        await kb.receive(timeout=0.01)
        return set(work.now)

    assert set() == run_inside(scene)


def test_a_generator_that_a_stream_has_left_can_be_gone_on_with() -> None:
    async def scene() -> list[int]:
        source = iter(range(10))
        async for _ in otp.task_stream(source, double, max_concurrency=2, buffer=0):
            break
        return list(source)

    assert list(range(2, 10)) == run_inside(scene)


# -- whose it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [kb.Normal(), kb.Kill(), kb.Exited("gone")])
@pytest.mark.parametrize("link", [True, False])
def test_the_end_of_its_owner_in_whatever_way_kills_what_runs(reason: kb.ExitReason, link: bool) -> None:
    work = Running()

    async def main() -> tuple[set[Any], set[Any]]:
        async with otp.TaskSupervisor() as supervisor:
            held: list[Any] = []

            async def owner() -> None:
                stream = otp.tasks(supervisor).stream(
                    [1.0, 50.0], work, timeout=None, max_concurrency=2, link=link
                )
                held.append(stream)
                await anext(stream)
                await kb.receive()

            ref = kb.spawn(owner)
            await asyncio.sleep(2.0)
            before = set(work.now)
            if reason == kb.Normal():
                ref.tell("end")
            ref.exit(reason)
            await ref.wait_exit()
            await asyncio.sleep(0.01)
            return before, set(work.now)

    assert ({50.0}, set()) == run_virtual(main)


def test_a_stream_belongs_to_whoever_has_begun_to_iterate() -> None:
    async def scene() -> list[Any]:
        stream = otp.task_stream([1, 2], double)
        first = await anext(stream)

        async def thief() -> None:
            with pytest.raises(otp.NotTaskOwner, match="the stream of"):
                await anext(stream)

        assert kb.Normal() == await kb.spawn(thief).wait_exit()
        return [first, await anext(stream)]

    assert [otp.Ok(2), otp.Ok(4)] == run_inside(scene)


async def test_a_stream_is_iterated_by_one_at_a_time() -> None:
    stream = otp.task_stream([None], for_ever)
    first = asyncio.create_task(stream.__anext__())
    await asyncio.sleep(0)
    with pytest.raises(kb.UsageError, match="one at a time"):
        await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()
    first.cancel()
    await asyncio.wait([first])


def test_an_unlinked_crash_in_a_stream_of_an_unlinked_function_is_reported() -> None:
    async def scene() -> str:
        reports: list[Any] = []
        stop = kb.listen(reports.append)
        kb.trap_exits()
        async for _ in otp.task_stream(["x"], fail):
            pass
        await kb.receive(timeout=0.1)
        stop()
        return next(each.message for each in reports if isinstance(each, kb.events.CrashReport))

    assert "fail" == run_inside(scene)


def test_figures_of_a_stream_survive_pickling() -> None:
    statistics = otp.StreamStatistics(1, 2, 3, 4, 5)

    assert statistics == pickle.loads(pickle.dumps(statistics))
