"""The kernel's out-of-memory killer, for real: a worker in a memory cgroup that is too small for its job."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.workers import oom_jobs

import koboshi as kb

# Where version 1 and version 2 of cgroups have a memory controller, and what the limit is called there.
HIERARCHIES = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
LIMIT = 96 << 20

pytestmark = pytest.mark.slow


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup of our own with a limit; skips where none can be made."""
    for root, limit in HIERARCHIES:
        made = root / f"koboshi-test-{os.getpid()}"
        try:
            made.mkdir()
            (made / limit).write_text(str(LIMIT))
        except OSError:
            if made.is_dir():
                made.rmdir()
            continue
        yield made
        made.rmdir()
        return
    pytest.skip("no memory cgroup can be made here")


async def test_the_oom_killer_costs_exactly_the_job_that_it_hit(cgroup: Path) -> None:
    async with kb.Supervisor(kb.pool(size=2).options(id="pool")) as tree:
        pool = tree.ref(kb.Pool, "pool")
        jobs = kb.jobs(pool)
        before = {worker.pid for worker in (await pool.call(kb.Pool.statistics)).workers}
        victim = await jobs.call(os.getpid)
        (cgroup / "cgroup.procs").write_text(str(victim))
        # Whichever worker takes one of these, the one in the cgroup dies of it and the other does not.
        outcomes = [await _outcome(jobs) for _ in range(20)]
        crashes = [error for error in outcomes if isinstance(error, kb.WorkerCrashed)]
        await pool.call(kb.Pool.wait_ready)
        after = {worker.pid for worker in (await pool.call(kb.Pool.statistics)).workers}

        assert [victim] == [crash.exit.pid for crash in crashes]
        assert signal.SIGKILL.name == crashes[0].exit.name
        assert {oom_jobs.SIZE} == {outcome for outcome in outcomes if not isinstance(outcome, Exception)}
        assert before - {victim} == before & after
        assert 2 == len(after)
        assert [1] * 50 == [await jobs.call(abs, -1) for _ in range(50)]


async def _outcome(jobs: kb.Jobs) -> object:
    try:
        return await jobs.call(oom_jobs.eat)
    except kb.WorkerCrashed as crash:
        return crash
