"""The task processor with real worker processes: every result folded once, whatever crashes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import koboshi as kb
from koboshi.durable import Backoff, Ledger, Result, StaleClaim, TaskProcessor
from koboshi.durable._aggregator import Aggregator
from koboshi.durable._feeder import Feeder
from koboshi.durable._keeper import Keeper
from koboshi.durable._loader import Loader, chunks
from koboshi.durable._task import Verdict, judge

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.durable import processor_jobs  # noqa: E402 - workers must find it by this name

QUICK = Backoff(first=0.01, factor=1.0, limit=0.01, jitter=0.0)


def numbers(count: int) -> Callable[[], Iterator[tuple[str, bytes]]]:
    return lambda: ((f"job-{number}", str(number).encode()) for number in range(count))


def collect(folded: list[str], result: Result) -> list[str]:
    folded.append(result.id)
    return folded


def make(
    path: str, work: Callable[[bytes], bytes] = processor_jobs.double, **options: Any
) -> TaskProcessor[list[str]]:
    defaults: dict[str, Any] = {"workers": 2, "backoff": QUICK, "in_flight": 16}
    return TaskProcessor(path, work, fold=collect, initial=list, **(defaults | options))


def good(count: int) -> list[str]:
    return sorted(f"job-{number}" for number in range(count) if number % 100 != 99)


async def test_each_result_is_folded_once_and_a_job_that_raises_is_a_dead_letter(path: str) -> None:
    processor = make(path, source=numbers(250))
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
        letters = [letter async for letter in (await processor.ledger()).dead_letters()]
        statistics = await processor.statistics()

        assert good(250) == sorted(await processor.total())
        assert ["job-99", "job-199"] == [letter.id for letter in letters]
        assert "attempt 3: ValueError: bad number 99" == letters[0].report.splitlines()[0]
        assert "in double" in letters[0].report
        assert (248, 2, 0, 0) == (
            statistics.jobs.done,
            statistics.jobs.dead,
            statistics.jobs.pending,
            statistics.jobs.claimed,
        )
        assert (0, 248, 6, 0) == (
            statistics.tasks.running,
            statistics.tasks.done,
            statistics.tasks.failed,
            statistics.tasks.interrupted,
        )


async def test_each_failed_attempt_is_a_crash_report_of_its_task(path: str) -> None:
    reports: list[kb.events.CrashReport] = []
    processor = make(path, source=lambda: [("only", b"99")])

    def listen(event: kb.events.Event) -> None:
        if isinstance(event, kb.events.CrashReport):
            reports.append(event)

    forget = kb.listen(listen)
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
    forget()

    assert [1, 2, 3] == [int(report.state.strip("'").rpartition(" ")[2]) for report in reports]
    assert {"bad number 99"} == {str(report.error) for report in reports}


async def test_a_job_that_kills_its_worker_each_time_is_buried_and_the_others_are_done(path: str) -> None:
    processor = make(path, processor_jobs.kill_worker_on_zero, source=numbers(20), max_interruptions=2)
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
        letters = [letter async for letter in (await processor.ledger()).dead_letters()]

        assert ["job-0"] == [letter.id for letter in letters]
        assert "interrupted 2 times" in letters[0].report
        assert "was killed by SIGKILL" in letters[0].report
        assert 19 == len(await processor.total())
        assert 2 == (await processor.statistics()).tasks.interrupted


async def test_a_killed_worker_does_not_cost_the_job_an_attempt(path: str, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    processor = make(
        path,
        processor_jobs.kill_worker_once,
        source=lambda: [("only", str(flag).encode())],
        max_attempts=1,
    )
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
        job = await (await processor.ledger()).job("only")

        assert job is not None
        assert (b"survived", 1) == (job.value, job.attempts)


async def test_a_result_that_is_not_bytes_is_named_in_the_dead_letter(path: str) -> None:
    processor = make(path, processor_jobs.return_text, source=numbers(1))
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
        letters = [letter async for letter in (await processor.ledger()).dead_letters()]

        assert "TypeError: return_text must return bytes, got str for job 'job-0'" in letters[0].report


@pytest.mark.parametrize(
    ("part", "cls"),
    [
        ("store", Keeper),
        ("pool", kb.Pool),
        ("aggregator", Aggregator),
        ("feeder", Feeder),
        ("tasks", kb.DynamicSupervisor),
        ("loader", Loader),
    ],
)
async def test_a_part_that_is_killed_while_jobs_run_loses_and_repeats_nothing(
    path: str, part: str, cls: type[kb.Actor]
) -> None:
    processor = make(path, source=numbers(400))
    plan = processor._plan
    async with kb.Supervisor(processor.child()):
        await processor.wait_settled(50)
        plan.find(cls, part).kill()
        await processor.wait_finished()

        assert good(400) == sorted(await processor.total())


async def test_a_run_that_was_stopped_is_continued_by_the_next_one(path: str) -> None:
    first = make(path, source=numbers(300))
    async with kb.Supervisor(first.child()):
        await first.wait_settled(40)
    async with Ledger(path) as ledger:
        counts = await ledger.counts()
    second = make(path, source=numbers(300))
    async with kb.Supervisor(second.child()):
        await second.wait_finished()

        assert 0 == counts.claimed
        assert 40 <= counts.done + counts.dead
        assert good(300) == sorted(await second.total())


async def test_jobs_may_be_put_beside_the_source_and_known_ids_change_nothing(path: str) -> None:
    processor = make(path)
    async with kb.Supervisor(processor.child()):
        assert [True, True] == await processor.put_many([("a", b"1"), ("b", b"2")])
        await processor.wait_settled(2)
        assert [False] == await processor.put_many([("a", b"7")])
        await processor.wait_finished()

        assert ["a", "b"] == sorted(await processor.total())


async def test_the_source_is_not_read_far_ahead_of_the_work(path: str) -> None:
    waiting: list[int] = []
    processor: TaskProcessor[list[str]]

    async def source() -> AsyncIterator[tuple[str, bytes]]:
        for number in range(1000):
            if number % 50 == 0:
                waiting.append((await processor.statistics()).jobs.pending)
            yield f"job-{number}", b"1"

    processor = make(path, source=source, ahead=100)
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()

        assert 1000 == len(await processor.total())
        # One chunk may be on its way when the limit is reached.
        assert 100 + 256 >= max(waiting)


async def test_a_source_that_fails_is_read_again_from_its_start(path: str) -> None:
    calls = 0

    def source() -> Iterator[tuple[str, bytes]]:
        nonlocal calls
        calls += 1
        yield "first", b"1"
        if calls == 1:
            raise OSError("the source broke")
        yield "second", b"2"

    processor = make(path, source=source)
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()

        assert ["first", "second"] == sorted(await processor.total())
        assert 2 == calls


async def test_an_async_source_that_waits_does_not_hold_back_what_it_gave(path: str) -> None:
    gate = asyncio.Event()

    async def source() -> AsyncIterator[tuple[str, bytes]]:
        yield "before", b"1"
        await gate.wait()
        yield "after", b"2"

    processor = make(path, source=source)
    async with kb.Supervisor(processor.child()):
        await processor.wait_settled(1)
        assert ["before"] == await processor.total()
        gate.set()
        await processor.wait_finished()

        assert ["before", "after"] == await processor.total()


async def test_chunks_keep_the_order_of_the_source() -> None:
    async def source() -> AsyncIterator[tuple[str, bytes]]:
        for number in range(600):
            yield str(number), b""

    for each in (source, lambda: [(str(number), b"") for number in range(600)]):
        ids = [int(id) for chunk in [chunk async for chunk in chunks(each)] for id, _ in chunk]

        assert 600 == len(ids)
        assert all(after == before + 1 for before, after in pairwise(ids))


@pytest.mark.parametrize(
    ("reason", "interruptions", "verdict"),
    [
        (kb.Crashed(ValueError("bad")), 0, Verdict.RETRY),
        (kb.Crashed(ValueError("bad")), 9, Verdict.RETRY),
        (kb.Crashed(kb.NotRunning("pool", "call")), 0, Verdict.RELEASE),
        (kb.Crashed(StaleClaim("acknowledge", ("a",))), 0, Verdict.RELEASE),
        (kb.Killed(), 2, Verdict.RELEASE),
        (kb.Killed(), 3, Verdict.BURY),
        (kb.Shutdown(), 0, Verdict.RELEASE),
    ],
)
def test_only_what_the_job_raised_counts_as_its_failure(
    reason: kb.ExitReason, interruptions: int, verdict: Verdict
) -> None:
    assert verdict is judge(reason, interruptions, max_interruptions=3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"in_flight": 0}, "in_flight must be at least 1, got 0"),
        ({"ahead": 0}, "ahead must be at least 1, got 0"),
        ({"max_attempts": 0}, "max_attempts must be at least 1, got 0"),
        ({"max_interruptions": -1}, "max_interruptions must be at least 0, got -1"),
        ({"lease": 0.0}, "lease must be a positive number of seconds, got 0.0"),
        ({"workers": 0}, "size takes a whole number >= 1, got 0"),
    ],
)
def test_an_option_without_sense_is_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, kb.UsageError), match=text.replace("(", r"\(")):
        make("never.db", **options)
