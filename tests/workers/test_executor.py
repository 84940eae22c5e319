"""`kb.Executor` in ordinary use: results, limits, shutdown, and the end of the program."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError
from pathlib import Path
from typing import Any

import pytest
from tests.workers import executor_jobs as jobs
from tests.workers import worker_jobs
from tests.workers.rig import pool_of

import koboshi as kb

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def fifo(folder: Path, name: str) -> Path:
    path = folder / name
    os.mkfifo(path)
    return path


# -- results -------------------------------------------------------------------------------------------


def test_results_come_from_other_processes_and_maps_keep_their_order() -> None:
    with kb.Executor(2) as executor:
        assert os.getpid() != executor.submit(os.getpid).result(timeout=30)
        assert list(map(math.isqrt, range(100))) == list(executor.map(math.isqrt, range(100)))
        assert [1, 4, 27] == list(executor.map(pow, [1, 2, 3], [1, 2, 3]))
        assert [] == list(executor.map(math.isqrt, []))


@pytest.mark.parametrize("size", [1, 6, 40, 50])
def test_chunks_of_any_size_give_the_same_results(size: int) -> None:
    with kb.Executor(2) as executor:
        found = list(executor.map(pow, range(40), range(40), chunksize=size))

        assert [number**number for number in range(40)] == found


def test_an_exception_crosses_with_its_remote_traceback() -> None:
    with kb.Executor(1) as executor:
        error = executor.submit(worker_jobs.raise_refused, "no").exception(timeout=30)

        assert isinstance(error, worker_jobs.Refused)
        assert "raise_refused" in str(error.__cause__)


def test_arguments_are_packed_when_they_are_given() -> None:
    with kb.Executor(1) as executor:
        values = [1]
        future = executor.submit(worker_jobs.identity, values)
        values.append(2)

        assert [1] == future.result(timeout=30)


async def test_an_event_loop_uses_it_through_run_in_executor() -> None:
    loop = asyncio.get_running_loop()
    executor = kb.Executor(2)
    try:
        found = await asyncio.gather(*(loop.run_in_executor(executor, math.isqrt, n) for n in range(20)))
        with pytest.raises(kb.WorkerCrashed):
            await loop.run_in_executor(executor, worker_jobs.segfault)
    finally:
        await asyncio.to_thread(executor.shutdown)

    assert list(map(math.isqrt, range(20))) == found


def test_many_threads_share_one_executor() -> None:
    found: list[list[int]] = []

    def work() -> None:
        found.append(list(executor.map(worker_jobs.add_one, range(200))))

    with kb.Executor(2) as executor:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [list(range(1, 201))] * 4 == found


# -- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"initializer": 7}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": "3"}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": math.inf}, ValueError),
    ],
)
def test_an_option_with_no_such_value_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=str(next(iter(options.values())))):
        kb.Executor(**options)


def test_an_initializer_runs_in_each_worker_and_in_its_successor() -> None:
    with kb.Executor(1, initializer=jobs.set_up, initargs=("ready",)) as executor:
        assert "ready" == executor.submit(jobs.state).result(timeout=30)
        assert executor.submit(jobs.fail, "crash").exception(timeout=30)
        assert "ready" == executor.submit(jobs.state).result(timeout=30)


@pytest.mark.parametrize(
    ("initializer", "args", "cause"),
    [(jobs.refuse_to_set_up, (), ValueError), (jobs.fail, ("crash",), kb.WorkerCrashed)],
)
def test_an_initializer_that_fails_breaks_the_executor_and_says_why(
    initializer: Callable[..., None], args: tuple[str, ...], cause: type[Exception]
) -> None:
    with kb.Executor(2, initializer=initializer, initargs=args) as executor:
        error = executor.submit(os.getpid).exception(timeout=30)

        assert isinstance(error, kb.ExecutorBroken)
        assert isinstance(error, BrokenExecutor)
        assert isinstance(error.__cause__, cause)
        with pytest.raises(kb.ExecutorBroken, match="set up"):
            executor.submit(os.getpid).result(timeout=30)


def test_a_worker_is_replaced_after_its_share_of_jobs() -> None:
    with kb.Executor(1, max_tasks_per_child=3) as executor:
        pids = [executor.submit(os.getpid).result(timeout=30) for _ in range(7)]
        many = list(executor.map(worker_jobs.pid, range(30)))

    assert [1, 1, 1] == [len(set(part)) for part in (pids[:3], pids[3:6], pids[6:])]
    assert 3 == len(set(pids))
    assert 10 <= len(set(many)) <= 11
    assert 3 == max(map((pids + many).count, many))


def test_a_shutdown_finishes_the_jobs_of_workers_that_are_replaced_meanwhile() -> None:
    executor = kb.Executor(3, max_tasks_per_child=1)
    futures = [executor.submit(worker_jobs.add_one, number) for number in range(12)]
    executor.shutdown()

    assert list(range(1, 13)) == [future.result(timeout=0) for future in futures]


# -- cancelling and shutting down ------------------------------------------------------------------------


def test_a_cancelled_job_never_runs_and_a_running_one_cannot_be_cancelled(tmp_path: Path) -> None:
    pipe, release, mark = fifo(tmp_path, "pipe"), fifo(tmp_path, "release"), tmp_path / "mark"
    with kb.Executor(1) as executor:
        running = executor.submit(worker_jobs.announce_and_wait, str(pipe), str(release))
        waiting = executor.submit(jobs.leave_mark, str(mark))
        assert pipe.read_text()
        assert running.running()
        assert not running.cancel()
        assert waiting.cancel()
        release.write_text("go on")
        assert running.result(timeout=30)

    assert waiting.cancelled()
    assert not mark.exists()


def test_shutdown_cancels_what_no_worker_has_when_it_is_told_to(tmp_path: Path) -> None:
    pipe, release = fifo(tmp_path, "pipe"), fifo(tmp_path, "release")
    executor = kb.Executor(1)
    running = executor.submit(worker_jobs.announce_and_wait, str(pipe), str(release))
    others = [executor.submit(worker_jobs.add_one, number) for number in range(5000)]
    assert pipe.read_text()
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        others[-1].result(timeout=30)
    release.write_text("go on")
    executor.shutdown()

    assert running.result(timeout=0)
    assert {True} == {future.cancelled() for future in others}


def test_shutdown_leaves_no_thread_and_repeats_without_harm() -> None:
    before = threading.active_count()
    executor = kb.Executor(2)
    executor.shutdown()  # nothing was started
    with kb.Executor(2) as executor:
        executor.submit(math.isqrt, 4).result(timeout=30)
    executor.shutdown()

    assert before == threading.active_count()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(math.isqrt, 4)


def test_an_executor_that_is_dropped_finishes_its_jobs_and_is_gone() -> None:
    executor = kb.Executor(2)
    results = executor.map(worker_jobs.add_one, range(20))
    thread = executor._run.thread
    assert thread is not None
    del executor
    gc.collect()
    thread.join(30)

    assert not thread.is_alive()
    assert list(range(1, 21)) == list(results)


def test_arguments_of_a_job_are_gone_when_it_is_done(tmp_path: Path) -> None:
    pipe = fifo(tmp_path, "pipe")
    with kb.Executor(1) as executor:
        executor.submit(id, jobs.TellsOfItsEnd(str(pipe))).result(timeout=30)

        # No other job comes to push it out.
        assert "gone" == pipe.read_text()


def test_a_keyboard_interrupt_in_the_block_kills_what_runs(tmp_path: Path) -> None:
    pipe = fifo(tmp_path, "pipe")
    executor = kb.Executor(1)
    with pytest.raises(KeyboardInterrupt), executor:
        running = executor.submit(worker_jobs.announce_and_spin, str(pipe))
        waiting = executor.submit(worker_jobs.add_one, 1)
        assert pipe.read_text()
        raise KeyboardInterrupt

    assert isinstance(running.exception(timeout=0), kb.WorkerCrashed)
    assert waiting.cancelled()


# -- over a supervised pool --------------------------------------------------------------------------------


async def test_a_supervised_pool_is_an_executor_for_other_threads() -> None:
    async with pool_of(2) as rig:
        executor = rig.jobs.as_executor()

        def work() -> list[int]:
            with executor:
                crash = executor.submit(jobs.fail, "crash")
                found = list(executor.map(worker_jobs.add_one, range(50)))
                assert isinstance(crash.exception(timeout=30), kb.WorkerCrashed)
                assert isinstance(executor.submit(id, jobs.AtPickle("exit")).exception(0), kb.NotPicklable)
            return found

        assert list(range(1, 51)) == await asyncio.to_thread(work)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(math.isqrt, 4)
        assert 2 == await rig.call(math.isqrt, 4)


async def test_an_executor_over_a_pool_serves_its_own_loop_and_survives_the_pool_by_an_error() -> None:
    async with pool_of(1) as rig:
        executor = rig.jobs.as_executor()
        assert 2 == await asyncio.get_running_loop().run_in_executor(executor, math.isqrt, 4)
        await rig.tree.terminate_child("pool")
        with pytest.raises(kb.NotRunning):
            await asyncio.wrap_future(executor.submit(math.isqrt, 4))
        await rig.tree.restart_child("pool")
        assert 3 == await asyncio.wrap_future(executor.submit(math.isqrt, 9))


async def test_waiting_on_the_loop_for_jobs_of_that_loop_is_refused(tmp_path: Path) -> None:
    async with pool_of(1) as rig:
        executor = rig.jobs.as_executor()
        release = fifo(tmp_path, "release")
        held = executor.submit(jobs.wait_for, str(release))
        with pytest.raises(kb.WrongThread, match="to_thread"):
            executor.shutdown()
        waiting = [asyncio.to_thread(release.write_text, "go"), asyncio.to_thread(executor.shutdown)]
        await asyncio.gather(*waiting)

        assert "go" == held.result(timeout=0)


# -- the end of the program --------------------------------------------------------------------------------


def run_program(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = folder / "program.py"
    path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
    )


def test_a_program_that_ends_without_shutdown_finishes_its_jobs(tmp_path: Path) -> None:
    text = """
import koboshi as kb

def job(number):
    print("job", number, flush=True)

if __name__ == "__main__":
    executor = kb.Executor(1)
    executor.submit(job, 1)
    executor.submit(job, 2)
"""
    done = run_program(tmp_path, text)

    assert (0, "job 1\njob 2\n", "") == (done.returncode, done.stdout, done.stderr)


def test_a_program_may_end_after_a_shutdown_that_did_not_wait(tmp_path: Path) -> None:
    text = """
import koboshi as kb

if __name__ == "__main__":
    executor = kb.Executor(2)
    executor.submit(print, "job", flush=True)
    executor.shutdown(wait=False)
"""
    done = run_program(tmp_path, text)

    assert (0, "job\n", "") == (done.returncode, done.stdout, done.stderr)


def test_nothing_is_accepted_while_the_interpreter_ends(tmp_path: Path) -> None:
    text = """
import atexit

@atexit.register
def last():
    try:
        executor.submit(id, None)
    except RuntimeError as error:
        print(error)

import koboshi as kb

if __name__ == "__main__":
    executor = kb.Executor(2)
"""
    done = run_program(tmp_path, text)

    assert (0, "cannot schedule new futures after interpreter shutdown\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )


def test_a_program_without_a_guard_around_its_entry_fails_and_says_what_to_write(tmp_path: Path) -> None:
    text = """
import koboshi as kb

def job():
    return 1

with kb.Executor(1) as executor:
    print(executor.submit(job).result())
"""
    done = run_program(tmp_path, text)

    assert 1 == done.returncode
    assert 'if __name__ == "__main__":' in done.stderr


def test_a_forked_child_is_told_that_the_executor_is_not_its_own(tmp_path: Path) -> None:
    text = """
import os, warnings
import koboshi as kb

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, which is the point
    with kb.Executor(1) as executor:
        executor.submit(id, 1).result()
        pid = os.fork()
        if pid == 0:
            try:
                executor.submit(id, 1)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(executor.submit(abs, -1).result())
"""
    done = run_program(tmp_path, text)

    assert "this executor belongs to the process that forked this one; make another here\n1\n" == done.stdout
    assert 0 == done.returncode, done.stderr
