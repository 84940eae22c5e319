"""The pool with real processes: any crash costs exactly the job that it hit."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.rig import Rig, pool_of, read_line

import koboshi as kb
from koboshi.wire import FrameTooLarge, NotPicklable
from koboshi.workers import (
    JobQueueFull,
    RemoteTraceback,
    ResultNotPicklable,
    Results,
    WorkerCrashed,
)

pytestmark = pytest.mark.usefixtures("fork_server")

T = TypeVar("T")


async def works(pool: Rig) -> None:
    """The pool is whole: it answers from as many processes as it should have."""
    assert [2] * 50 == await asyncio.gather(*(pool.call(jobs.add_one, 1) for _ in range(50)))


async def drain(results: Results[T]) -> tuple[list[T], list[Exception]]:
    """Everything that a map still yields, and everything that it raises."""
    values: list[T] = []
    errors: list[Exception] = []
    while True:
        try:
            values.append(await anext(results))
        except StopAsyncIteration:
            return values, errors
        except Exception as error:
            errors.append(error)


async def test_calls_return_results() -> None:
    async with pool_of(2) as pool:
        assert 3 == await pool.call(abs, -3)
        assert {"a": [1]} == await pool.call(jobs.identity, {"a": [1]})
        assert os.getpid() != await pool.call(jobs.pid)


async def test_a_map_yields_every_result_once() -> None:
    async with pool_of(2) as pool:
        results = [result async for result in pool.map_unordered(jobs.add_one, jobs.numbers(20_000))]

    assert list(range(1, 20_001)) == sorted(results)


async def test_a_map_pulls_no_further_ahead_than_it_may() -> None:
    pulled = 0

    def items() -> Any:
        nonlocal pulled
        for number in range(1000):
            pulled += 1
            yield number

    async with pool_of(1) as pool:
        results = pool.map_unordered(jobs.add_one, items(), ahead=10)
        await anext(results)
        await pool.call(jobs.add_one, 0)

        assert pulled <= 11


async def test_a_map_goes_on_after_a_job_that_failed() -> None:
    async with pool_of(2) as pool:
        roots, errors = await drain(pool.map_unordered(math.sqrt, [4, -1, 9]))

    assert ([2.0, 3.0], [ValueError]) == (sorted(roots), [type(each) for each in errors])


async def test_an_item_that_cannot_be_sent_costs_itself_only() -> None:
    async with pool_of(1) as pool:
        results = pool.map_unordered(jobs.identity, [1, threading.Lock(), "x"])
        with pytest.raises(NotPicklable, match=r"argument 1 \('value'\), a lock, of .*identity"):
            await anext(results)
        rest = [result async for result in results]

    assert [1, "x"] == rest


@pytest.mark.parametrize(
    ("job", "args", "name", "code"),
    [
        (jobs.exit_hard, (3,), "exit 3", 3),
        (jobs.exit_hard, (0,), "exit 0", 0),
        (jobs.segfault, (), "SIGSEGV", None),
        (jobs.raise_signal, (signal.SIGKILL,), "SIGKILL", None),
        (jobs.raise_signal, (signal.SIGTERM,), "SIGTERM", None),
        (jobs.raise_signal, (signal.SIGABRT,), "SIGABRT", None),
        (jobs.close_every_descriptor, (), "SIGKILL", None),
        (jobs.identity, (jobs.BreaksOnArrival("exit"),), "exit 9", 9),
    ],
)
async def test_a_job_that_ends_its_worker_is_told_how(
    job: Callable[..., object],
    args: tuple[Any, ...],
    name: str,
    code: int | None,
) -> None:
    async with pool_of(2) as pool:
        with pytest.raises(WorkerCrashed) as caught:
            await pool.call(job, *args)
        await works(pool)
        await pool.death()

    assert (name, code, True) == (caught.value.exit.name, caught.value.exit.code, caught.value.maybe_executed)
    assert str(caught.value.function) in str(caught.value)


async def test_kill_9_of_an_idle_worker_costs_nothing() -> None:
    async with pool_of(2) as pool:
        victim = (await pool.whole())[0]
        os.kill(victim, signal.SIGKILL)
        death = await pool.death()
        await works(pool)

        assert (victim, "SIGKILL", False) == (death.exit.pid, death.exit.name, death.maybe_executed)
        assert 1 == (await pool.statistics()).restarts


async def test_kill_9_of_a_busy_worker_costs_the_running_job_only(pipe: Path) -> None:
    async with pool_of(1) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        victim = int(await read_line(pipe))
        queued = [asyncio.create_task(pool.call(jobs.add_one, number)) for number in range(100)]
        await asyncio.sleep(0)
        os.kill(victim, signal.SIGKILL)

        assert list(range(1, 101)) == await asyncio.gather(*queued)
        with pytest.raises(WorkerCrashed, match=r"SIGKILL while running .*announce_and_spin"):
            await running


async def test_results_do_not_wait_behind_a_slow_job(pipe: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    os.mkfifo(release)
    async with pool_of(1) as pool:
        # Teach the dispatcher that jobs are tiny, so that the slow one travels with them.
        async for _ in pool.map_unordered(jobs.add_one, range(5000)):
            pass
        quick = [asyncio.create_task(pool.call(jobs.add_one, number)) for number in range(20)]
        slow = asyncio.create_task(pool.call(jobs.announce_and_wait, str(pipe), str(release)))
        async with asyncio.timeout(10):
            assert list(range(1, 21)) == await asyncio.gather(*quick)
        pid = int(await read_line(pipe))
        await asyncio.to_thread(release.write_text, "go")

        assert pid == await slow


async def test_finished_jobs_survive_a_kill_before_their_results_were_sent() -> None:
    async with pool_of(1) as pool:
        async for _ in pool.map_unordered(jobs.add_one, range(5000)):
            pass
        calls: list[Coroutine[Any, Any, object]]
        calls = [pool.call(jobs.add_one, number) for number in range(20)]
        calls += [pool.call(jobs.exit_hard, 1)]
        calls += [pool.call(jobs.add_one, number) for number in range(20, 40)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [*range(1, 21), *range(21, 41)] == outcomes[:20] + outcomes[21:]
    assert isinstance(outcomes[20], WorkerCrashed)


async def test_a_job_declared_safe_is_started_again() -> None:
    async with pool_of(2) as pool:
        with pytest.raises(WorkerCrashed):
            await pool.jobs.options(retries=2).call(jobs.exit_hard, 1)

        for _ in range(3):
            await pool.death()
        await pool.whole()
        after = await pool.statistics()

    assert (3, 2, 3) == (after.restarts, after.retried, after.crashed)


async def test_a_stopped_worker_can_be_killed() -> None:
    async with pool_of(1) as pool:
        [victim] = await pool.pids()
        os.kill(victim, signal.SIGSTOP)
        call = asyncio.create_task(pool.call(jobs.add_one, 1))
        await asyncio.sleep(0)
        os.kill(victim, signal.SIGKILL)

        assert 2 == await call
        assert "SIGKILL" == (await pool.death()).exit.name


async def test_what_a_job_raised_is_raised_with_its_remote_traceback() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(jobs.Refused, match="because") as caught:
            await pool.call(jobs.raise_refused, "because")

    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in raise_refused" in str(caught.value.__cause__)
    assert "koboshi/workers" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("job", "name"),
    [
        (jobs.raise_two_arguments, "tests.workers.worker_jobs.TwoArguments"),
        (jobs.raise_system_exit, "SystemExit"),
        (jobs.raise_keyboard_interrupt, "KeyboardInterrupt"),
        (jobs.raise_stop_iteration, "StopIteration"),
    ],
)
async def test_what_cannot_be_raised_here_crosses_as_text_and_costs_one_job(
    job: Callable[[], None], name: str
) -> None:
    async with pool_of(1) as pool:
        pids = await pool.pids()
        with pytest.raises(kb.RemoteError) as caught:
            await pool.call(job)
        await works(pool)

        assert (name, pids) == (caught.value.type_name, await pool.pids())


async def test_an_exception_that_cannot_print_itself_costs_one_job() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(jobs.UnprintableError):
            await pool.call(jobs.raise_unprintable)
        await works(pool)


async def test_memory_error_is_the_job_s_failure() -> None:
    async with pool_of(1) as pool:
        pids = await pool.pids()
        with pytest.raises(MemoryError):
            await pool.call(jobs.raise_memory_error)
        await works(pool)

        assert pids == await pool.pids()


async def test_a_result_that_cannot_be_sent_fails_that_job_and_names_the_type() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(ResultNotPicklable, match=r"a result of type _thread.lock cannot be sent back"):
            await pool.call(jobs.unpicklable)
        await works(pool)


@pytest.mark.parametrize("how", ["system_exit", "error"])
async def test_a_result_that_cannot_be_rebuilt_fails_that_job(how: str) -> None:
    async with pool_of(1) as pool:
        with pytest.raises(ResultNotPicklable, match="cannot be rebuilt here"):
            await pool.call(jobs.return_one_that_breaks, how)
        await works(pool)


async def test_an_argument_that_cannot_be_unpacked_fails_that_job() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(ValueError, match="cannot unpack: error"):
            await pool.call(jobs.identity, jobs.BreaksOnArrival("error"))
        await works(pool)


async def test_an_argument_that_cannot_be_sent_is_named() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(NotPicklable) as caught:
            await pool.call(jobs.identity, threading.Lock())
        await works(pool)

    assert "tests.workers.worker_jobs.identity" == caught.value.function
    assert "argument 1 ('value'), a lock," == caught.value.argument


async def test_a_function_that_cannot_be_sent_is_named() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(NotPicklable, match=r"function .*<lambda> cannot be sent.*top level of a module"):
            await pool.call(lambda: 1)


async def test_messages_over_the_frame_limit_fail_one_job_in_both_directions() -> None:
    async with pool_of(1, frame_limit=1000) as pool:
        with pytest.raises(
            FrameTooLarge, match=r"the arguments of len takes 2,0\d\d bytes, the frame limit is 1,000"
        ):
            await pool.call(len, b"x" * 2000)
        with pytest.raises(FrameTooLarge, match="a result of type bytes"):
            await pool.call(bytes, 2000)
        await works(pool)


@pytest.mark.parametrize("size", [200_000, 300_000, 5_000_000])
async def test_results_larger_than_the_journal_and_the_socket_arrive(size: int) -> None:
    async with pool_of(2) as pool:
        results = [len(each) async for each in pool.map_unordered(bytes, [size] * 5)]
        echoed = await pool.call(jobs.identity, b"x" * size)

    assert [size] * 5 == results
    assert size == len(echoed)  # type: ignore[arg-type]


async def test_jobs_do_not_share_objects_with_each_other_or_with_the_caller() -> None:
    async with pool_of(1) as pool:
        async for _ in pool.map_unordered(jobs.add_one, range(3000)):
            pass
        values = [7]
        calls = [asyncio.create_task(pool.call(jobs.extend_argument, values)) for _ in range(2)]
        shared = [asyncio.create_task(pool.call(jobs.append_to_shared, number)) for number in range(3)]
        await asyncio.sleep(0)
        values.append(8)

        assert [[7, 1], [7, 1]] == await asyncio.gather(*calls)
        assert [[0], [0, 1], [0, 1, 2]] == await asyncio.gather(*shared)


async def test_more_calls_than_the_queue_limit_are_refused() -> None:
    async with pool_of(1, queue=3) as pool:
        outcomes = await asyncio.gather(*(pool.call(abs, -1) for _ in range(5)), return_exceptions=True)

    assert [1, 1, 1] == outcomes[:3]
    assert [JobQueueFull, JobQueueFull] == [type(each) for each in outcomes[3:]]


async def test_a_cancelled_call_that_is_queued_never_runs(pipe: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with pool_of(1) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        victim = int(await read_line(pipe))
        cancelled = asyncio.create_task(pool.call(os.mkdir, str(mark)))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        os.kill(victim, signal.SIGKILL)
        await works(pool)
        with pytest.raises(WorkerCrashed):
            await running

    assert not mark.exists()


async def test_stopping_ends_a_worker_that_will_not_listen_and_fails_its_job(pipe: Path) -> None:
    async with pool_of(1, grace=0.05) as pool:
        running = asyncio.create_task(pool.call(jobs.ignore_sigterm_and_spin, str(pipe)))
        victim = int(await read_line(pipe))
        queued = asyncio.create_task(pool.call(jobs.add_one, 1))
        await asyncio.sleep(0)

    with pytest.raises(WorkerCrashed):
        await running
    with pytest.raises(kb.ActorExited) as caught:
        await queued
    with pytest.raises(kb.NotRunning):
        await pool.call(abs, 1)

    assert not caught.value.maybe_executed
    with pytest.raises(ProcessLookupError):
        os.kill(victim, 0)


async def test_processes_that_a_job_started_go_with_their_worker() -> None:
    async with pool_of(1) as pool:
        worker, child = await pool.call(jobs.start_subprocess)
        pidfd = os.pidfd_open(child)
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, gone.set)
        try:
            os.kill(worker, signal.SIGKILL)
            async with asyncio.timeout(5):
                await gone.wait()
        finally:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
        await pool.death()


async def test_under_random_kills_every_job_is_done_or_was_hit() -> None:
    chooser = random.Random(7)
    killed: set[int] = set()
    async with pool_of(2) as pool:
        await works(pool)
        descriptors = len(os.listdir("/proc/self/fd"))
        results = pool.map_unordered(jobs.identity, list(range(30_000)), ahead=1000)
        done: list[object] = []
        crashed = 0
        while True:
            try:
                done.append(await anext(results))
            except WorkerCrashed:
                crashed += 1
            except StopAsyncIteration:
                break
            if len(done) % 1000 != 500:
                continue
            # Until its death is noticed, a killed worker is still listed.
            if pids := sorted(set(await pool.pids()) - killed):
                victim = chooser.choice(pids)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
        deaths = [await pool.death() for _ in killed]
        hit = sum(death.maybe_executed for death in deaths)
        await pool.whole()

        assert len(done) == len(set(done))
        assert (30_000, hit) == (len(done) + crashed, crashed)
        assert len(killed) >= 15
        assert descriptors == len(os.listdir("/proc/self/fd"))
        assert pool.deaths.empty()


async def test_jobs_that_kill_their_worker_cost_themselves_only() -> None:
    async with pool_of(2) as pool:
        done, errors = await drain(pool.map_unordered(jobs.crash_sometimes, range(10_000)))

        assert [n for n in range(10_000) if n % 1000 != 500] == sorted(done)
        assert [WorkerCrashed] * 10 == [type(each) for each in errors]
        for _ in range(10):
            await pool.death()
        await pool.whole()

        assert 10 == (await pool.statistics()).restarts


async def test_a_map_that_is_cut_off_by_closing_says_so() -> None:
    async with pool_of(1) as pool:
        results = pool.map_unordered(jobs.add_one, range(10_000), ahead=10)
        await anext(results)

    _, errors = await drain(results)

    assert errors
    assert {kb.ActorExited} == {type(each) for each in errors}


async def test_an_iterable_that_fails_raises_from_the_map_after_what_it_gave() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    async with pool_of(1) as pool:
        values, errors = await drain(pool.map_unordered(jobs.add_one, items()))

    assert ([2], [LookupError]) == (values, [type(each) for each in errors])


async def test_output_that_nobody_reads_does_not_end_a_worker() -> None:
    async with pool_of(1) as pool:
        pids = await pool.pids()
        await pool.call(jobs.break_stdout)
        await works(pool)

        assert pids == await pool.pids()


class Unchangeable(Exception):
    """Like a frozen dataclass, it refuses that anything is set on it."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("unchangeable")


def raise_unchangeable() -> None:
    raise Unchangeable("no")


async def test_an_exception_that_refuses_attributes_reaches_its_caller() -> None:
    async with pool_of(size=1) as pool:
        async with asyncio.timeout(10):
            with pytest.raises(Unchangeable) as caught:
                await pool.call(raise_unchangeable)
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert 2 == await pool.call(jobs.add_one, 1)


def fork_and_return() -> int:
    return os.fork()


async def test_a_child_that_comes_back_from_a_job_is_no_second_worker() -> None:
    async with pool_of(size=1) as pool:
        async with asyncio.timeout(10):
            assert await pool.call(fork_and_return) > 0
            assert list(range(1, 201)) == await asyncio.gather(
                *(pool.call(jobs.add_one, number) for number in range(200))
            )


async def test_a_program_with_very_long_arguments_starts_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program", "x" * 300_000])
    async with pool_of(size=1) as pool:
        assert 2 == await pool.call(jobs.add_one, 1)
