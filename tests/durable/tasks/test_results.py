"""What a task came to, for the program that put it and runs it: told, and not looked up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from tests.durable.changes import until

import koboshi as kb
from koboshi.durable.stores import MemoryEngine, Operation, Outcome
from koboshi.durable.tasks._look import LookAt

pytestmark = pytest.mark.usefixtures("fork_server")

LARGE = 2_000


@kb.task
async def letters(number: int) -> str:
    return "x" * number


@kb.task(retries=0)
async def reciprocal(number: float, wait: bool = False) -> float:
    if wait:
        await gates[asyncio.get_running_loop()].wait()
    return 1.0 / number


gates: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}


class Counting(MemoryEngine):
    """Counts how often the state of tasks is looked up."""

    looks = 0

    def commit(self, operations: Sequence[Operation[Any]], done: Callable[[list[Outcome]], None]) -> None:
        self.looks += sum(isinstance(each, LookAt) for each in operations)
        super().commit(operations, done)


@pytest.fixture
def engine() -> Counting:
    return Counting("results")


@pytest.fixture
async def queue(engine: Counting) -> AsyncIterator[kb.Queue]:
    made = kb.Queue("results", store=lambda: engine)
    gates[asyncio.get_running_loop()] = asyncio.Event()
    async with kb.Supervisor(made.child(workers=1)):
        yield made
    del gates[asyncio.get_running_loop()]


async def ended(queue: kb.Queue, tasks: int) -> None:
    """Wait until so many have ended here."""

    async def so_many() -> bool:
        found = await queue.statistics()
        return found.done_here + found.died_here >= tasks

    await until(so_many, queue)


async def test_the_result_of_a_task_that_ended_before_it_is_asked_for_is_not_looked_up(
    queue: kb.Queue, engine: Counting
) -> None:
    jobs = await queue.put_many(letters, range(20))
    await ended(queue, 20)

    results = [await job.result() for job in jobs]

    assert ["x" * number for number in range(20)] == results
    assert not engine.looks


async def runs_here(queue: kb.Queue) -> bool:
    return (await queue.statistics()).running_here > 0


async def test_the_result_of_a_task_that_runs_here_is_not_looked_up_at_once(
    queue: kb.Queue, engine: Counting
) -> None:
    job = await queue.put(reciprocal, 4.0, True)
    await until(lambda: runs_here(queue), queue)
    result = asyncio.ensure_future(job.result())
    await asyncio.sleep(0)
    await queue.statistics()
    looks = engine.looks
    gates[asyncio.get_running_loop()].set()

    assert 0.25 == await result
    assert not looks


@pytest.mark.parametrize("length", [10, LARGE])
async def test_a_result_can_be_asked_for_again(queue: kb.Queue, engine: Counting, length: int) -> None:
    job = await queue.put(letters, length)
    await ended(queue, 1)

    results = [await job.result() for _ in range(3)]

    assert ["x" * length] * 3 == results
    # What a job keeps is small, and kept until it is asked for.
    assert engine.looks == (3 if length == LARGE else 2)


async def test_a_dead_letter_that_was_requeued_is_not_taken_for_one_still(queue: kb.Queue) -> None:
    job = await queue.put(reciprocal, 0.0)
    await ended(queue, 1)
    with pytest.raises(kb.TaskFailed):
        await job.result()

    assert 1 == await queue.requeue(job.id)
    await ended(queue, 2)
    await queue.discard(job.id)

    with pytest.raises(kb.TaskNotFound):
        await job.result()


async def test_a_job_that_nobody_has_any_more_is_not_kept(queue: kb.Queue) -> None:
    gate = gates[asyncio.get_running_loop()]
    jobs = await queue.put_many(letters, range(5))
    del jobs
    await queue.put(reciprocal, 1.0, True)

    assert not queue._live()._put
    gate.set()
    await ended(queue, 6)


@kb.task(retries=0, timeout=0.05)
async def slow(raises: bool) -> None:
    if raises:
        raise TimeoutError("of its own")
    await asyncio.Event().wait()


async def test_a_coroutine_over_its_time_failed_by_that_and_one_that_raises_the_same_by_itself(
    queue: kb.Queue,
) -> None:
    with pytest.raises(kb.TaskFailed, match=r"attempt 1: TaskTimeout: .* longer than its timeout of 0\.05 s"):
        await (await queue.put(slow, False)).result()
    with pytest.raises(kb.TaskFailed, match="attempt 1: TimeoutError: of its own"):
        await (await queue.put(slow, True)).result()
