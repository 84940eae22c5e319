"""Tasks at times of the calendar: once each, whatever the clocks; what was missed is put as `missed` says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.durable.changes import until
from tests.durable.tasks import work
from tests.durable.tasks.conftest import Clock
from tests.durable.tasks.desk import NAME, Desk, desks

import koboshi as kb
from koboshi.durable.stores import Engine, MemoryEngine, SqliteEngine
from koboshi.durable.tasks import _counters
from koboshi.durable.tasks._cron import Schedule, fire, occurrences
from koboshi.durable.tasks._look import TaskInfo, TaskState, page

pytestmark = pytest.mark.usefixtures("fork_server")

MINUTELY = "* * * * *"


def at(text: str) -> float:
    """Seconds since the epoch of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def schedules(line: str, **options: Any) -> kb.Queue:
    queue = kb.Queue(NAME, store="memory://never opened")
    queue.schedule(line, name="it", **options).put(work.add, 1)
    return queue


async def look(desk: Desk, queue: kb.Queue) -> bool:
    """What a program that runs the queue does each second."""
    [schedule] = queue._schedules
    return await fire(desk.store, queue._plan, schedule)


async def put_ids(desk: Desk) -> list[str]:
    """The occurrences that were put so far, by their times."""
    found = await desk.store.read(
        lambda session: page(session, NAME, desk.queue._plan.vault, "ready", "", 10_000)
    )
    return [each.id.removeprefix("cron/it/") for each in found]


@pytest.fixture
def make(clock: Clock) -> Callable[[], Engine]:
    clock.now = at("2026-05-04T10:00:20")
    return lambda: MemoryEngine("cron", clock=clock)


async def test_what_was_due_before_a_schedule_existed_is_no_concern_of_it(
    make: Callable[[], Engine], clock: Clock
) -> None:
    queue = schedules(MINUTELY)
    async with desks(1, make) as [desk]:
        assert not await look(desk, queue)
        clock.advance(40.0)
        assert await look(desk, queue)
        assert not await look(desk, queue)

        assert ["2026-05-04T10:01:00Z"] == await put_ids(desk)


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("fire_once", ["2026-05-11T10:00:00Z"]),
        ("skip", []),
        ("fire_all", [f"2026-05-{day:02}T10:00:00Z" for day in range(5, 12)]),
    ],
)
async def test_what_was_missed_is_put_as_the_schedule_says(
    make: Callable[[], Engine], clock: Clock, missed: Any, expected: list[str]
) -> None:
    queue = schedules("0 10 * * *", missed=missed)
    async with desks(1, make) as [desk]:
        await look(desk, queue)
        clock.now = at("2026-05-11T15:00:00")
        await look(desk, queue)
        await look(desk, queue)
        after_a_week = await put_ids(desk)
        clock.now = at("2026-05-12T10:00:01")
        await look(desk, queue)

        assert expected == after_a_week
        assert [*expected, "2026-05-12T10:00:00Z"] == await put_ids(desk)


async def test_thousands_of_missed_occurrences_are_one_task(make: Callable[[], Engine], clock: Clock) -> None:
    queue = schedules("* * * * * *")
    async with desks(1, make) as [desk]:
        await look(desk, queue)
        clock.advance(400 * 86_400.0 + 0.5)
        clock.now = at("2027-06-08T10:00:20.5")
        await look(desk, queue)
        await look(desk, queue)
        found = await put_ids(desk)

        # Those of the last half minute are on time.
        assert 31 >= len(found)
        assert "2027-06-08T10:00:20Z" == found[-1]
        assert "2027-06-08T09:59:51Z" == found[0]


async def test_many_missed_ones_are_put_in_portions_until_all_are_there(
    make: Callable[[], Engine], clock: Clock
) -> None:
    queue = schedules(MINUTELY, missed="fire_all")
    async with desks(1, make) as [desk]:
        await look(desk, queue)
        clock.advance(2_500 * 60.0)
        looks = 0
        while await look(desk, queue):
            looks += 1

        assert 3 == looks
        assert 2_500 == len(set(await put_ids(desk)))


async def test_the_last_missed_one_of_a_yearly_line_is_found(
    make: Callable[[], Engine], clock: Clock
) -> None:
    queue = schedules("0 0 29 2 *")
    async with desks(1, make) as [desk]:
        await look(desk, queue)
        clock.now = at("2035-01-01T00:00:00")
        await look(desk, queue)

        assert ["2032-02-29T00:00:00Z"] == await put_ids(desk)


@pytest.mark.parametrize(
    ("line", "start", "end", "expected"),
    [
        # The hour from 2 to 3 is left out in spring: what is in it comes at its end.
        ("30 2 * * *", "2026-03-28T12:00:00", "2026-03-30T12:00:00", ["03-29T01:00:00", "03-30T00:30:00"]),
        # It comes twice in autumn: a time of the day once, what repeats each hour both times.
        ("30 2 * * *", "2026-10-24T12:00:00", "2026-10-26T12:00:00", ["10-25T00:30:00", "10-26T01:30:00"]),
        (
            "30 * * * *",
            "2026-10-24T23:40:00",
            "2026-10-25T03:00:00",
            ["10-25T00:30:00", "10-25T01:30:00", "10-25T02:30:00"],
        ),
    ],
)
async def test_a_line_is_meant_in_its_zone_when_the_clocks_change(
    make: Callable[[], Engine], clock: Clock, line: str, start: str, end: str, expected: list[str]
) -> None:
    queue = schedules(line, timezone="Europe/Berlin", missed="fire_all")
    clock.now = at(start)
    async with desks(1, make) as [desk]:
        await look(desk, queue)
        while clock.now < at(end):
            clock.advance(600.0)
            await look(desk, queue)

        assert [f"2026-{each}Z" for each in expected] == await put_ids(desk)


def test_no_occurrence_is_before_the_time_that_was_asked_for_in_the_hour_that_comes_twice() -> None:
    second_hour = at("2026-10-25T01:10:00")

    following = occurrences("30 2 * * *", "Europe/Berlin", second_hour)

    assert at("2026-10-26T01:30:00") == following()


async def test_several_programs_put_each_occurrence_once(tmp_path: Path, clock: Clock) -> None:
    clock.now = at("2026-05-04T10:00:20")
    queue = schedules(MINUTELY)
    async with desks(3, lambda: SqliteEngine(f"{tmp_path}/cron.db", clock=clock)) as programs:
        for _ in range(5):
            await asyncio.gather(*(look(desk, queue) for desk in programs))
            clock.advance(60.0)
        names = await put_ids(programs[0])

    assert [f"2026-05-04T10:0{minute}:00Z" for minute in range(1, 5)] == names


async def test_an_occurrence_is_put_again_by_nobody_while_its_task_is_kept(
    make: Callable[[], Engine], clock: Clock
) -> None:
    queue = schedules(MINUTELY)
    async with desks(1, make) as [desk]:
        await look(desk, queue)
        clock.advance(60.0)
        await look(desk, queue)
        [claimed] = await desk.claim()
        await desk.settle(claimed, keep=1_000.0)
        # A store that was restored from a backup of a minute ago.
        name = _counters.schedule_name(NAME, "it")
        await desk.store.change(lambda session: _counters.write(session, name, int(clock.now) - 120))
        await look(desk, queue)

        assert [] == await put_ids(desk)


async def tasks(queue: kb.Queue, state: TaskState) -> list[TaskInfo]:
    return [each async for each in queue.tasks(state)]


async def test_a_queue_puts_what_its_schedule_says_and_runs_it(file_url: str) -> None:
    queue = kb.Queue("ticks", store=file_url)
    queue.schedule("* * * * * *", name="tick", missed="skip", priority=3).put(work.add, 20, 1)
    async with kb.Supervisor(queue.child(workers=1)):
        done = await until(lambda: tasks(queue, "done"), queue)

        assert done[0].id.startswith("cron/tick/20")
        assert 3 == done[0].priority
        assert 21 == await queue.job(work.add, done[0].id).result(timeout=10.0)


@pytest.mark.parametrize(
    ("line", "options", "said"),
    [
        ("61 * * * *", {}, "cron line '61 \\* \\* \\* \\*' cannot be understood: .*; an example is '30 3"),
        ("", {}, "cron line '' cannot be understood"),
        (
            MINUTELY,
            {"timezone": "Mars/Olympus"},
            "timezone 'Mars/Olympus' is not known here: .*'Europe/Berlin'",
        ),
        (MINUTELY, {"missed": "never"}, "missed is one of 'fire_all', 'fire_once', 'skip'; got 'never'"),
        (MINUTELY, {"name": "x" * 101}, "the name of a schedule takes 1 to 100 characters"),
        (MINUTELY, {"name": ""}, "name of a schedule takes 1 to 100 characters"),
        (MINUTELY, {"priority": "high"}, "priority takes a whole number of at most 31 bits, got 'high'"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_where_it_is_written(
    line: str, options: dict[str, Any], said: str
) -> None:
    queue = kb.Queue("wrong", store="memory://")

    with pytest.raises(kb.UsageError, match=said):
        queue.schedule(line, **options).put(work.add, 1)


def test_two_schedules_of_a_queue_have_two_names() -> None:
    queue = kb.Queue("twice", store="memory://")
    queue.cron(MINUTELY, work.add, 1)

    with pytest.raises(kb.UsageError, match=r"there is a schedule named .*; give this one another name"):
        queue.cron(MINUTELY, work.add, 2)


def test_the_arguments_of_a_schedule_are_checked_where_it_is_written() -> None:
    with pytest.raises(kb.UsageError, match="cannot take"):
        kb.Queue("args", store="memory://").cron(MINUTELY, work.add, "one")  # type: ignore[arg-type]


def test_a_schedule_is_a_value() -> None:
    one = Schedule("a", MINUTELY, "UTC", "skip", "f", b"", 0)

    assert Schedule("a", MINUTELY, "UTC", "skip", "f", b"", 0) == one


async def test_a_schedule_goes_on_after_the_clock_was_ahead_and_puts_nothing_twice(
    make: Callable[[], Engine], clock: Clock
) -> None:
    queue = schedules("0 * * * *")
    async with desks(1, make) as [desk]:
        await look(desk, queue)
        clock.advance(3_600.0)
        assert await look(desk, queue)
        # Somebody sets it years ahead, and back by more than was right.
        right = clock.now
        clock.now = at("2036-01-01T00:00:10")
        assert await look(desk, queue)
        clock.now = right - 1_800.0
        assert not await look(desk, queue)
        clock.now = right
        assert not await look(desk, queue)
        clock.now = right + 3_600.0
        assert await look(desk, queue)

        assert ["2026-05-04T11:00:00Z", "2026-05-04T12:00:00Z", "2036-01-01T00:00:00Z"] == sorted(
            await put_ids(desk)
        )
