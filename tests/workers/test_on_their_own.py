"""What is seen only where no test was before: how the fork server lives and dies, and a loop without other nodes."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from pathlib import Path

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.nodes.agents import Agent
from tests.workers.rig import Rig, pool_of, read_line
from tests.workers.test_pool import works

import koboshi as kb
from koboshi.workers import WorkerCrashed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_death_of_the_fork_server_is_like_that_of_all_workers(number: int, pipe: Path) -> None:
    async with pool_of(2) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        await read_line(pipe)
        _, server = await pool.call(jobs.parent_pids)
        os.kill(server, number)
        deaths = [await pool.death(), await pool.death()]

        with pytest.raises(WorkerCrashed):
            await running
        assert ["SIGKILL"] * 2 == [death.exit.name for death in deaths]
        await works(pool)
        assert server != (await pool.call(jobs.parent_pids))[1]


async def test_a_worker_that_crashes_writes_its_traceback_to_the_error_stream(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with pool_of(1) as pool:
        with pytest.raises(WorkerCrashed):
            await pool.call(jobs.segfault)
        await pool.death()

    assert "Segmentation fault" in capfd.readouterr().err


async def test_all_pools_of_a_node_share_one_fork_server() -> None:
    specs = [kb.pool(size=1).options(id=name) for name in ("pool", "other")]
    async with kb.Supervisor(*specs) as tree:
        parents = {
            (await kb.jobs(tree.ref(kb.Pool, name)).call(jobs.parent_pids))[1] for name in ("pool", "other")
        }
        await tree.terminate_child("other")
        assert 2 == await Rig(tree).call(jobs.add_one, 1)

    assert 1 == len(parents)
    with pytest.raises(ProcessLookupError):
        os.kill(parents.pop(), 0)


async def test_a_function_that_workers_cannot_import_fails_the_start_and_says_why() -> None:
    from tests.workers import fails_in_workers

    with pytest.raises(kb.StartError) as caught:
        async with kb.Supervisor(kb.pool(fails_in_workers.job, size=2).options(id="pool")):
            pytest.fail("it started")

    assert "cannot open shared object file" in repr(caught.value)


async def test_a_ref_cannot_be_pickled_where_there_are_no_other_nodes() -> None:
    ref = await kb.start(Agent, "alone")
    with pytest.raises(kb.UsageError, match="not joined to any"):
        pickle.dumps(ref)
    await ref.stop()


async def test_a_class_that_workers_cannot_import_fails_the_start_with_its_error() -> None:
    from tests.workers.fails_in_workers import Camera

    with pytest.raises(kb.StartError, match="cannot open shared object file"):
        async with kb.Supervisor(kb.pool(kb.child(Camera), size=2).options(id="pool")):
            pytest.fail("it started")
