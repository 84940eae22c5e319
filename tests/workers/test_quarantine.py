"""A job that kills worker after worker is put aside, with what is known of it."""

from __future__ import annotations

import hashlib
import pickle
import signal

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.rig import pool_of

import koboshi as kb
from koboshi.wire._pickle import dumps

pytestmark = pytest.mark.usefixtures("fork_server")


async def test_a_job_that_killed_three_workers_is_put_aside_whatever_its_retries() -> None:
    async with pool_of(2, retries=100) as pool:
        with pytest.raises(kb.Quarantined) as caught:
            await pool.call(jobs.raise_signal, int(signal.SIGSEGV))
        assert 2 == await pool.call(jobs.add_one, 1)
        statistics = await pool.statistics()

    dossier = caught.value.dossier
    assert ["SIGSEGV"] * 3 == [exit.name for exit in dossier.exits]
    assert 3 == len({exit.pid for exit in dossier.exits})
    assert (1, 2, 3) == (statistics.quarantined, statistics.retried, statistics.crashed)


async def test_the_dossier_has_the_memory_and_a_digest_of_the_arguments() -> None:
    async with pool_of(1, retries=9, quarantine=2) as pool:
        with pytest.raises(kb.Quarantined) as caught:
            await pool.call(jobs.allocate_and_die, 80 * 2**20)

    dossier = caught.value.dossier
    assert "tests.workers.worker_jobs.allocate_and_die" == dossier.function == caught.value.function
    assert hashlib.sha256(dumps((80 * 2**20,))).hexdigest() == dossier.digest
    assert dossier.peak_memory is not None
    assert 80 * 2**20 < dossier.peak_memory < 400 * 2**20
    assert f"sha256 {dossier.digest[:16]}" in str(caught.value)
    assert "killed 2 workers and is not started again: SIGKILL, SIGKILL" in str(caught.value)


async def test_the_dossier_has_the_last_lines_that_each_worker_wrote() -> None:
    async with pool_of(1, retries=9, quarantine=2) as pool:
        with pytest.raises(kb.Quarantined) as caught:
            await pool.call(jobs.log_and_die, 3_000)

    for exit in caught.value.dossier.exits:
        assert 20 == len(exit.last_lines)
        assert "worker_jobs: about to die" == exit.last_lines[-1]
        assert "line 2999 " + "x" * 30 == exit.last_lines[-2]
    assert "worker_jobs: about to die" in str(caught.value)


async def test_a_worker_that_wrote_nothing_has_no_last_lines() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(kb.WorkerCrashed) as caught:
            await pool.call(jobs.exit_hard, 3)

    assert () == caught.value.exit.last_lines


async def test_without_enough_retries_it_is_an_ordinary_crash() -> None:
    async with pool_of(1, retries=1) as pool:
        with pytest.raises(kb.WorkerCrashed) as caught:
            await pool.call(jobs.exit_hard, 3)

    assert kb.WorkerCrashed is type(caught.value)


async def test_one_poisonous_item_of_a_map_costs_itself_only() -> None:
    async with pool_of(2, retries=5) as pool:
        results = pool.jobs.map(jobs.crash_at_500, range(1000))
        done, errors = [], []
        for _ in range(1000):
            try:
                done.append(await anext(results))
            except kb.Quarantined as error:
                errors.append(error)

    assert [n for n in range(1000) if n != 500] == done
    assert [3] == [len(error.dossier.exits) for error in errors]


def test_the_error_survives_pickling() -> None:
    exits = (kb.WorkerExit(7, None, 9, peak_memory=2**20), kb.WorkerExit(8, 3))
    error = kb.Quarantined(kb.Dossier("f", "ab" * 32, 10, exits), worker="w1")
    copy = pickle.loads(pickle.dumps(error))

    assert (str(error), error.dossier, "exit 3") == (str(copy), copy.dossier, copy.exit.name)
    assert "SIGKILL, exit 3; peak memory 1 MB; arguments sha256 abababababababab, 10 bytes" in str(error)


@pytest.mark.parametrize("value", [0, None, True, 1.5])
def test_a_quarantine_that_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(kb.UsageError, match="quarantine takes a whole number >= 1"):
        kb.pool(size=1, quarantine=value)  # type: ignore[call-overload]
