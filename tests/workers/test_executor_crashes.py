"""`kb.Executor`: a crash at any point costs one job, and the same executor answers fifty more."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from tests.workers import executor_jobs as jobs
from tests.workers import worker_jobs

import koboshi as kb


@pytest.fixture
def executor() -> Iterator[kb.Executor]:
    with kb.Executor(2) as made:
        yield made


def assert_answers(executor: kb.Executor) -> None:
    assert list(range(1, 51)) == list(executor.map(worker_jobs.add_one, range(50), timeout=30))


# A crash at "packing the argument" or "unpacking the result" is one of the program itself.
POINTS: dict[str, tuple[type[Exception], Any, tuple[Any, ...]]] = {
    "error while packing an argument": (kb.NotPicklable, id, (jobs.AtPickle("error"),)),
    "exit while packing an argument": (kb.NotPicklable, id, (jobs.AtPickle("exit"),)),
    "error while unpacking an argument": (jobs.UnpicklingError, id, (jobs.AtUnpickle("error"),)),
    "exit while unpacking an argument": (kb.RemoteError, id, (jobs.AtUnpickle("exit"),)),
    "crash while unpacking an argument": (kb.WorkerCrashed, id, (jobs.AtUnpickle("crash"),)),
    "error in the function": (jobs.PicklingError, jobs.fail, ("error",)),
    "exit in the function": (kb.RemoteError, jobs.fail, ("exit",)),
    "crash in the function": (kb.WorkerCrashed, jobs.fail, ("crash",)),
    "error while packing the result": (kb.ResultNotPicklable, jobs.give, (jobs.AtPickle, "error")),
    "exit while packing the result": (kb.RemoteError, jobs.give, (jobs.AtPickle, "exit")),
    "crash while packing the result": (kb.WorkerCrashed, jobs.give, (jobs.AtPickle, "crash")),
    "error while unpacking the result": (kb.ResultNotPicklable, jobs.give, (jobs.AtUnpickle, "error")),
    "exit while unpacking the result": (kb.ResultNotPicklable, jobs.give, (jobs.AtUnpickle, "exit")),
}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_failure_at_any_point_fails_one_future_and_the_executor_answers_fifty_more(
    executor: kb.Executor, point: str
) -> None:
    error, function, args = POINTS[point]
    before = executor.submit(worker_jobs.add_one, 1)
    failing: Future[Any] = executor.submit(function, *args)
    after = executor.submit(worker_jobs.add_one, 2)

    with pytest.raises(error):
        failing.result(timeout=30)
    assert (2, 3) == (before.result(timeout=30), after.result(timeout=30))
    assert_answers(executor)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_failure_at_any_point_of_one_item_of_a_map_leaves_the_other_items(
    executor: kb.Executor, point: str
) -> None:
    error, function, args = POINTS[point]
    good = [executor.submit(worker_jobs.add_one, number) for number in range(10)]
    futures: list[Future[Any]] = [executor.submit(function, *args) for _ in range(3)]
    good += [executor.submit(worker_jobs.add_one, number) for number in range(10, 20)]

    assert [True] * 3 == [isinstance(future.exception(timeout=30), error) for future in futures]
    assert list(range(1, 21)) == [future.result(timeout=30) for future in good]


@pytest.mark.slow
def test_a_worker_killed_while_idle_costs_nothing(executor: kb.Executor) -> None:
    pid = executor.submit(os.getpid).result(timeout=30)
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)

    # A job that was on its way to it when it died was not begun, so it runs elsewhere.
    assert_answers(executor)


@pytest.mark.slow
def test_forty_crashes_in_a_row_cost_forty_jobs(executor: kb.Executor) -> None:
    futures = [executor.submit(jobs.fail, "crash") for _ in range(40)]

    assert {kb.WorkerCrashed} == {type(future.exception(timeout=40)) for future in futures}
    assert_answers(executor)


@pytest.mark.slow
def test_a_crash_while_a_big_argument_is_on_its_way_costs_each_such_job_alone(executor: kb.Executor) -> None:
    big = "a" * (4 << 20)
    futures = [executor.submit(jobs.crash_with, big) for _ in range(6)]
    good = executor.submit(len, big)

    assert {kb.WorkerCrashed} == {type(future.exception(timeout=30)) for future in futures}
    assert len(big) == good.result(timeout=30)
    assert_answers(executor)


@pytest.mark.slow
def test_a_full_wake_up_pipe_holds_nobody_up(executor: kb.Executor) -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        held.set()
        go_on.wait()

    executor.submit(worker_jobs.add_one, 1).add_done_callback(hold)
    assert held.wait(30)
    loop = executor._run._loop
    assert loop is not None
    for _ in range(2_000):  # a socket pair takes a few hundred single bytes
        loop.call_soon_threadsafe(int)
    futures = [executor.submit(worker_jobs.add_one, number) for number in range(100)]
    go_on.set()

    assert list(range(1, 101)) == [future.result(timeout=30) for future in futures]


@pytest.mark.slow
def test_a_crash_after_shutdown_costs_its_job_and_shutdown_ends() -> None:
    executor = kb.Executor(2)
    crash = executor.submit(jobs.fail, "crash")
    others = [executor.submit(worker_jobs.add_one, number) for number in range(20)]
    executor.shutdown()

    assert isinstance(crash.exception(timeout=0), kb.WorkerCrashed)
    assert list(range(1, 21)) == [future.result(timeout=0) for future in others]


@pytest.mark.slow
def test_an_argument_that_cannot_be_packed_does_not_hold_up_a_shutdown_without_waiting() -> None:
    executor = kb.Executor(2)
    executor.submit(worker_jobs.add_one, 1).result(timeout=30)
    refused = executor.submit(id, jobs.AtPickle("error"))
    executor.shutdown(wait=False)

    with pytest.raises(jobs.PicklingError):
        refused.result(timeout=30)
    thread = executor._run.thread
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.slow
def test_a_job_past_its_timeout_is_killed_with_its_worker_and_no_other(tmp_path: Path) -> None:
    never = tmp_path / "never"
    os.mkfifo(never)
    with kb.Executor(1, timeout=0.4) as executor:
        hung = executor.submit(jobs.wait_for, str(never))
        behind = [executor.submit(worker_jobs.add_one, number) for number in range(50)]

        with pytest.raises(TimeoutError, match="ran for longer") as caught:
            hung.result(timeout=30)
        assert isinstance(caught.value, kb.JobTimeout)
        assert list(range(1, 51)) == [future.result(timeout=30) for future in behind]
        assert_answers(executor)


@pytest.mark.slow
def test_the_timeout_is_that_of_each_job_and_not_of_its_waiting() -> None:
    with kb.Executor(1, timeout=1.0) as executor:
        slow = [executor.submit(jobs.compute, 0.4) for _ in range(5)]

        assert [None] * 5 == [future.result(timeout=30) for future in slow]


@pytest.mark.slow
def test_kill_9_of_the_fork_server_costs_the_jobs_in_hand_and_no_more(
    executor: kb.Executor, tmp_path: Path
) -> None:
    _, server = executor.submit(worker_jobs.parent_pids).result(timeout=30)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    hung: Future[None] = executor.submit(worker_jobs.announce_and_spin, str(pipe))
    assert pipe.read_text()
    os.kill(server, signal.SIGKILL)

    assert isinstance(hung.exception(timeout=30), kb.WorkerCrashed)
    assert_answers(executor)
