"""Streams of tasks: places, order, bounds, time, and what an early end leaves; rule 64, bettered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from tests.otp.tasks.work import double, fail, inside, triple
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


async def after(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def numbers(until: int) -> AsyncIterator[int]:
    for n in range(until):
        await asyncio.sleep(0)
        yield n


async def test_outcomes_come_in_the_order_of_the_items() -> None:
    async def main() -> list[object]:
        return [each async for each in otp.task_stream(double, range(5), max_concurrency=2)]

    assert [otp.Ok(2 * n) for n in range(5)] == await inside(main)


async def test_plain_functions_and_plain_asyncio_code_have_streams_too() -> None:
    assert [otp.Ok(3)] == [each async for each in otp.task_stream(triple, [1])]


def test_unordered_outcomes_come_as_they_are_ready() -> None:
    async def main() -> list[object]:
        items = [0.3, 0.1, 0.2]
        return [each async for each in otp.task_stream(after, items, max_concurrency=3, ordered=False)]

    assert [otp.Ok(0.1), otp.Ok(0.2), otp.Ok(0.3)] == run_virtual(lambda: inside(main))


def test_no_more_run_at_once_than_is_said() -> None:
    running, most = 0, 0

    async def work(n: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01 * (n % 3))
        running -= 1

    async def main() -> None:
        async for _ in otp.task_stream(work, range(30), max_concurrency=4):
            pass

    run_virtual(lambda: inside(main))

    assert 4 == most


def test_a_place_is_free_at_completion_and_what_piles_up_behind_a_slow_head_is_bounded() -> None:
    started: list[int] = []

    async def work(n: int) -> int:
        started.append(n)
        await asyncio.sleep(4.0 if n == 0 else 0.01)
        return n

    async def main() -> list[int]:
        stream = otp.task_stream(work, itertools.count(), max_concurrency=2, buffer=5, timeout=None)
        async with aclosing(stream):
            async for _ in stream:
                return list(started)
        return []

    # The head, those whose outcomes wait behind it, and the place beside it: two at a time, seven in all.
    assert list(range(7)) == run_virtual(lambda: inside(main))


@pytest.mark.parametrize("buffer", [0, 1, 3])
def test_never_more_items_are_taken_than_may_run_and_wait(buffer: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(40):
            taken += 1
            yield n

    async def main() -> int:
        ahead, got = 0, 0
        async for _ in otp.task_stream(double, items(), max_concurrency=2, buffer=buffer):
            got += 1
            ahead = max(ahead, taken - got)
        assert 40 == got
        return ahead

    assert run_virtual(lambda: inside(main)) <= 2 + buffer


def test_an_item_that_takes_too_long_raises_in_the_loop_and_all_that_runs_is_ended() -> None:
    refs: list[kb.ActorRef[Any]] = []

    async def slow(n: int) -> None:
        refs.append(kb.me())
        await asyncio.sleep(100.0)

    async def main() -> tuple[float, list[bool]]:
        with pytest.raises(kb.CallTimeout, match=r"item \d of the stream within 1.5 s"):
            async for _ in otp.task_stream(slow, range(9), max_concurrency=3, timeout=1.5):
                pass
        return asyncio.get_running_loop().time() - 1000, [ref.alive for ref in refs]

    assert (1.5, [False] * 3) == run_virtual(lambda: inside(main))


def test_with_kill_an_item_that_takes_too_long_is_an_outcome_in_its_place() -> None:
    async def main() -> list[object]:
        items = [0.1, 9.0, 0.2]
        stream = otp.task_stream(after, items, max_concurrency=3, timeout=1.0, on_timeout="kill")
        return [each async for each in stream]

    late = otp.Failed(kb.Exited("timeout"), 9.0)
    assert [otp.Ok(0.1), late, otp.Ok(0.2)] == run_virtual(lambda: inside(main))


def test_the_time_of_an_item_counts_from_its_own_start() -> None:
    async def main() -> list[object]:
        items = [0.8, 0.8, 0.8]
        stream = otp.task_stream(after, items, max_concurrency=1, timeout=1.0, on_timeout="kill")
        return [each async for each in stream]

    assert [otp.Ok(0.8)] * 3 == run_virtual(lambda: inside(main))


async def test_a_crash_of_a_linked_task_ends_the_process_that_has_the_loop() -> None:
    async def main() -> None:
        async for _ in otp.task_stream(fail, ["x"]):
            pass

    with pytest.raises(kb.ActorExited) as ended:
        await inside(main)

    assert kb.Crashed(ValueError("x")) == ended.value.reason


async def test_a_crash_without_a_link_is_an_outcome_that_names_its_item() -> None:
    async def odd(n: int) -> int:
        if n % 2:
            raise ValueError(n)
        return n

    async def main() -> list[object]:
        return [each async for each in otp.task_stream(odd, range(3), link=False)]

    assert [otp.Ok(0), otp.Failed(kb.Crashed(ValueError(1)), 1), otp.Ok(2)] == await inside(main)


def test_leaving_the_loop_early_ends_what_runs_and_takes_no_more_items() -> None:
    refs: list[kb.ActorRef[Any]] = []

    async def work(n: int) -> int:
        refs.append(kb.me())
        await asyncio.sleep(n)
        return n

    async def main() -> tuple[int, list[bool]]:
        async with aclosing(otp.task_stream(work, itertools.count(), max_concurrency=3)) as stream:
            async for _ in stream:
                break
        return len(refs), [ref.alive for ref in refs]

    started, alive = run_virtual(lambda: inside(main))

    assert 3 <= started <= 4
    assert not any(alive)


async def test_the_death_of_the_process_that_has_the_loop_ends_what_runs() -> None:
    refs: list[kb.ActorRef[Any]] = []
    begun = asyncio.Event()

    async def work(n: int) -> None:
        refs.append(kb.me())
        begun.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async for _ in otp.task_stream(work, range(2), max_concurrency=1, link=False, timeout=None):
            pass

    ref = kb.spawn(main)
    await begun.wait()
    ref.kill()
    await ref.wait_exit()
    await refs[0].wait_exit()

    assert 1 == len(refs)


async def test_an_async_source_is_read_with_its_outcomes_coming_meanwhile() -> None:
    gate = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        await gate.wait()
        yield 2

    async def main() -> list[object]:
        seen: list[object] = []
        async for each in otp.task_stream(double, source(), max_concurrency=2):
            seen.append(each)
            gate.set()
        return seen

    assert [otp.Ok(2), otp.Ok(4)] == await inside(main)
    assert [otp.Ok(2 * n) for n in range(50)] == [e async for e in otp.task_stream(double, numbers(50))]


async def test_an_async_source_is_closed_when_the_loop_is_left() -> None:
    closed: list[bool] = []

    async def source() -> AsyncIterator[int]:
        try:
            for n in itertools.count():
                yield n
        finally:
            closed.append(True)

    async def main() -> None:
        async with aclosing(otp.task_stream(double, source(), max_concurrency=2)) as stream:
            async for _ in stream:
                break

    await inside(main)

    assert [True] == closed


async def broken() -> AsyncIterator[int]:
    yield 1
    raise OSError("source")


def broken_at_once() -> Iterator[int]:
    yield 1
    raise OSError("source")


@pytest.mark.parametrize("source", [broken, broken_at_once])
async def test_an_error_of_the_source_is_raised_in_the_loop(source: Callable[[], Any]) -> None:
    async def main() -> None:
        async for _ in otp.task_stream(double, source(), max_concurrency=1, buffer=0):
            pass

    with pytest.raises(kb.ActorExited) as ended:
        await inside(main)

    assert kb.Crashed(OSError("source")) == ended.value.reason


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_concurrency": 0}, "max_concurrency takes a whole number >= 1, got 0"),
        ({"buffer": -1}, "buffer takes a whole number >= 0, got -1"),
        ({"timeout": 0}, "timeout takes seconds > 0 or None, got 0"),
        ({"on_timeout": "later"}, "on_timeout is one of 'exit', 'kill'; got 'later'"),
    ],
)
def test_bad_options_are_refused_when_they_are_given(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(kb.UsageError, match=expected):
        otp.task_stream(double, [1], **options)


def test_what_cannot_be_streamed_is_refused_when_it_is_given() -> None:
    with pytest.raises(kb.UsageError, match="an iterable of items"):
        otp.task_stream(double, 3)  # type: ignore[call-overload]
    with pytest.raises(kb.UsageError, match="a function and then the items"):
        otp.task_stream([1], double)  # type: ignore[call-overload]
