"""Two promises about restarts: nothing is submitted twice, and busy is not dead."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.rig import pool_of

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.mark.slow
async def test_a_restart_never_submits_work_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with pool_of(2) as pool:
        calls = [asyncio.ensure_future(pool.call(jobs.log_slowly, (str(log), n))) for n in range(200)]
        for turn in range(5):
            await calls[20 * turn]  # some are done, some in hand, some at workers, some in the queue
            os.kill((await pool.whole())[0], signal.SIGKILL)
            await pool.death()
        results = await asyncio.gather(*calls, return_exceptions=True)
        statistics = await pool.statistics()

    ran = [int(line) for line in log.read_text().split()]
    crashed = {n for n, result in enumerate(results) if isinstance(result, Exception)}
    assert len(ran) == len(set(ran))
    assert set(range(200)) - crashed <= set(ran)
    assert len(crashed) == statistics.crashed <= 5
    assert (5, 0) == (statistics.restarts, statistics.retried)


@pytest.mark.slow
async def test_health_checks_never_kill_a_worker_that_is_merely_busy() -> None:
    """Looks at age, memory, journal and deadlines go on all the while; none of them minds work."""
    options = {"timeout": 60.0, "max_memory": 2**34, "max_age": 60.0, "spares": 1}
    async with pool_of(1, **options) as pool:
        [pid] = await pool.whole()
        # Holds the thread without a pause: it answers nobody and reads nothing from its socket.
        first = asyncio.ensure_future(pool.call(jobs.busy_for, 1.5))
        behind = [asyncio.ensure_future(pool.call(jobs.pid)) for _ in range(10)]

        assert 1.5 == await first
        assert [pid] * 10 == await asyncio.gather(*behind)
        statistics = await pool.statistics()
        assert (0, 0, 0) == (statistics.restarts, statistics.crashed, statistics.recycled)
