"""Large buffers travel by shared memory: equal, writable, private, and freed with whoever holds them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.workers import array_jobs as jobs
from tests.workers import worker_jobs
from tests.workers.rig import pool_of
from tests.workers.test_process import Owner

import koboshi as kb
from koboshi.wire import BuffersLost, DescriptorsExhausted, FrameTooLarge
from koboshi.workers import ForkServer, WorkerCrashed
from koboshi.workers.process._jobs import FunctionTable, encode_arguments
from koboshi.workers.process._outcomes import decode

pytestmark = pytest.mark.usefixtures("fork_server")

LIMIT = 1 << 20
LARGE = 50_000


@pytest.fixture(autouse=True)
def no_segment_is_left() -> Iterator[None]:
    yield
    gc.collect()

    assert (0, []) == (jobs.segments_open(), jobs.segments_mapped())


async def test_arrays_arrive_equal_and_writable_in_both_directions() -> None:
    array = np.arange(LARGE)
    async with pool_of(1) as pool:
        result = await pool.call(jobs.double, array)
        result[0] = 7

        assert [1, LARGE - 1] == [int(result[1]) // 2, int(result[-1]) // 2]
        assert float(array.sum()) == await pool.call(jobs.zero, array)
        assert float(array.sum()) == await pool.call(jobs.total, array)


@pytest.mark.parametrize("size", [10, 100_000])
async def test_bytes_of_every_kind_arrive_as_what_they_are(size: int) -> None:
    values = (b"x" * size, bytearray(size), memoryview(bytes(size)))
    async with pool_of(1) as pool:
        assert [("bytes", size), ("bytearray", size), ("memoryview", size)] == await pool.call(
            jobs.kinds, *values
        )
        assert bytes(size) == bytes(await pool.call(jobs.view_of, size))


async def test_the_frame_limit_counts_what_is_in_band() -> None:
    async with pool_of(1, frame_limit=10_000) as pool:
        assert 8.0 * LARGE == (await pool.call(jobs.ones, LARGE)).nbytes
        with pytest.raises(FrameTooLarge, match=r"the arguments of .*identity"):
            await pool.call(worker_jobs.identity, "x" * 100_000)


async def test_a_retry_has_the_argument_as_it_was_sent(tmp_path: Path) -> None:
    array = np.ones(LARGE)
    async with pool_of(1) as pool:
        mark = str(tmp_path / "mark")

        assert LARGE == await pool.jobs.options(retries=1).call(jobs.zero_and_die_first, array, mark)
        assert signal.SIGKILL == (await pool.death()).exit.signal


async def test_an_argument_that_the_caller_changes_later_arrives_as_it_was(tmp_path: Path) -> None:
    array = np.ones(LARGE)
    async with pool_of(1) as pool:
        job = asyncio.ensure_future(pool.call(jobs.total, array))
        await asyncio.sleep(0)
        array[:] = 0

        assert LARGE == await job


async def test_results_that_were_sent_before_a_kill_are_kept() -> None:
    async with pool_of(1) as pool:
        done, crashed = await asyncio.gather(
            pool.call(jobs.ones, LARGE), pool.call(worker_jobs.raise_signal, 9), return_exceptions=True
        )

        assert isinstance(crashed, WorkerCrashed)
        assert not isinstance(done, BaseException)
        assert LARGE == done.sum()


async def test_the_memory_of_a_killed_worker_is_freed() -> None:
    async with pool_of(1) as pool:
        for _ in range(100):
            await pool.call(jobs.keep, np.ones(10_000))
        inodes = set(await pool.call(jobs.segments_mapped))
        [pid] = await pool.pids()
        assert 100 == len(inodes)
        assert inodes & set(jobs.mapped(pid))
        os.kill(pid, signal.SIGKILL)
        await pool.death()
        holders = [name for name in os.listdir("/proc") if name.isdigit() and inodes & maps_of(name)]

        assert [] == holders
        assert 0 == jobs.segments_open()


def maps_of(pid: str) -> set[str]:
    try:
        return set(jobs.mapped(pid))
    except OSError:  # it has ended, or is not ours
        return set()


async def test_a_worker_without_descriptors_fails_the_job_whose_buffers_it_cannot_take() -> None:
    async with pool_of(1) as pool:
        await pool.call(jobs.hoard_descriptors)
        with pytest.raises(BuffersLost, match="ulimit -n"):
            await pool.call(jobs.total, np.ones(LARGE))
        with pytest.raises(DescriptorsExhausted, match="ulimit -n"):
            await pool.call(jobs.ones, 10_000_000)
        # What goes in band instead costs copies, and arrives.
        assert LARGE == (await pool.call(jobs.ones, LARGE)).sum()
        await pool.call(jobs.let_go)
        assert LARGE == await pool.call(jobs.total, np.ones(LARGE))


async def test_a_crash_while_large_arguments_are_in_the_pipe_leaves_them_untouched() -> None:
    server, owner = ForkServer(), Owner()
    try:
        worker = await owner.start(server)
        function = FunctionTable().ref(jobs.total, LIMIT)
        os.kill(worker.pid, signal.SIGSTOP)
        entries = [encode_arguments(function, (np.full(10_000, number),), {}, LIMIT) for number in range(100)]
        for entry in entries:
            worker.submit(function, [entry], 80_000)
        await asyncio.sleep(0)
        os.kill(worker.pid, signal.SIGKILL)
        death = await worker.wait_ended()
        assert ([], False) == (owner.outcomes, death.running)
        assert 100 == jobs.segments_open()
        other = await owner.start(server)
        for entry in entries:
            other.submit(function, [entry], 80_000)
        await owner.wait_outcomes(100)
        await other.stop()
    finally:
        await server.aclose()

    assert [10_000.0 * number for number in range(100)] == [decode(each) for each in owner.outcomes]


async def test_the_arguments_of_a_job_are_let_go_when_it_is_over() -> None:
    async with pool_of(1) as pool:
        await pool.call(jobs.total, np.ones(LARGE))

        assert 0 == jobs.segments_open()
        assert [] == await pool.call(jobs.segments_mapped)


async def test_a_map_over_large_items_pulls_only_a_few_ahead() -> None:
    pulled = 0

    def items() -> Iterator[jobs.Array]:
        nonlocal pulled
        for number in range(300):
            pulled += 1
            yield np.full(10_000, number)

    async with pool_of(2) as pool:
        results = pool.map_unordered(jobs.total, items())
        await anext(results)
        assert pulled <= 80
        rest = [result async for result in results]

    assert 299 == len(rest)
    assert 300 == pulled


@pytest.mark.slow
async def test_ten_thousand_large_messages_leave_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with pool_of(2) as pool:
        array = np.ones(8_200)
        await pool.call(jobs.double, array)
        during = len(os.listdir("/proc/self/fd"))
        count = 0
        async for result in pool.map_unordered(jobs.double, (array for _ in range(10_000))):
            count += result[0] == 2
        await pool.whole()

        assert 10_000 == count
        assert during == len(os.listdir("/proc/self/fd"))
        assert 0 == jobs.segments_open()
    assert before == len(os.listdir("/proc/self/fd"))


async def test_messages_to_actors_in_workers_carry_arrays() -> None:
    spec = kb.pool(kb.child(jobs.Mixer, np.ones(LARGE)), size=1).options(id="mixer")
    async with kb.Supervisor(spec) as tree:
        # Without a deadline: the kernel keeps an answered call until it would have been due.
        mixer = tree.ref(jobs.Mixer, "mixer").within(None)
        first = await mixer.call(jobs.Mixer.add, np.ones(LARGE))
        first[:] = 0
        second = await mixer.call(jobs.Mixer.add, np.ones(LARGE))

    assert 3 * LARGE == second.sum()


@pytest.mark.slow
def test_an_executor_carries_arrays() -> None:
    with kb.Executor(2) as executor:
        results = list(executor.map(jobs.double, (np.full(LARGE, number) for number in range(20))))

    assert [2 * number for number in range(20)] == [int(result[-1]) for result in results]
