"""The pool in its supervision tree: what its children, its supervisor and its callers see."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import signal
from pathlib import Path

import pytest
from tests.workers import worker_jobs as jobs
from tests.workers.rig import Rig, descriptors, pool_of, read_line

import koboshi as kb
from koboshi.workers import JobQueueFull, WorkerCrashed

pytestmark = pytest.mark.usefixtures("fork_server")


class Caller(kb.Actor):
    """Uses a pool from inside an actor."""

    def __init__(self, work: kb.Jobs) -> None:
        self.work = work

    @kb.message
    async def add_one(self, n: int) -> int:
        return await self.work.call(jobs.add_one, n)

    @kb.message
    async def total(self, count: int) -> int:
        return sum([n async for n in self.work.map(jobs.add_one, range(count))])

    @kb.message
    async def spin(self, pipe: str) -> None:
        await self.work.call(jobs.announce_and_spin, pipe)


async def test_workers_are_children_with_paths_pids_and_restarts() -> None:
    async with pool_of(2) as pool:
        first, second = await pool.whole()
        os.kill(first, signal.SIGKILL)
        death = await pool.death()
        await pool.whole()
        children = await pool.ref.call(kb.Pool.which_children)
        statistics = await pool.statistics()

    slot = death.target
    assert ["w2", "w1"] == [child.id for child in children]
    assert {slot: 1} == {child.id: child.restarts for child in children if child.restarts}
    assert [each.last_exit for each in children if each.id == slot] == [kb.Crashed(death)]
    assert second in [worker.pid for worker in statistics.workers]
    assert f"{slot} (pid {first}) was killed by SIGKILL while idle" == str(death)
    restarted = [each for each in pool.events if isinstance(each, kb.events.Restarted)]
    assert [("supervisor/pool", repr(slot), kb.Crashed(death))] == [
        (each.process, each.child, each.reason) for each in restarted
    ]
    crashes = [each for each in pool.events if isinstance(each, kb.events.CrashReport)]
    assert [f"supervisor/pool/{slot}"] == [each.process for each in crashes]


async def test_reasons_tell_signals_and_codes_apart_and_survive_a_pickle() -> None:
    async with pool_of(1) as pool:
        for job, argument in ((jobs.exit_hard, 3), (jobs.raise_signal, 9), (jobs.raise_signal, 6)):
            with pytest.raises(WorkerCrashed):
                await pool.call(job, argument)
        reasons = [kb.Crashed(await pool.death()) for _ in range(3)]

    assert 3 == len(set(map(repr, reasons)))
    assert reasons == pickle.loads(pickle.dumps(reasons))
    errors = [pickle.loads(pickle.dumps(reason)).error for reason in reasons]
    assert ["exit 3", "SIGKILL", "SIGABRT"] == [error.exit.name for error in errors]


async def test_a_pool_works_from_actors_as_from_plain_code() -> None:
    async with pool_of(2) as pool:
        caller = await kb.start(Caller, pool.jobs)

        assert 2 == await pool.call(jobs.add_one, 1)
        assert 2 == await caller.call(Caller.add_one, 1)
        assert sum(range(1, 1001)) == await caller.call(Caller.total, 1000)
        await caller.stop()


async def test_an_ordered_map_keeps_the_order_with_failures_in_their_places() -> None:
    async with pool_of(2) as pool:
        results = pool.jobs.map(jobs.crash_sometimes, [*range(490, 510), *range(600)])
        seen: list[object] = []
        while True:
            try:
                seen.append(await anext(results))
            except WorkerCrashed:
                seen.append("crashed")
            except StopAsyncIteration:
                break

    assert [n if n % 1000 != 500 else "crashed" for n in [*range(490, 510), *range(600)]] == seen


async def test_an_ordered_map_puts_items_that_cannot_be_sent_in_their_places() -> None:
    async with pool_of(1) as pool:
        results = pool.jobs.map(jobs.identity, [1, lambda: 0, 3])
        first = await anext(results)
        with pytest.raises(kb.NotPicklable):
            await anext(results)

        assert [1, 3] == [first, await anext(results)]
        with pytest.raises(StopAsyncIteration):
            await anext(results)


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 2])
async def test_a_storm_of_kills_costs_no_job_twice_and_leaves_nothing(retries: int) -> None:
    chooser = random.Random(3)
    count, kills = 20_000, 30
    async with pool_of(3) as pool:
        await pool.whole()
        before = descriptors()
        results = pool.jobs.options(retries=retries).map_unordered(jobs.identity, range(count), ahead=500)
        done: list[object] = []
        killed: set[int] = set()
        deaths: list[WorkerCrashed] = []
        crashed = seen = 0
        while True:
            try:
                done.append(await anext(results))
            except WorkerCrashed:
                crashed += 1
            except StopAsyncIteration:
                break
            seen += 1
            if len(killed) < kills and seen % (count // (kills + 5)) == 0:
                # Until its death is noticed, a killed worker is still listed.
                while not (alive := sorted(set(await pool.whole()) - killed)):
                    deaths.append(await pool.death())
                victim = chooser.choice(alive)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
        while len(deaths) < len(killed):
            deaths.append(await pool.death())
        pids = await pool.whole()
        after = await pool.statistics()

        assert (kills, count) == (len(killed), len(done) + crashed)
        assert len(done) == len(set(done))
        assert {"SIGKILL"} == {death.exit.name for death in deaths}
        hit = sum(death.maybe_executed for death in deaths)
        assert (hit, hit if retries == 0 else 0) == (after.crashed, crashed)
        assert (0, 0, kills) == (after.queued, after.running, after.restarts)
        assert before == descriptors()
        assert 3 == len(set(pids))


async def test_a_job_that_kills_its_worker_every_time_is_not_retried_for_ever() -> None:
    async with pool_of(2, retries=2) as pool:
        with pytest.raises(kb.Quarantined, match=r"exit_hard killed 3 workers .*: exit 7, exit 7, exit 7;"):
            await pool.call(jobs.exit_hard, 7)

        assert (2, 3) == ((await pool.statistics()).retried, (await pool.statistics()).crashed)


async def test_a_stranger_s_group_restart_gives_a_new_pool_and_fails_what_the_old_one_had(pipe: Path) -> None:
    class Sibling(kb.Actor):
        @kb.message
        def crash(self) -> None:
            raise RuntimeError("sibling")

    spec = kb.pool(size=1, grace=0.05).options(id="pool")
    async with kb.Supervisor(spec, kb.child(Sibling), strategy="one_for_all") as tree:
        pool = Rig(tree)
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        queued = asyncio.create_task(pool.call(jobs.add_one, 1))
        victim = int(await read_line(pipe))
        tree.ref(Sibling, "Sibling").cast(Sibling.crash)

        with pytest.raises(WorkerCrashed):
            await running
        with pytest.raises(kb.ActorExited) as caught:
            await queued
        await tree.wait_ready()

        assert (kb.Shutdown(), False) == (caught.value.reason, caught.value.maybe_executed)
        assert 2 == await pool.call(jobs.add_one, 1)
        assert victim not in await pool.pids()


async def gone(pidfd: int) -> None:
    """Wait for the end of a process."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(5):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def test_a_killed_pool_fails_its_callers_at_once_and_kills_its_processes(pipe: Path) -> None:
    async with pool_of(2) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        await read_line(pipe)
        pidfds = [os.pidfd_open(pid) for pid in await pool.pids()]
        pool.ref.kill()

        with pytest.raises((kb.ActorExited, WorkerCrashed)):
            await running
        await pool.tree.wait_ready()
        assert 2 == await pool.call(jobs.add_one, 1)
        for pidfd in pidfds:
            await gone(pidfd)


async def test_a_killed_worker_actor_takes_its_process_along() -> None:
    async with pool_of(1) as pool:
        [before] = await pool.whole()
        [child] = await pool.ref.call(kb.Pool.which_children)
        assert child.ref is not None
        ended = gone(os.pidfd_open(before))
        child.ref.kill()
        await ended
        assert 2 == await pool.call(jobs.add_one, 1)

        assert [before] != await pool.whole()


async def test_a_worker_that_is_terminated_stays_down_and_the_others_work() -> None:
    async with pool_of(2) as pool:
        await pool.whole()
        await pool.ref.call(kb.Pool.terminate_child, "w1")
        assert [2] * 20 == await asyncio.gather(*(pool.call(jobs.add_one, 1) for _ in range(20)))
        alive = await pool.pids()
        await pool.ref.call(kb.Pool.restart_child, "w1")

        assert (1, 2) == (len(alive), len(await pool.pids()))


async def test_a_pool_that_is_gone_refuses_at_once() -> None:
    async with pool_of(1) as pool:
        await pool.tree.terminate_child("pool")
        with pytest.raises(kb.NotRunning, match="supervisor/pool"):
            await pool.call(jobs.add_one, 1)
        with pytest.raises(kb.NotRunning):
            pool.map_unordered(jobs.add_one, [1])


async def test_too_many_deaths_spend_the_budget_and_the_reason_goes_up() -> None:
    async def crash_on() -> None:
        spec = kb.pool(size=1, max_restarts=2).options(id="pool")
        async with kb.Supervisor(spec, max_restarts=0) as tree:
            for _ in range(3):
                with pytest.raises(WorkerCrashed):
                    await Rig(tree).call(jobs.exit_hard, 5)
            await asyncio.Event().wait()

    with pytest.raises(kb.SupervisorGaveUp) as caught:
        await crash_on()

    assert isinstance(caught.value.__cause__, WorkerCrashed)
    assert "exited with code 5" in str(caught.value.__cause__)


async def test_a_kill_a_second_is_within_the_default_budget() -> None:
    spec = kb.pool(size=1)
    made = spec.target(*spec.args, **spec.kwargs)
    history: tuple[float, ...] = ()
    for second in range(600):
        history, allowed = made._budget.spend(history, float(second))
        assert allowed


async def test_a_deadline_drops_a_job_that_waits(pipe: Path, tmp_path: Path) -> None:
    async with pool_of(1, grace=0.05) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        victim = int(await read_line(pipe))
        with pytest.raises(kb.CallTimeout) as caught:
            await pool.jobs.within(0.02).call(os.mkdir, str(tmp_path / "mark"))
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            await running
        await pool.call(jobs.add_one, 1)

    assert not caught.value.maybe_executed
    assert not (tmp_path / "mark").exists()


async def test_a_deadline_kills_the_worker_that_is_still_running_the_job(pipe: Path) -> None:
    async with pool_of(1) as pool:
        call = pool.jobs.within(0.3).options(retries=5).call(jobs.announce_and_spin, str(pipe))
        with pytest.raises(kb.CallTimeout) as caught:
            await asyncio.gather(call, read_line(pipe))
        death = await pool.death()

        assert caught.value.maybe_executed
        assert "SIGKILL (a job was past its deadline of 0.3 s)" in str(death)
        assert 2 == await pool.call(jobs.add_one, 1)
        assert 0 == (await pool.statistics()).retried


async def test_a_handler_s_own_deadline_ends_its_wait_and_leaves_the_worker_alone(
    pipe: Path, tmp_path: Path
) -> None:
    async with pool_of(1, grace=0.05) as pool:
        [before] = await pool.whole()
        caller = await kb.start(Caller, pool.jobs)
        with pytest.raises(kb.CallTimeout):
            await asyncio.gather(caller.within(0.3).call(Caller.spin, str(pipe)), read_line(pipe))

        assert [before] == await pool.pids()
        await caller.wait_exit()


async def test_a_full_queue_refuses_or_waits(pipe: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    os.mkfifo(release)
    async with pool_of(1, queue=2) as pool:
        holding = asyncio.create_task(pool.call(jobs.announce_and_wait, str(pipe), str(release)))
        await read_line(pipe)
        queued = asyncio.create_task(pool.call(jobs.add_one, 1))
        await asyncio.sleep(0)
        with pytest.raises(JobQueueFull, match=r"2 jobs wait or run in supervisor/pool.*when_full"):
            await pool.call(jobs.add_one, 2)
        waiting = asyncio.create_task(pool.jobs.options(when_full="wait").call(jobs.add_one, 3))
        late = pool.jobs.options(when_full="wait").within(0.02).call(jobs.add_one, 4)
        with pytest.raises(kb.CallTimeout):
            await late
        await asyncio.to_thread(release.write_text, "go")

        assert (2, 4) == (await queued, await waiting)
        await holding


async def test_what_waits_for_room_is_failed_when_the_pool_ends(pipe: Path) -> None:
    async with pool_of(1, queue=1, grace=0.05) as pool:
        running = asyncio.create_task(pool.call(jobs.announce_and_spin, str(pipe)))
        await read_line(pipe)
        waiting = asyncio.create_task(pool.jobs.options(when_full="wait").call(jobs.add_one, 3))
        await asyncio.sleep(0)

    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [WorkerCrashed, kb.ActorExited] == [type(each) for each in outcomes]


async def test_statistics_account_for_every_job() -> None:
    async with pool_of(2) as pool:
        outcomes = await asyncio.gather(
            pool.call(jobs.add_one, 1),
            pool.call(jobs.raise_refused, "no"),
            pool.call(jobs.exit_hard, 1),
            return_exceptions=True,
        )
        await pool.death()
        await pool.whole()
        statistics = await pool.statistics()

    assert [int, jobs.Refused, WorkerCrashed] == [type(each) for each in outcomes]
    assert (2, 1, 1, 0, 1) == (
        statistics.done,
        statistics.failed,
        statistics.crashed,
        statistics.retried,
        statistics.restarts,
    )
    assert (2, 0, 0, 2) == (statistics.size, statistics.queued, statistics.running, len(statistics.workers))
    assert [2, 1] == [
        sum(each.done for each in statistics.workers),
        sum(each.restarts for each in statistics.workers),
    ]


async def test_a_pool_can_be_the_root_itself_or_a_child_as_an_object() -> None:
    async with kb.Pool(size=1) as pool:
        assert 2 == await kb.jobs(pool.me).call(jobs.add_one, 1)
    async with kb.Supervisor(kb.Pool(size=1)) as tree:
        assert 2 == await kb.jobs(tree.ref(kb.Pool, "Pool")).call(jobs.add_one, 1)


async def test_wrong_options_are_refused_where_they_are_written() -> None:
    for options in ({"size": 0}, {"size": 1.5}, {"queue": 0}, {"retries": -1}):
        with pytest.raises(kb.UsageError, match=next(iter(options))):
            kb.pool(**options)
    with pytest.raises(kb.UsageError, match="takes a function"):
        kb.pool(5)  # type: ignore[call-overload]
    async with kb.Supervisor(kb.child(Caller, None)) as tree:  # type: ignore[call-overload]
        with pytest.raises(kb.UsageError, match="takes a ref to a pool"):
            kb.jobs(tree.ref(Caller, "Caller"))  # type: ignore[arg-type]
