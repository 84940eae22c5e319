"""Tasks through a queue: put, run in processes and on the loop, results, dead letters, acts of people."""

# ruff: noqa: ASYNC240
# Nothing else runs in these loops, so the blocking file functions do no harm.

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.durable.changes import until
from tests.fifo import fifo
from tests.waiting import ask

import koboshi as kb
from koboshi.durable.stores import StoreURL

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.durable.tasks import work  # noqa: E402 - workers must find it by this name

pytestmark = pytest.mark.usefixtures("fork_server")


async def test_a_task_runs_in_another_process_and_its_result_has_the_declared_type(store: StoreURL) -> None:
    queue = kb.Queue("images", store=store)
    async with kb.Supervisor(queue.child(workers=2)):
        job = await queue.put(work.double, 21)
        sized = await queue.options(priority=3).put(work.measure, "abc", 2.0, border=7)

        assert 42 == await job.result(timeout=30.0)
        assert work.Size(6, 7) == await sized.result(timeout=30.0)


async def test_an_async_task_runs_on_the_loop(store: StoreURL) -> None:
    queue = kb.Queue("loop", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.add, 1)
        both = await queue.put(work.add, 1, 2)

        assert (2, 3) == (await job.result(timeout=30.0), await both.result(timeout=30.0))


async def test_coroutines_that_wait_for_long_leave_the_others_their_places(store: StoreURL) -> None:
    queue = kb.Queue("meeting", store=store)
    async with kb.Supervisor(queue.child(workers=1, concurrency=50)):
        jobs = await queue.put_many(work.meet, [50] * 50)

        assert set(range(50)) == {await job.result(timeout=20.0) for job in jobs}


async def test_arguments_by_star_come_back_as_they_were(store: StoreURL) -> None:
    queue = kb.Queue("stars", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.options().put(work.gather, 1, 2, x=3)

        assert [1, 2, 3] == await job.result(timeout=30.0)


async def test_an_id_is_put_once_for_as_long_as_its_task_is_kept(store: StoreURL) -> None:
    queue = kb.Queue("ids", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        first = await queue.put(work.add, 1, 1, id="one")
        again, other = await asyncio.gather(
            queue.put(work.add, 5, 5, id="one"), queue.put(work.add, 2, 2, id="two")
        )
        results = [await each.result(timeout=30.0) for each in (first, again, other)]
        late = await queue.put(work.add, 9, 9, id="one")
        jobs = await queue.put_many(work.double, [1, 2, 1], ids=str)

        assert [True, False, True] == [first.new, again.new, other.new]
        assert [2, 2, 4] == results
        assert (False, 2) == (late.new, await late.result())
        assert [True, True, False] == [each.new for each in jobs]


async def test_a_unique_key_admits_one_task_at_a_time(store: StoreURL) -> None:
    queue = kb.Queue("unique", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        await queue.pause()
        first = await queue.put(work.add, 1, unique="user 1")
        second = await queue.put(work.add, 2, unique="user 1")
        third = await queue.put(work.add, 3, unique="user 2")
        await queue.resume()
        await first.result(timeout=30.0)
        after = await queue.put(work.add, 4, unique="user 1")

        assert (first.id, False) == (second.id, second.new)
        assert third.new
        assert after.new
        assert 5 == await after.result(timeout=30.0)


async def test_the_highest_priority_runs_first_then_the_oldest(file_url: str, tmp_path: Path) -> None:
    queue = kb.Queue("order", store=file_url)
    note = str(tmp_path / "note")
    async with kb.Supervisor(queue.child(workers=1)):
        await queue.pause()
        jobs = [
            await queue.options(priority=priority).put(work.append, note, name)
            for priority, name in [(0, "a"), (5, "b"), (0, "c"), (5, "d"), (-1, "e")]
        ]
        await queue.resume()
        for job in jobs:
            await job.result(timeout=30.0)

    assert ["b", "d", "a", "c", "e"] == Path(note).read_text().split()


async def test_a_task_that_keeps_raising_is_a_dead_letter_with_its_report_and_can_be_requeued(
    store: StoreURL,
) -> None:
    queue = kb.Queue("dead", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.halve, 3)
        with pytest.raises(kb.TaskFailed, match="attempt 3: ValueError: 3 is odd") as caught:
            await job.result(timeout=30.0)
        letters = [each async for each in queue.tasks("dead")]
        requeued = await queue.requeue(job.id, "nobody")
        with pytest.raises(kb.TaskFailed):
            await job.result(timeout=30.0)

        assert "in halve" in caught.value.report
        assert [(job.id, 3, "dead")] == [(each.id, each.attempts, each.state) for each in letters]
        assert 1 == requeued
        assert 2 == (await queue.statistics()).died_here


async def test_a_task_that_is_over_its_time_is_killed_with_its_worker_and_counts_as_failed(
    file_url: str, tmp_path: Path
) -> None:
    queue = kb.Queue("slow", store=file_url)
    note = tmp_path / "note"
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.hang, str(note))
        beside = await queue.put(work.double, 4)
        with pytest.raises(
            kb.TaskFailed, match=r"attempt 2: TaskTimeout: .* longer than its timeout of 0.3 s"
        ):
            await job.result(timeout=30.0)

        assert 8 == await beside.result(timeout=30.0)
        assert 2 == len(note.read_text().split())


async def test_a_task_that_takes_its_worker_down_each_time_is_a_dead_letter(
    file_url: str, tmp_path: Path
) -> None:
    queue = kb.Queue("killers", store=file_url)
    note = tmp_path / "note"
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.kill_worker, str(note))
        beside = await queue.put_many(work.double, range(50))
        with pytest.raises(kb.TaskFailed, match="interrupted 3 times: attempt 1: WorkerCrashed"):
            await job.result(timeout=30.0)
        innocent = [await each.result(timeout=30.0) for each in beside]

        assert 3 == len(note.read_text().split())
        assert [2 * number for number in range(50)] == innocent
        assert 0 == (await queue.statistics()).retried_here


async def test_an_interruption_is_no_attempt(file_url: str, tmp_path: Path) -> None:
    queue = kb.Queue("once", store=file_url)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.kill_worker_once, str(tmp_path / "note"))
        result = await job.result(timeout=30.0)
        info = await job.info()

        assert "survived" == result
        assert info is not None
        assert (1, 1) == (info.attempts, info.interruptions)


async def test_a_waiting_task_that_is_cancelled_never_runs(store: StoreURL) -> None:
    queue = kb.Queue("cancel", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        await queue.pause()
        job = await queue.put(work.add, 1)
        first, second = await job.cancel(), await job.cancel()
        await queue.resume()
        with pytest.raises(kb.TaskCancelled, match=job.id):
            await job.result(timeout=30.0)
        info = await job.info()

        assert (True, False) == (first, second)
        assert info is not None
        assert (0, "cancelled") == (info.attempts, info.state)


async def test_a_running_task_that_is_cancelled_is_killed(file_url: str, tmp_path: Path) -> None:
    queue = kb.Queue("cancel", store=file_url)
    with fifo(tmp_path / "note") as note:
        async with kb.Supervisor(queue.child(workers=1)):
            job = await queue.put(work.wait_for_ever, str(note.path))
            await note.line()
            cancelled = await job.cancel()
            with pytest.raises(kb.TaskCancelled):
                await job.result(timeout=30.0)
            beside = await queue.put(work.double, 1)

            assert cancelled
            assert 2 == await beside.result(timeout=30.0)


async def test_what_a_task_transacts_is_done_with_its_acknowledgement_and_only_then(file_url: str) -> None:
    queue = kb.Queue("bank", store=file_url)
    async with kb.Supervisor(queue.child(workers=2)):
        store = queue._live().store
        await store.change(
            lambda session: [
                session.execute("CREATE TABLE account (name TEXT PRIMARY KEY, cents INTEGER)", {}),
                session.execute("INSERT INTO account VALUES ('alice', 1000)", {}),
            ]
        )
        good = [await queue.put(work.spend, "alice", cents) for cents in (1, 2, 3)]
        inside = await queue.put(work.spend_in_the_loop, "alice", 4)
        bad = await queue.put(work.spend, "alice", 100, True)
        nonsense = await queue.put(work.transact_nonsense)
        for job in good:
            await job.result(timeout=30.0)
        await inside.result(timeout=30.0)
        with pytest.raises(kb.TaskFailed, match="after it has spent"):
            await bad.result(timeout=30.0)
        with pytest.raises(kb.TaskFailed, match=r"attempt 2: StatementRefused: .*no such table"):
            await nonsense.result(timeout=30.0)
        [(cents,)] = await store.read(lambda session: session.execute("SELECT cents FROM account", {}))

        assert 1000 - 1 - 2 - 3 - 4 == cents


async def test_tasks_are_put_in_the_transaction_of_the_task_that_puts_them(file_url: str) -> None:
    queue = kb.Queue("fan", store=file_url)
    async with kb.Supervisor(queue.child(workers=1)):
        await (await queue.put(work.fan_out, "fan", file_url, 3)).result(timeout=30.0)
        await (await queue.put(work.fan_out_in_a_worker, "fan", file_url, 2)).result(timeout=30.0)
        child = queue.job(work.double, "child-1")

        assert 2 == await child.result(timeout=30.0)
        statistics = await queue.statistics()
        assert 7 == statistics.waiting + statistics.claimed + statistics.done


async def test_a_batch_is_followed_by_its_task_exactly_once(file_url: str, tmp_path: Path) -> None:
    queue = kb.Queue("batches", store=file_url)
    note = tmp_path / "note"
    async with kb.Supervisor(queue.child(workers=2)):
        rows = [queue.row(work.halve, number) for number in range(10)]
        id = await queue.put_batch(rows, id="b1", then=queue.row(work.append, str(note), "all ended"))
        await until(lambda: ended(queue, id), queue)
        await queue.job(work.append, "b1.then").result(timeout=30.0)
        again = await queue.put_batch(rows, id="b1", then=queue.row(work.append, str(note), "twice"))
        batch = await queue.batch("b1")

        assert "b1" == id == again
        assert batch is not None
        assert (10, 0, 5) == (batch.total, batch.pending, batch.failed)
        assert "all ended\n" == note.read_text()


async def ended(queue: kb.Queue, id: str) -> bool:
    """Whether a batch has ended."""
    batch = await queue.batch(id)
    return batch is not None and not batch.pending


async def test_an_empty_batch_is_followed_at_once(store: StoreURL) -> None:
    queue = kb.Queue("empty", store=store)
    async with kb.Supervisor(queue.child(workers=1)):
        await queue.put_batch([], id="none", then=queue.row(work.add, 1))

        assert 2 == await queue.job(work.add, "none.then").result(timeout=30.0)


async def test_a_queue_with_a_limit_refuses_or_waits(store: StoreURL) -> None:
    queue = kb.Queue("full", store=store, limit=3)
    async with kb.Supervisor(queue.child(workers=1)):
        await queue.pause()
        await queue.put_many(work.double, [1, 2, 3])
        with pytest.raises(
            kb.QueueFull, match="no room for one more: its limit is 3 tasks waiting; put again later"
        ):
            await queue.put(work.double, 4)
        waiting = asyncio.ensure_future(queue.options(when_full="wait").put(work.double, 5))
        with pytest.raises(
            kb.QueueFull, match=r"4 were put at once, .*never has room; put them in smaller por"
        ) as full:
            await queue.put_many(work.double, range(4), when_full="wait")
        assert (3, 4) == (full.value.limit, full.value.count)
        await queue.resume()
        job = await waiting

        assert 10 == await job.result(timeout=30.0)


async def test_the_pause_of_a_queue_holds_for_whoever_starts_later(file_url: str) -> None:
    queue = kb.Queue("paused", store=file_url)
    async with kb.Supervisor(queue.producer()):
        await queue.pause()
        job = await queue.put(work.add, 1)
    async with kb.Supervisor(queue.child(workers=1)):
        before = await queue.statistics()
        await queue.resume()

        assert (True, 1, 0) == (before.paused, before.waiting, before.done)
        assert 2 == await job.result(timeout=30.0)


async def test_workers_can_be_more_and_fewer(file_url: str) -> None:
    queue = kb.Queue("scaled", store=file_url)
    async with kb.Supervisor(queue.child(workers=1)) as tree:
        pool = kb.named(kb.Pool, queue._plan.part("pool"))
        sizes = []
        for size in (3, 1):
            await queue.scale(size)

            async def workers(size: int = size) -> bool:
                found = await pool.call(kb.Pool.statistics)
                return size == found.size == len(found.workers)

            sizes.append(await ask(workers, f"a pool of {size} workers"))
            await (await queue.put(work.double, 1)).result(timeout=30.0)
        assert tree is not None

        assert [True, True] == sizes


async def test_a_program_that_only_puts_gets_results_of_one_that_runs(file_url: str) -> None:
    here, there = kb.Queue("shared", store=file_url), kb.Queue("shared", store=file_url)
    code = (
        "import asyncio, sys; import koboshi as kb; from tests.durable.tasks import work\n"
        "async def main():\n"
        f"    queue = kb.Queue('shared', store={file_url!r})\n"
        "    async with kb.Supervisor(queue.child(workers=1)):\n"
        "        await asyncio.to_thread(sys.stdin.read)\n"
        "if __name__ == '__main__': asyncio.run(main())\n"
    )
    script = Path(file_url.removeprefix("sqlite:///")).with_name("there.py")
    script.write_text(code)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdin=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": ROOT}
    )
    try:
        async with kb.Supervisor(here.producer()):
            job = await there.put(work.double, 8)

            assert 16 == await job.result(timeout=30.0)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def test_what_was_put_before_the_program_stopped_is_run_by_the_next(
    file_url: str, tmp_path: Path
) -> None:
    queue = kb.Queue("again", store=file_url)
    with fifo(tmp_path / "note") as note:
        async with kb.Supervisor(queue.child(workers=1, grace=0.2)):
            slow = await queue.put(work.wait_for_ever, str(note.path))
            jobs = await queue.put_many(work.double, range(20))
            await note.line()
        async with kb.Supervisor(queue.child(workers=2)):
            results = [await job.result(timeout=30.0) for job in jobs]
            await slow.cancel()

        assert [2 * number for number in range(20)] == results


async def test_a_runner_that_crashes_takes_up_what_it_had_claimed(file_url: str, tmp_path: Path) -> None:
    from koboshi.durable.tasks._runner import Runner

    queue = kb.Queue("crash", store=file_url)
    note = tmp_path / "note"
    async with kb.Supervisor(queue.child(workers=1)):
        slow = await queue.put(work.kill_worker_once, str(note))
        jobs = await queue.put_many(work.double, range(200))
        kb.named(Runner, queue._plan.part("runner")).exit(kb.Kill)

        assert "survived" == await slow.result(timeout=30.0)
        assert [2 * number for number in range(200)] == [await job.result(timeout=30.0) for job in jobs]


async def test_events_tell_of_retries_interruptions_and_deaths(file_url: str, tmp_path: Path) -> None:
    queue = kb.Queue("told", store=file_url)
    events: list[Any] = []
    forget = kb.listen(events.append)
    try:
        async with kb.Supervisor(queue.child(workers=1)):
            odd = await queue.put(work.halve, 1)
            with pytest.raises(kb.TaskFailed):
                await odd.result(timeout=30.0)
            await (await queue.put(work.kill_worker_once, str(tmp_path / "note"))).result(timeout=30.0)
    finally:
        forget()

    names = [type(each).__name__ for each in events if type(each).__module__.startswith("koboshi.durable")]
    assert ["TaskRetried", "TaskRetried", "TaskDied", "TaskInterrupted"] == names


@pytest.mark.slow
async def test_after_kill_9_of_the_program_each_task_ends_and_its_effects_have_happened_once(
    file_url: str, tmp_path: Path
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        "import asyncio, os\n"
        "import koboshi as kb\n"
        "from tests.durable.tasks import work\n"
        "async def main():\n"
        f"    queue = kb.Queue('killed', store={file_url!r})\n"
        "    async with kb.Supervisor(queue.child(workers=2)):\n"
        "        store = queue._live().store\n"
        "        await store.change(lambda session: [session.execute(sql, {}) for sql in (\n"
        "            'CREATE TABLE account (name TEXT PRIMARY KEY, cents INTEGER)',\n"
        "            \"INSERT INTO account VALUES ('alice', 0)\")])\n"
        "        rows = [queue.row(work.spend, 'alice', 1) for _ in range(3000)]\n"
        "        await queue.put_batch(rows, id='all', then=queue.row(work.add, 1))\n"
        "        while (await queue.statistics()).done < 200:\n"
        "            pass\n"
        "        os.kill(os.getpid(), 9)\n"
        "if __name__ == '__main__': asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert -9 == await process.wait()
    queue = kb.Queue("killed", store=file_url)
    async with kb.Supervisor(queue.child(workers=2)):
        await until(lambda: ended(queue, "all"), queue)
        follower = await queue.job(work.add, "all.then").result(timeout=30.0)
        cents = await queue._live().store.read(lambda s: s.execute("SELECT cents FROM account", {}))
        statistics = await queue.statistics()

    assert 2 == follower
    assert [(-3000,)] == cents
    assert (3001, 0, 0) == (statistics.done, statistics.claimed, statistics.waiting)
