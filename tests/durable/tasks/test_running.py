"""A queue while it runs: what it does not know, what is too large, pauses, cancels, waits, and stops."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.durable.changes import until

import koboshi as kb
from koboshi.durable.stores import MemoryEngine, Operation, Outcome, StoreURL
from koboshi.durable.tasks import TaskDied, TaskRow, TaskUnknown, put_rows
from koboshi.durable.tasks._claim import Claim, Claims
from koboshi.durable.tasks._rows import new_id

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.durable.tasks import work  # noqa: E402 - workers must find it by this name

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture(autouse=True)
def gate() -> Iterator[None]:
    """What the tests of this file leave in the tasks' module."""
    work.BEGUN.clear()
    work.OPEN = asyncio.Event()
    yield
    work.BEGUN.clear()


@pytest.fixture
async def events() -> AsyncIterator[list[Any]]:
    found: list[Any] = []
    forget = kb.listen(found.append)
    yield found
    forget()


async def in_state(queue: kb.Queue, job: kb.Job[Any], state: str) -> None:
    """Wait until the task is in this state."""

    async def reached() -> bool:
        info = await job.info()
        return info is not None and info.state == state

    await until(reached, queue)


async def change(queue: kb.Queue, sql: str) -> None:
    await queue._live().store.change(lambda session: session.execute(sql, {}))


# -- what cannot be run ------------------------------------------------------------------------------------------


async def test_a_task_of_an_unknown_name_waits_for_a_program_that_knows_it_and_is_told_of_once(
    store: StoreURL, events: list[Any]
) -> None:
    queue = kb.Queue("unknown", store=store)
    name = f"test.unknown.{new_id()}"
    rows = [TaskRow("unknown", f"u{number}", name, b"\x91\x05") for number in range(3)]
    async with kb.Supervisor(queue.child(workers=1)):
        await queue._live().store.change(lambda session: put_rows(session, rows))
        known = await queue.put(work.add, 1)
        await known.result(timeout=30.0)
        waiting = queue.job(work.add, "u2")
        await in_state(queue, waiting, "later")
        info = await waiting.info()

        @kb.task(name=name)
        async def here_now(number: int) -> int:
            return number

        await change(queue, "UPDATE kb_task SET due_at = 0 WHERE state = 'later'")
        results = [await queue.job(here_now, f"u{number}").result(timeout=30.0) for number in range(3)]

    assert [5, 5, 5] == results
    [told] = [each for each in events if isinstance(each, TaskUnknown)]
    assert name == told.function
    assert isinstance(told.error, kb.UnknownTask)
    assert info is not None
    assert info.report is not None
    assert 0 == info.attempts
    assert "is not registered here; import the module that has it under @kb.task, or give" in info.report


@pytest.mark.parametrize(
    ("task", "argument", "said"),
    [
        (
            work.large,
            5_000,
            r"PayloadTooLarge: the result of the task .*large takes 5,003 bytes and",
        ),
        (
            work.wrong_result,
            None,
            r"TypeError: the task .* declares to return 'int', and returned 'text'",
        ),
    ],
)
async def test_a_result_that_cannot_be_kept_is_a_dead_letter(
    store: StoreURL, task: Any, argument: int | None, said: str
) -> None:
    queue = kb.Queue("results", store=store, max_bytes=1_000)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(task, *(() if argument is None else (argument,)))
        with pytest.raises(kb.TaskFailed, match=said):
            await job.result(timeout=30.0)
        info = await job.info()

        # No further attempt would help.
        assert info is not None
        assert ("dead", 1) == (info.state, info.attempts)


async def test_stored_arguments_that_the_function_does_not_take_any_more_are_a_dead_letter(
    store: StoreURL,
) -> None:
    queue = kb.Queue("older", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        row = TaskRow("older", "one", work.double.name, b"\x91\xa1x")
        await queue._live().store.change(lambda session: put_rows(session, [row]))
        queue._live().wake()
        with pytest.raises(
            kb.TaskFailed, match=r"Unfit: the stored arguments are not those that the task .*double"
        ):
            await queue.job(work.double, "one").result(timeout=30.0)


async def test_a_task_whose_programs_died_too_often_is_a_dead_letter(
    file_url: str, events: list[Any]
) -> None:
    queue = kb.Queue("fatal", store=file_url)
    async with kb.Supervisor(queue.producer()):
        last, over = await queue.put(work.add, 1, id="last"), await queue.put(work.add, 1, id="over")
        # As `Recover` counts them: three are put up with.
        await change(queue, "UPDATE kb_task SET interruptions = 3 WHERE task_id = 'last'")
        await change(queue, "UPDATE kb_task SET interruptions = 4 WHERE task_id = 'over'")
    async with kb.Supervisor(queue.child(workers=1)):
        assert 2 == await last.result(timeout=30.0)
        with pytest.raises(
            kb.TaskFailed, match="interrupted 4 times: the programs that ran it did not come to"
        ):
            await over.result(timeout=30.0)

    assert ["over"] == [each.task for each in events if isinstance(each, TaskDied)]


# -- waiting -----------------------------------------------------------------------------------------------------


async def test_a_wait_that_is_over_in_time_leaves_the_task_alone(store: StoreURL) -> None:
    queue = kb.Queue("patience", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.gate, 7)
        with pytest.raises(kb.CallTimeout, match=r"did not answer .* within 0.05 s"):
            await job.result(timeout=0.05)
        work.OPEN.set()

        assert 7 == await job.result(timeout=30.0)


async def test_a_task_that_there_is_not_is_not_waited_for(store: StoreURL) -> None:
    queue = kb.Queue("absent", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        with pytest.raises(
            kb.TaskNotFound, match="the queue 'absent' has no task 'nobody': it was never put, or"
        ):
            await queue.job(work.add, "nobody").result(timeout=30.0)
        assert await queue.job(work.add, "nobody").info() is None
        assert not await queue.job(work.add, "nobody").cancel()


async def test_whoever_waits_when_the_queue_stops_is_told_so(store: StoreURL) -> None:
    queue = kb.Queue("ends", store=store)
    async with kb.Supervisor(queue.producer()):
        job = await queue.put(work.add, 1)
        waiting = asyncio.ensure_future(job.result())
        await asyncio.sleep(0)
    with pytest.raises(kb.StoreClosed):
        await waiting


async def test_producers_that_wait_for_room_all_get_in_and_a_cancelled_one_does_not(store: StoreURL) -> None:
    queue = kb.Queue("full", store=store, limit=2)
    patient = queue.options(when_full="wait")
    async with kb.Supervisor(queue.child(workers=1, concurrency=1)):
        await queue.pause()
        await queue.put_many(work.add, [1, 2])
        waiting = [asyncio.ensure_future(patient.put(work.add, number)) for number in range(3, 8)]
        waiting.append(asyncio.ensure_future(queue.put_many(work.add, [8, 9], when_full="wait")))  # type: ignore[arg-type]
        given_up = asyncio.ensure_future(queue.options(id="no", when_full="wait").put(work.add, 0))  # type: ignore[unused-ignore]
        _, pending = await asyncio.wait([*waiting, given_up], timeout=0.3)
        given_up.cancel()
        await queue.resume()
        await asyncio.wait_for(asyncio.gather(*waiting), 30.0)
        flow = queue._live().flow
        assert flow is not None
        await until(lambda: flow.done == 9, queue)

        assert 7 == len(pending)
        assert await queue.job(work.add, "no").info() is None


# -- acts of people ----------------------------------------------------------------------------------------------


async def test_a_pause_gives_back_what_has_not_begun_and_holds_over_restarts(file_url: str) -> None:
    queue = kb.Queue("paused", store=file_url)
    async with kb.Supervisor(queue.child(workers=1, concurrency=1)):
        jobs = await queue.put_many(work.gate, [1, 2, 3])
        await work.BEGUN.reach(1)
        await queue.pause()
        for job in jobs[1:]:
            await in_state(queue, job, "ready")
        work.OPEN.set()
        first = await jobs[0].result(timeout=30.0)
        paused = await queue.statistics()
    async with kb.Supervisor(queue.child(workers=1)):
        still = await queue.statistics()
        begun = list(work.BEGUN)
        await queue.resume()
        rest = [await job.result(timeout=30.0) for job in jobs[1:]]
        info = await jobs[2].info()

    assert (1, [1]) == (first, begun)
    assert (True, 2, 0, 1) == (paused.paused, paused.waiting, paused.claimed, paused.done)
    assert (True, 2) == (still.paused, still.waiting)
    assert [2, 3] == rest
    assert info is not None
    assert 1 == info.attempts


@pytest.mark.slow
async def test_a_pause_by_another_program_gives_back_what_has_not_begun(file_url: str) -> None:
    queue = kb.Queue("paused", store=file_url)
    async with kb.Supervisor(queue.child(workers=1, concurrency=1)):
        jobs = await queue.put_many(work.gate, [1, 2])
        await work.BEGUN.reach(1)
        await change(
            queue,
            "INSERT INTO kb_counter (system_name, counter_name, amount) VALUES ('tasks', 'paused/paused', 1)",
        )
        await in_state(queue, jobs[1], "ready")
        work.OPEN.set()

        assert 1 == await jobs[0].result(timeout=30.0)
        assert [1] == work.BEGUN


async def test_a_coroutine_that_is_cancelled_ends_and_its_place_is_free(store: StoreURL) -> None:
    queue = kb.Queue("cancel", store=store)
    async with kb.Supervisor(queue.child(workers=1, concurrency=1)):
        job = await queue.put(work.gate, 1)
        await work.BEGUN.reach(1)
        cancelled = await job.cancel()
        with pytest.raises(kb.TaskCancelled):
            await job.result(timeout=30.0)
        after = await (await queue.put(work.add, 1)).result(timeout=30.0)

        assert cancelled
        assert [1, -1] == work.BEGUN
        assert 2 == after
        assert "cancelled" == (await job.info() or pytest.fail("it is kept")).state


@pytest.mark.slow
async def test_what_another_program_has_taken_over_or_cancelled_is_stopped_here(file_url: str) -> None:
    queue = kb.Queue("lost", store=file_url)
    async with kb.Supervisor(queue.child(workers=1)):
        for number in (1, 2, 3):
            await queue.put(work.gate, number, id=f"{number}")
        await work.BEGUN.reach(3)
        await change(queue, "UPDATE kb_task SET owner = 'another', token = x'00' WHERE task_id = '1'")
        await change(queue, "UPDATE kb_task SET state = 'cancelled', owner = NULL WHERE task_id = '2'")
        await work.BEGUN.until(lambda found: {-1, -2} <= set(found))
        work.OPEN.set()

        assert -3 not in work.BEGUN
        assert 3 == await queue.job(work.gate, "3").result(timeout=30.0)


async def test_dead_letters_are_listed_discarded_and_their_ids_are_free_again(store: StoreURL) -> None:
    queue = kb.Queue("letters", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        for id in ("a", "b", "c"):
            with pytest.raises(kb.TaskFailed):
                await (await queue.put(work.complain, "no", id=id)).result(timeout=30.0)
        listed = [each.id async for each in queue.tasks("dead", page=2)]
        gone = await queue.discard("a", "c", "nobody")
        left = [each.id async for each in queue.tasks("dead")]
        again = await queue.put(work.complain, "no", id="a")

        assert ["a", "b", "c"] == listed
        assert (2, ["b"], True) == (gone, left, again.new)


# -- batches -----------------------------------------------------------------------------------------------------


async def test_a_batch_ends_with_its_last_task_however_that_ends(store: StoreURL) -> None:
    queue = kb.Queue("batch", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        await queue.pause()
        await queue.put(work.add, 9, id="there before")
        rows = [
            queue.options(id="good").row(work.add, 1),
            queue.options(id="bad").row(work.complain, "no"),
            queue.options(id="cancelled").row(work.add, 2),
            queue.options(id="there before").row(work.add, 3),
        ]
        await queue.put_batch(rows, id="b", then=queue.options(priority=7).row(work.add, 40))
        await queue.job(work.add, "cancelled").cancel()
        waiting = await queue.batch("b")
        early = await queue.job(work.add, "b.then").info()
        await queue.resume()
        with pytest.raises(kb.TaskFailed):
            await queue.job(work.complain, "bad").result(timeout=30.0)
        await queue.job(work.add, "good").result(timeout=30.0)
        follower = queue.job(work.add, "b.then")
        await in_state(queue, follower, "done")
        batch, info = await queue.batch("b"), await follower.info()
        await queue.requeue("bad")
        with pytest.raises(kb.TaskFailed):
            await queue.job(work.complain, "bad").result(timeout=30.0)
        after = await queue.batch("b")

        assert waiting is not None
        assert batch is not None
        assert info is not None
        assert (4, 2, 1) == (waiting.total, waiting.pending, waiting.failed)
        assert early is None
        assert (4, 0, 2) == (batch.total, batch.pending, batch.failed)
        assert 41 == await follower.result()
        assert (7, 1) == (info.priority, info.attempts)
        # Requeued, it ends once more, and the batch has ended already.
        assert batch == after
        assert await queue.batch("nobody") is None


# -- faults ------------------------------------------------------------------------------------------------------


class LosesAnswers(MemoryEngine):
    """Commits a group with the first claims that are not empty, and does not say so to who claims."""

    lost = 0

    def commit(self, operations: Sequence[Operation[Any]], done: Callable[[list[Outcome]], None]) -> None:
        def told(outcomes: list[Outcome]) -> None:
            for place, (operation, (value, _)) in enumerate(zip(operations, outcomes, strict=True)):
                if (
                    isinstance(operation, Claim)
                    and isinstance(value, Claims)
                    and value.claimed
                    and not self.lost
                ):
                    self.lost = len(value.claimed)
                    outcomes[place] = Outcome(None, kb.OutcomeUnknown(self.url, "no answer"))
            done(outcomes)

        super().commit(operations, told)


async def test_tasks_of_a_claim_whose_commit_was_not_answered_are_run_all_the_same() -> None:
    engine = LosesAnswers("lost")
    queue = kb.Queue("doubt", store=lambda: engine)
    async with kb.Supervisor(queue.child(workers=1)):
        await queue.pause()
        jobs = await queue.put_many(work.add, range(5))
        await queue.resume()
        results = [await job.result(timeout=30.0) for job in jobs]
        infos = [await job.info() for job in jobs]

    assert engine.lost
    assert [1, 2, 3, 4, 5] == results
    assert [(1, 0)] * 5 == [(info.attempts, info.interruptions) for info in infos if info is not None]


# -- the end -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_on_sigterm_what_runs_is_finished_and_the_rest_is_handed_back(
    file_url: str, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import asyncio, sys\n"
        f"sys.path.append({ROOT!r})\n"
        "import koboshi as kb\n"
        "from tests.durable.tasks import work\n"
        f"queue = kb.Queue('term', store={file_url!r})\n"
        "async def main():\n"
        "    async with kb.Supervisor(queue.child(workers=1, concurrency=2)):\n"
        "        await queue.put_many(work.linger, range(6), ids=str)\n"
        "        await work.RUNS.reach(2)\n"
        "        print('up', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "if __name__ == '__main__': kb.run(main)\n"
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    assert b"up\n" == await program.stdout.readline()
    program.send_signal(signal.SIGTERM)
    out, _ = await program.communicate()
    queue = kb.Queue("term", store=file_url)
    async with kb.Supervisor(queue.producer()):
        statistics = await queue.statistics()
        waiting = [each async for each in queue.tasks("ready")]

    assert b"ended 0\nended 1\n" == out
    assert (2, 4, 0) == (statistics.done, statistics.waiting, statistics.claimed)
    assert [0] * 4 == [each.attempts for each in waiting]


# -- errors of tasks that look like something else -----------------------------------------------------------------


@pytest.mark.parametrize("task", [work.raise_in_a_worker, work.raise_in_the_loop])
async def test_whatever_a_function_raises_is_a_failed_attempt(
    task: kb.Task[[str], None], file_url: str
) -> None:
    queue = kb.Queue("jobs", store=file_url)
    async with kb.Supervisor(queue.child(workers=1)):
        for job in await queue.put_many(task, work.WRONG):  # type: ignore[call-overload]
            with pytest.raises(kb.TaskFailed):
                await job.result(timeout=30.0)
            info = await job.info()
            assert info is not None
            assert ("dead", 2) == (info.state, info.attempts)


async def test_a_coroutine_that_is_cancelled_again_and_again_is_a_dead_letter(store: StoreURL) -> None:
    queue = kb.Queue("jobs", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.cancel_itself)
        with pytest.raises(kb.TaskFailed, match="interrupted 2 times"):
            await job.result(timeout=30.0)
