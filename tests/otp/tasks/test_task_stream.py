"""Streams that run to their end: order, laziness, concurrency and what piles up (rule 64)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.otp.tasks.scenes import Owner, after, double, inside, now, plain_double, run_inside
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


class Work:
    """Sleeps as long as each item says, and keeps how many did so at a time."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.begun: list[float] = []
        self.ended: list[float] = []

    async def __call__(self, seconds: float) -> float:
        self.begun.append(seconds)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(seconds)
        self.running -= 1
        self.ended.append(seconds)
        return seconds


def test_a_stream_gives_an_outcome_for_each_item_in_order() -> None:
    async def scene() -> list[otp.Outcome[int]]:
        return [outcome async for outcome in otp.task_stream(range(100), double, max_concurrency=7)]

    assert [otp.Ok(2 * n) for n in range(100)] == run_inside(scene)


def test_a_stream_that_nobody_has_but_its_step_goes_on_until_that_is_done() -> None:
    async def scene() -> otp.Outcome[int]:
        stream = otp.task_stream([2, 3], double, max_concurrency=1)
        await anext(stream)
        step = anext(stream)
        del stream
        return await step

    assert otp.Ok(6) == run_inside(scene)


def test_a_stream_takes_a_plain_function_an_asynchronous_source_and_an_empty_one() -> None:
    async def source(count: int) -> AsyncIterator[int]:
        for n in range(count):
            await asyncio.sleep(0.5)
            yield n

    async def scene() -> list[list[int]]:
        return [
            [outcome.unwrap() async for outcome in otp.task_stream(source(count), fn)]
            for count, fn in ((4, plain_double), (3, plain_double), (0, plain_double))
        ] + [[outcome.unwrap() async for outcome in otp.task_stream([], double)]]

    assert [[0, 2, 4, 6], [0, 2, 4], [], []] == run_inside(scene)


def test_outcomes_come_in_the_order_of_the_items_or_of_their_ends() -> None:
    delays = [3.0, 1.0, 2.0, 0.5]

    async def scene() -> list[list[float]]:
        return [
            [
                each.unwrap()
                async for each in otp.task_stream(delays, Work(), max_concurrency=4, ordered=ordered)
            ]
            for ordered in (True, False)
        ]

    assert [delays, sorted(delays)] == run_inside(scene)


def test_no_more_tasks_run_at_a_time_than_allowed_and_as_many_as_allowed_do() -> None:
    work = Work()

    async def scene() -> float:
        async for _ in otp.task_stream([1.0] * 12, work, max_concurrency=4):
            pass
        return now()

    assert pytest.approx(3.0) == run_inside(scene)
    assert 4 == work.most


def test_by_default_there_are_as_many_tasks_as_processors() -> None:
    work = Work()

    async def scene() -> None:
        async for _ in otp.task_stream([1.0] * 200, work):
            pass

    run_inside(scene)

    assert len(os.sched_getaffinity(0)) == work.most


def test_a_stream_takes_nothing_before_it_is_iterated_and_then_only_what_it_has_room_for() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    async def scene() -> list[int]:
        counts = []
        stream = otp.task_stream(source(), double, max_concurrency=3, buffer=0)
        await kb.receive(timeout=1.0)
        counts.append(len(taken))
        for _ in range(3):
            await anext(stream)
            await kb.receive(timeout=1.0)
            counts.append(len(taken))
        await stream.aclose()
        return counts

    assert [0, 3, 4, 5] == run_inside(scene)


def test_an_asynchronous_source_is_asked_for_one_item_for_each_free_place() -> None:
    taken: list[int] = []

    async def source() -> AsyncIterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    async def scene() -> int:
        async with otp.task_stream(source(), after_a_second, max_concurrency=3, buffer=0) as stream:
            await anext(stream)
            await kb.receive(timeout=1.0)
            return len(taken)

    assert 3 == run_inside(scene)


async def after_a_second(value: int) -> int:
    return await after(1.0, value)


def test_an_endless_source_can_be_streamed() -> None:
    async def scene() -> list[int]:
        values = []
        async for outcome in otp.task_stream(iter(int, 1), double, max_concurrency=4):
            values.append(outcome.unwrap())
            if len(values) == 50:
                break
        return values

    assert [0] * 50 == run_inside(scene)


def test_outcomes_are_given_while_an_asynchronous_source_waits() -> None:
    async def source() -> AsyncIterator[float]:
        yield 1.0
        await asyncio.sleep(60.0)
        yield 2.0

    async def scene() -> list[float]:
        return [now() async for _ in otp.task_stream(source(), Work(), max_concurrency=4)]

    assert pytest.approx([1.0, 62.0]) == run_inside(scene)


@pytest.mark.parametrize(("buffer", "piled"), [(0, 1), (5, 6), (None, 5)])
def test_rule_64_what_piles_up_behind_a_slow_head_is_bounded(buffer: int | None, piled: int) -> None:
    work = Work()

    async def scene() -> otp.StreamStatistics:
        stream = otp.task_stream([100.0] + [1.0] * 49, work, max_concurrency=2, buffer=buffer, timeout=None)
        await anext(stream)
        statistics = stream.statistics()
        await stream.aclose()
        return statistics

    statistics = run_inside(scene)

    assert piled == len([each for each in work.ended if each == 1.0])
    assert piled == statistics.waiting
    assert piled + 1 == statistics.taken
    assert 1 == statistics.delivered


def test_rule_64_without_an_order_nothing_piles_up_behind_a_slow_one() -> None:
    async def scene() -> tuple[float, float]:
        stream = otp.task_stream([100.0] + [1.0] * 49, Work(), max_concurrency=2, ordered=False, timeout=None)
        ends = [outcome.unwrap() async for outcome in stream]
        return ends[0], ends[-1]

    assert (1.0, 100.0) == run_inside(scene)


def test_an_actor_streams_in_its_handler_and_hears_no_exits_of_the_tasks() -> None:
    async def scene() -> tuple[list[int], list[kb.ExitReason]]:
        owner = await kb.start(Owner)
        await owner.call(Owner.trap)
        values = await owner.call(Owner.doubled_by_stream, list(range(20)))
        heard = await owner.call(Owner.heard)
        await owner.stop()
        return values, heard

    assert ([2 * n for n in range(20)], []) == run_virtual(scene)


async def test_plain_asyncio_code_streams_too() -> None:
    values = [outcome.unwrap() async for outcome in otp.task_stream(range(20), double)]

    assert [2 * n for n in range(20)] == values


def test_a_supervised_stream_runs_its_tasks_under_its_supervisor() -> None:
    async def main() -> tuple[list[int], int, int]:
        async with otp.TaskSupervisor() as supervisor:
            tasks = otp.tasks(supervisor)
            values = await inside(lambda: values_of(tasks.stream(range(20), double, max_concurrency=4)))
            statistics = await supervisor.statistics()
            return values, statistics.started, statistics.running

    assert ([2 * n for n in range(20)], 20, 0) == run_virtual(main)


async def values_of(stream: otp.TaskStream[int]) -> list[int]:
    return [outcome.unwrap() async for outcome in stream]


def test_a_supervised_stream_ends_with_the_error_of_a_supervisor_that_is_full() -> None:
    async def main() -> int:
        async with otp.TaskSupervisor(max_children=3) as supervisor:
            stream = otp.tasks(supervisor).stream([1.0] * 9, Work(), max_concurrency=4)
            with pytest.raises(kb.TooManyChildren):
                await anext(stream)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            await stream.aclose()
            return (await supervisor.count_children()).active

    assert 0 == run_virtual(main)


def test_a_step_that_is_cancelled_loses_no_item_and_no_outcome() -> None:
    async def scene() -> list[float]:
        values: list[float] = []
        stream = otp.task_stream([1.0, 2.0, 3.0], Work(), max_concurrency=2)
        while True:
            try:
                async with asyncio.timeout(0.4):
                    values.append((await anext(stream)).unwrap())
            except TimeoutError:
                continue
            except StopAsyncIteration:
                return values

    assert [1.0, 2.0, 3.0] == run_inside(scene)


def test_a_supervised_step_that_is_cancelled_while_its_task_is_started_loses_no_item() -> None:
    async def main() -> list[int]:
        async with otp.TaskSupervisor() as supervisor:

            async def scene() -> list[int]:
                stream = otp.tasks(supervisor).stream([1, 2, 3], double, link=False)
                supervisor.me.suspend()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.4):
                        await anext(stream)
                supervisor.me.resume()
                return await values_of(stream)

            return await inside(scene)

    assert [2, 4, 6] == run_virtual(main)


@given(
    delays=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]), max_size=25),
    concurrency=st.integers(1, 6),
    buffer=st.integers(0, 6),
    ordered=st.booleans(),
    lazy=st.booleans(),
    pause=st.sampled_from([0.0, 0.3]),
)
def test_every_stream_keeps_its_bounds_and_its_order(
    delays: list[float], concurrency: int, buffer: int, ordered: bool, lazy: bool, pause: float
) -> None:
    work = Work()
    most_open = 0
    items = list(enumerate(delays))

    async def source() -> AsyncIterator[tuple[int, float]]:
        for item in items:
            await asyncio.sleep(0.05)
            yield item

    async def one(item: tuple[int, float]) -> int:
        await work(item[1])
        return item[0]

    async def scene() -> list[int]:
        nonlocal most_open
        given_out: list[int] = []
        stream = otp.task_stream(
            source() if lazy else items, one, max_concurrency=concurrency, buffer=buffer, ordered=ordered
        )
        async for outcome in stream:
            given_out.append(outcome.unwrap())
            at = stream.statistics()
            assert at.taken == at.running + at.waiting + at.delivered
            assert len(given_out) == at.delivered
            most_open = max(most_open, len(work.begun) - len(given_out))
            if pause:
                await kb.receive(timeout=pause)
        return given_out

    given_out = run_inside(scene)

    assert list(range(len(delays))) == (given_out if ordered else sorted(given_out))
    assert work.most <= concurrency
    assert most_open <= concurrency + buffer


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("max_concurrency", 0, "max_concurrency takes a whole number >= 1, got 0"),
        ("max_concurrency", 2.5, "max_concurrency takes a whole number >= 1, got 2.5"),
        ("buffer", -1, "buffer takes a whole number >= 0, got -1"),
        ("ordered", "yes", "ordered takes True or False, got 'yes'"),
        ("timeout", -1, "timeout takes seconds >= 0 or None, got -1"),
        ("on_timeout", "ignore", "on_timeout is 'exit' or 'kill', got 'ignore'"),
    ],
)
def test_an_impossible_option_is_refused_by_name(option: str, value: Any, expected: str) -> None:
    with pytest.raises(kb.UsageError, match=expected):
        otp.task_stream([1], double, **{option: value})


def test_what_cannot_be_streamed_is_refused() -> None:
    with pytest.raises(kb.UsageError, match="takes an iterable or an asynchronous one, got 7"):
        otp.task_stream(7, double)  # type: ignore[call-overload]
    with pytest.raises(kb.UsageError, match="a stream takes a function"):
        otp.task_stream([1], 7)  # type: ignore[call-overload]


def test_a_stream_has_figures_and_prints_them_in_one_line() -> None:
    async def scene() -> list[Any]:
        stream = otp.task_stream([1.0, 5.0, 1.0, 1.0], Work(), max_concurrency=2, buffer=1)
        seen: list[Any] = [stream.statistics()]
        await anext(stream)
        seen += [stream.statistics(), repr(stream)]
        await stream.aclose()
        return [*seen, repr(stream)]

    before, during, shown, shown_after = run_inside(scene)

    assert otp.StreamStatistics(taken=0, running=0, waiting=0, delivered=0, failed=0) == before
    assert otp.StreamStatistics(taken=3, running=2, waiting=0, delivered=1, failed=0) == during
    assert "2 running, 0 waiting, 1 delivered>" in shown
    assert "over, 1 delivered>" in shown_after
