"""The task processor with real worker processes: every result folded once, whatever crashes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.durable.processor import work

import koboshi as kb
from koboshi.durable import Result, TaskProcessor
from koboshi.durable.processor._aggregator import Aggregator
from koboshi.durable.processor._loader import Loader, chunks
from koboshi.durable.processor._tally import Tally
from koboshi.durable.tasks._desk import Desk
from koboshi.durable.tasks._runner import Runner

Folded = list[tuple[str, int]]
Processor = TaskProcessor[int, int, Folded]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tasks.db"


def numbers(count: int) -> Callable[[], Iterator[tuple[str, int]]]:
    return lambda: ((f"job-{number}", number) for number in range(count))


def collect(folded: Folded, result: Result[int]) -> Folded:
    folded.append((result.id, result.value))
    return folded


def make(url: str, task: Any = work.double, **options: Any) -> Processor:
    defaults: dict[str, Any] = {"workers": 2}
    return TaskProcessor(url, task, fold=collect, initial=list, **(defaults | options))


def good(count: int) -> Folded:
    return sorted((f"job-{number}", 2 * number) for number in range(count) if number % 100 != 99)


async def dead(processor: Processor) -> dict[str, str]:
    return {task.id: task.report or "" async for task in processor.queue.tasks("dead")}


async def test_each_result_is_folded_once_and_a_task_that_raises_is_a_dead_letter(url: str) -> None:
    processor = make(url, source=numbers(250))
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
        letters, found = await dead(processor), await processor.statistics()

        assert good(250) == sorted(await processor.total())
        assert ["job-199", "job-99"] == sorted(letters)
        assert "attempt 3: ValueError: bad number 99" == letters["job-99"].splitlines()[0]
        assert "in double" in letters["job-99"]
        assert (0, 0, 248, 2) == (found.waiting, found.claimed, found.done, found.dead)
        assert (248, 4, 2) == (found.done_here, found.retried_here, found.died_here)


async def test_results_are_folded_in_the_order_of_their_commits_and_numbered_without_gaps(url: str) -> None:
    def add(folded: list[int], result: Result[int]) -> list[int]:
        folded.append(result.position)
        return folded

    processor = TaskProcessor(url, work.double, fold=add, initial=list, source=numbers(90), workers=2)
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()

        assert list(range(1, 91)) == await processor.total()


async def test_a_task_that_kills_its_worker_each_time_is_buried_and_the_others_are_done(url: str) -> None:
    processor = make(url, work.kill_worker_on_zero, source=numbers(20))
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
        letters = await dead(processor)

        assert ["job-0"] == list(letters)
        assert "interrupted 3 times" in letters["job-0"]
        assert "was killed by SIGKILL" in letters["job-0"]
        assert 19 == len(await processor.total())


async def test_a_killed_worker_does_not_cost_the_task_an_attempt(url: str, tmp_path: Path) -> None:
    def last(_: str, result: Result[str]) -> str:
        return result.value

    processor = TaskProcessor(
        url,
        work.kill_worker_once,
        fold=last,
        initial=str,
        source=lambda: [("only", str(tmp_path / "flag"))],
        workers=1,
    )
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()
        assert "survived" == await processor.total()
        [info] = [task async for task in processor.queue.tasks("done")]
        assert (1, 1) == (info.attempts, info.interruptions)


async def test_a_coroutine_task_runs_on_the_loop(url: str) -> None:
    processor = make(url, work.doubled_here, source=numbers(50))
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()

        assert 50 == len(await processor.total())


PARTS = [
    ("desk", Desk),
    ("pool", kb.Pool),
    ("runner", Runner),
    ("aggregator", Aggregator),
    ("tally", Tally),
    ("loader", Loader),
]


@pytest.mark.parametrize(("part", "cls"), PARTS)
async def test_a_part_that_is_killed_while_tasks_run_loses_and_repeats_nothing(
    url: str, part: str, cls: type[kb.Actor]
) -> None:
    processor = make(url, source=numbers(400))
    async with kb.Supervisor(processor.child()):
        await processor.wait_settled(50)
        processor._plan.find(cls, part).kill()
        await processor.wait_finished()

        assert good(400) == sorted(await processor.total())


async def test_a_run_that_was_stopped_is_continued_by_the_next_one(url: str) -> None:
    first = make(url, source=numbers(300))
    async with kb.Supervisor(first.child()):
        await first.wait_settled(40)
    looking = make(url, source=None)
    async with kb.Supervisor(looking.queue.producer()):
        stopped = await looking.statistics()
    second = make(url, source=numbers(300))
    async with kb.Supervisor(second.child()):
        await second.wait_finished()

        assert 0 == stopped.claimed
        assert 40 <= stopped.done + stopped.dead
        assert good(300) == sorted(await second.total())


async def test_tasks_may_be_put_beside_the_source_and_known_ids_change_nothing(url: str) -> None:
    processor = make(url)
    async with kb.Supervisor(processor.child()):
        assert [True, True] == await processor.put_many([("a", 1), ("b", 2)])
        await processor.wait_settled(2)
        assert [False] == await processor.put_many([("a", 7)])
        await processor.wait_finished()

        assert [("a", 2), ("b", 4)] == sorted(await processor.total())


async def test_the_source_is_not_read_far_ahead_of_the_work(url: str) -> None:
    waiting: list[int] = []
    processor: Processor

    async def source() -> AsyncIterator[tuple[str, int]]:
        for number in range(1000):
            if number % 50 == 0:
                waiting.append((await processor.statistics()).waiting)
            yield f"job-{number}", 1

    processor = make(url, source=source, ahead=100)
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()

        assert 1000 == len(await processor.total())
        assert 100 >= max(waiting)


async def test_a_source_that_fails_is_read_again_from_its_start(url: str) -> None:
    calls = 0

    def source() -> Iterator[tuple[str, int]]:
        nonlocal calls
        calls += 1
        yield "first", 1
        if calls == 1:
            raise OSError("the source broke")
        yield "second", 2

    processor = make(url, source=source)
    async with kb.Supervisor(processor.child()):
        await processor.wait_finished()

        assert [("first", 2), ("second", 4)] == sorted(await processor.total())
        assert 2 == calls


async def test_an_async_source_that_waits_does_not_hold_back_what_it_gave(url: str) -> None:
    gate = asyncio.Event()

    async def source() -> AsyncIterator[tuple[str, int]]:
        yield "before", 1
        await gate.wait()
        yield "after", 2

    processor = make(url, source=source)
    async with kb.Supervisor(processor.child()):
        await processor.wait_settled(1)
        assert [("before", 2)] == await processor.total()
        gate.set()
        await processor.wait_finished()

        assert [("before", 2), ("after", 4)] == await processor.total()


async def test_a_fold_that_raises_is_started_anew_and_then_ends_the_processor_with_its_error(
    url: str,
) -> None:
    def broken(total: int, result: Result[int]) -> int:
        raise ZeroDivisionError("the fold broke")

    processor = TaskProcessor(url, work.double, fold=broken, initial=int, source=numbers(3), workers=1)
    with pytest.raises(kb.SupervisorGaveUp, match="the fold broke"):
        async with kb.Supervisor(processor.child(), max_restarts=0):
            await processor.wait_finished()


async def test_two_processors_of_one_store_share_the_work_and_both_have_the_whole_total(url: str) -> None:
    one, two = make(url, source=numbers(300)), make(url.replace("///", "////"), source=numbers(300))
    async with kb.Supervisor(one.child(), two.child().options(id="other")):
        await asyncio.gather(one.wait_finished(), two.wait_finished())

        assert good(300) == sorted(await one.total()) == sorted(await two.total())


async def test_it_runs_on_postgres(postgres_url: str) -> None:
    await ends_with_its_total(postgres_url)


async def test_it_runs_on_mariadb(mariadb_url: str) -> None:
    await ends_with_its_total(mariadb_url)


async def ends_with_its_total(url: str) -> None:
    """A stop half way, and the rest."""
    first, second = make(url, source=numbers(200)), make(url, source=numbers(200))
    async with kb.Supervisor(first.child()):
        await first.wait_settled(20)
    async with kb.Supervisor(second.child()):
        await second.wait_finished()

        assert good(200) == sorted(await second.total())


async def test_chunks_keep_the_order_of_the_source() -> None:
    async def source() -> AsyncIterator[tuple[str, int]]:
        for number in range(600):
            yield str(number), number

    for each in (source, lambda: [(str(number), number) for number in range(600)]):
        ids = [int(id) for chunk in [chunk async for chunk in chunks(each)] for id, _ in chunk]

        assert 600 == len(ids)
        assert all(after == before + 1 for before, after in pairwise(ids))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ahead": 0}, "ahead takes a whole number >= 1, got 0"),
        ({"lease": 0.0}, "lease takes"),
        ({"workers": 0}, "workers takes a whole number >= 1, got 0"),
        ({"concurrency": 0}, "concurrency takes a whole number >= 1, got 0"),
        ({"grace": -1.0}, "grace takes"),
        ({"name": ""}, "the name of a queue"),
        ({"source": [("a", 1)]}, r"source takes a function, got \[\('a', 1\)\]"),
        ({"task": numbers}, "a queue takes tasks, got .*; write @kb.task above the function"),
        ({"task": work.two}, r"work takes a task of one argument, .* got .*two\(.*: missing a"),
        ({"task": work.named}, "work takes a task of one argument, .*: missing a .*'by'"),
        ({"url": "tasks.db"}, "sqlite:///"),
    ],
)
def test_an_option_without_sense_is_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(kb.UsageError, match=text):
        make(**({"url": "sqlite:///never.db"} | options))
