"""The pool's `timeout`: a job that runs for too long is ended with its worker, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from pathlib import Path

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.hosted import Thumbnailer
from tests.workers.rig import pool_of, read_line

import koboshi as kb
from koboshi.workers import WorkerExit

pytestmark = pytest.mark.usefixtures("fork_server")


async def test_a_job_over_its_time_fails_with_an_error_of_its_own_and_its_worker_is_replaced(
    pipe: Path,
) -> None:
    async with pool_of(1, timeout=0.2) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        victim = int(await read_line(pipe))
        behind = asyncio.create_task(pool.call(jobs.add_one, 1))
        with pytest.raises(kb.JobTimeout, match=r"announce_and_spin ran for longer than 0\.2 s") as caught:
            await running

        assert 2 == await behind
        assert (victim, "SIGKILL") == (caught.value.exit.pid, caught.value.exit.name)
        assert (0.2, True) == (caught.value.timeout, caught.value.maybe_executed)
        statistics = await pool.statistics()
        assert (1, 1, 0) == (statistics.overdue, statistics.crashed, statistics.retried)


async def test_a_job_over_its_time_is_not_started_again(pipe: Path) -> None:
    async with pool_of(1, timeout=0.2, retries=5) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        await read_line(pipe)
        with pytest.raises(kb.JobTimeout):
            await running

        assert 0 == (await pool.statistics()).retried


async def test_the_clock_of_a_job_starts_when_a_worker_has_it_and_not_when_it_is_given() -> None:
    async with pool_of(1, timeout=0.5) as pool:
        # Together they take longer than one may.
        await asyncio.gather(*(pool.call(jobs.busy_for, 0.1) for _ in range(8)))

        assert 0 == (await pool.statistics()).restarts


async def test_a_stopped_worker_is_replaced_and_the_job_it_never_began_runs_elsewhere() -> None:
    async with pool_of(1, timeout=0.2) as pool:
        (victim,) = await pool.whole()
        os.kill(victim, signal.SIGSTOP)

        assert 2 == await pool.call(jobs.add_one, 1)
        assert "it was past a job's timeout of 0.2 s" == (await pool.death()).exit.detail


async def test_a_root_that_was_held_up_blames_no_worker_for_it() -> None:
    async with pool_of(1, timeout=0.1) as pool:
        await pool.whole()
        call = asyncio.create_task(pool.call(jobs.add_one, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        jobs.busy_for(0.3)

        assert 2 == await call
        assert 0 == (await pool.statistics()).restarts


async def test_the_message_of_a_pooled_actor_has_the_same_limit(tmp_path: Path) -> None:
    for name in ("announce", "release"):
        os.mkfifo(tmp_path / name)
    spec = kb.pool(kb.child(Thumbnailer), size=1, timeout=0.2).options(id="thumbs")
    async with kb.Supervisor(spec) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        hold = thumbs.call(Thumbnailer.hold, str(tmp_path / "announce"), str(tmp_path / "release"))
        running = asyncio.create_task(hold)
        await read_line(tmp_path / "announce")
        with pytest.raises(kb.ActorExited) as caught:
            await running
        assert b"abc" == await thumbs.call(Thumbnailer.make, b"abc")

    assert isinstance(caught.value.reason, kb.Crashed)
    assert isinstance(caught.value.reason.error, kb.JobTimeout)


@pytest.mark.parametrize("value", [0, -1, True, "1", float("nan"), float("inf")])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(value: object) -> None:
    with pytest.raises(kb.UsageError, match="timeout takes seconds > 0 or None"):
        kb.pool(size=1, timeout=value)  # type: ignore[call-overload]


def test_the_error_survives_pickling() -> None:
    error = kb.JobTimeout("f", WorkerExit(7, None, 9, peak_memory=5), 0.5, worker="w1")
    copy = pickle.loads(pickle.dumps(error))

    assert (str(error), 0.5, error.exit) == (str(copy), copy.timeout, copy.exit)
