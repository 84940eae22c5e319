"""Streams: sources without end, bounded look-ahead, an early end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.rig import pool_of

import koboshi as kb

pytestmark = pytest.mark.usefixtures("fork_server")


class Source:
    """Counts what is taken from it, and tells when it is let go of."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.taken = 0
        self.closed = asyncio.Event()
        self._fails_at = fails_at

    async def items(self) -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                if number == self._fails_at:
                    raise LookupError("the source is broken")
                self.taken += 1
                yield number
        finally:
            self.closed.set()


async def some(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.mark.parametrize("source", [lambda: some(500), lambda: range(500), lambda: iter(range(500))])
async def test_every_item_has_its_result_in_order(source: object) -> None:
    async with pool_of(2) as pool:
        results = [result async for result in pool.jobs.stream(jobs.add_one, source())]  # type: ignore[arg-type, operator, var-annotated]

    assert list(range(1, 501)) == results


async def test_results_may_come_in_any_order() -> None:
    async with pool_of(2) as pool:
        stream = pool.jobs.stream(jobs.add_one, some(500), ordered=False)
        results = [result async for result in stream]

    assert list(range(1, 501)) == sorted(results)


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_endless_source_is_taken_from_no_further_ahead_than_said(ordered: bool) -> None:
    source = Source()
    async with (
        pool_of(2) as pool,
        pool.jobs.stream(jobs.add_one, source.items(), ahead=10, ordered=ordered) as stream,
    ):
        for consumed in range(1, 200):
            await anext(stream)
            assert source.taken <= consumed + 10

    assert source.closed.is_set()


async def test_what_piles_up_behind_a_slow_head_is_bounded(tmp_path: Path) -> None:
    pipe, release = tmp_path / "pipe", tmp_path / "release"
    for path in (pipe, release):
        os.mkfifo(path)
    source = Source()

    async def items() -> AsyncIterator[tuple[str, str] | None]:
        yield str(pipe), str(release)
        async for _ in source.items():
            yield None

    async with pool_of(2) as pool, pool.jobs.stream(jobs.wait_if_told, items(), ahead=20) as stream:
        await asyncio.to_thread(pipe.read_text)
        while stream.progress.done < 19:
            await pool.call(jobs.add_one, 1)
        await pool.call(jobs.add_one, 1)

        assert (19, 19) == (source.taken, stream.progress.done)
        await asyncio.to_thread(release.write_text, "go")
        await anext(stream)


async def test_a_failed_job_has_its_place_raised_or_as_a_value() -> None:
    async with pool_of(2) as pool:
        stream = pool.jobs.stream(math.sqrt, [4, -1, 9])
        assert 2.0 == await anext(stream)
        with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
            await anext(stream)
        assert [3.0] == [result async for result in stream]

        told = pool.jobs.stream(jobs.crash_at_500, [1, 500, 2], return_exceptions=True)
        values = [result async for result in told]

    assert [1, kb.WorkerCrashed, 2] == [type(v) if isinstance(v, Exception) else v for v in values]
    assert kb.Progress(3, 1, 3) == stream.progress == told.progress


async def test_a_failure_of_the_source_comes_last_and_ends_it() -> None:
    async with pool_of(2) as pool:
        stream = pool.jobs.stream(jobs.add_one, Source(fails_at=3).items())
        assert [1, 2, 3] == [await anext(stream) for _ in range(3)]
        with pytest.raises(LookupError, match="the source is broken"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

        assert kb.Progress(3, 0, 3) == stream.progress


async def test_an_early_end_cancels_what_is_queued_and_lets_go_of_the_source(tmp_path: Path) -> None:
    log, source = tmp_path / "log", Source()

    async def items() -> AsyncIterator[tuple[str, int]]:
        async for number in source.items():
            yield str(log), number

    async with pool_of(1) as pool:
        stream = pool.jobs.stream(jobs.log_slowly, items(), ahead=1000)
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert 0 == (await pool.statistics()).queued
        await pool.call(jobs.add_one, 1)
        ran = len(log.read_text().split())
        await pool.call(jobs.add_one, 1)

        assert ran == len(log.read_text().split()) < 50


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_stream_that_is_left_by_break_cancels_what_is_queued(asynchronous: bool) -> None:
    source = Source()
    lazy: Iterator[int] = itertools.count()
    async with pool_of(1) as pool:
        async for _ in pool.jobs.stream(jobs.slow_identity, source.items() if asynchronous else lazy):
            break
        gc.collect()
        await pool.call(jobs.add_one, 1)
        statistics = await pool.statistics()
        if asynchronous:
            async with asyncio.timeout(10):
                await source.closed.wait()

        assert (0, 0) == (statistics.queued, statistics.running)


async def test_the_end_of_the_pool_ends_its_streams(tmp_path: Path) -> None:
    source = Source()
    async with pool_of(1) as pool:
        stream = pool.jobs.stream(jobs.add_one, source.items(), ahead=5)
        await anext(stream)
    with pytest.raises(kb.ActorExited):
        while True:
            await anext(stream)
    async with asyncio.timeout(10):
        await source.closed.wait()


async def test_progress_knows_the_total_where_the_source_can_tell() -> None:
    async with pool_of(1) as pool:
        counted = pool.jobs.map(math.sqrt, [1, -1, 4])
        endless = pool.jobs.stream(jobs.add_one, itertools.count(), ahead=3)
        await anext(counted)
        await anext(endless)

        assert (3, None) == (counted.progress.total, endless.progress.total)
        await endless.aclose()
        with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
            await anext(counted)
        assert 2.0 == await anext(counted)
        assert kb.Progress(3, 1, 3) == counted.progress


async def test_a_killed_worker_costs_a_stream_one_item() -> None:
    async with pool_of(2) as pool:
        stream = pool.jobs.stream(jobs.crash_sometimes, some(2000), return_exceptions=True)
        results = [result async for result in stream]

    assert 2 == sum(isinstance(result, kb.WorkerCrashed) for result in results)
    assert [n for n in range(2000) if n % 1000 != 500] == [r for r in results if isinstance(r, int)]
    assert {"SIGKILL"} == {r.exit.name for r in results if isinstance(r, kb.WorkerCrashed)}
    assert signal.SIGKILL == 9


async def test_what_is_no_source_and_no_bound_is_refused() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(kb.UsageError, match="a stream takes an iterable or an asynchronous one, got 7"):
            pool.jobs.stream(jobs.add_one, 7)  # type: ignore[call-overload]
        with pytest.raises(kb.UsageError, match="ahead takes a whole number >= 1"):
            pool.jobs.stream(jobs.add_one, [1], ahead=0)
        with pytest.raises(kb.UsageError, match="within is for call"):
            pool.jobs.within(1).stream(jobs.add_one, [1])
