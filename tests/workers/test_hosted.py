"""Pools of actors: a ref to the pool is a ref to the actor, and each worker holds one."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from tests.workers.hosted import Announcing, BetterThumbnailer, Broken, StoppedAtFirst, Thumbnailer
from tests.workers.rig import read_line
from tests.workers.worker_jobs import add_one

import koboshi as kb
from koboshi.workers import ResultNotPicklable, WorkerCrashed

pytestmark = pytest.mark.usefixtures("fork_server")


def fifo(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


async def test_calls_and_casts_go_to_actors_in_other_processes() -> None:
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer, size=3), size=2).options(id="thumbs")) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        image: bytes = await thumbs.call(Thumbnailer.make, b"abcdef")
        thumbs.cast(Thumbnailer.make, b"x")
        assert b"abc" == image
        assert 1 <= await thumbs.call(Thumbnailer.slow_make, b"", pauses=3)
        pid, _ = await thumbs.call(Thumbnailer.where)
        assert os.getpid() != pid


async def test_each_worker_holds_one_instance_made_there(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    spec = kb.pool(kb.child(Thumbnailer, mark=str(mark)), size=3).options(id="thumbs")
    async with kb.Supervisor(spec) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        await asyncio.gather(*(thumbs.call(Thumbnailer.make, b"x") for _ in range(50)))
        statistics = await tree.ref(kb.Pool, "thumbs").call(kb.Pool.statistics)

    made = sorted(map(int, mark.read_text().split()))
    assert sorted(worker.pid or 0 for worker in statistics.workers) == made


async def test_a_message_goes_to_a_worker_that_is_free(tmp_path: Path) -> None:
    pipe, release = fifo(tmp_path / "pipe"), fifo(tmp_path / "release")
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=2).options(id="thumbs")) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        holding = asyncio.create_task(thumbs.call(Thumbnailer.hold, pipe, release))
        held = int(await read_line(pipe))
        others = {(await thumbs.call(Thumbnailer.where))[0] for _ in range(20)}
        await asyncio.to_thread(Path(release).write_text, "go")

        assert held == await holding
    assert held not in others


async def test_a_crash_in_a_handler_costs_that_instance_and_is_the_caller_s_actor_exited() -> None:
    reports: list[kb.events.Event] = []
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        kb.listen(reports.append)
        thumbs = tree.ref(Thumbnailer, "thumbs")
        await thumbs.call(Thumbnailer.make, b"x")
        before = await thumbs.call(Thumbnailer.where)
        with pytest.raises(kb.ActorExited) as caught:
            await thumbs.call(Thumbnailer.make, b"")
        after = await thumbs.call(Thumbnailer.where)
        statistics = await tree.ref(kb.Pool, "thumbs").call(kb.Pool.statistics)

    assert isinstance(caught.value.__cause__, ValueError)
    assert kb.Crashed(ValueError("no image")) == caught.value.reason
    assert "in make" in str(caught.value.__cause__.__cause__)
    assert ((before[0], 1), (before[0], 0)) == (before, after)
    assert 0 == statistics.restarts
    crashes = [each for each in reports if isinstance(each, kb.events.CrashReport)]
    assert ["supervisor/thumbs/Thumbnailer"] == [each.process for each in crashes]


async def test_the_death_of_a_worker_is_actor_exited_with_the_signal_and_a_fresh_one_comes() -> None:
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        pid, _ = await thumbs.call(Thumbnailer.where)
        with pytest.raises(kb.ActorExited) as caught:
            await thumbs.call(Thumbnailer.die)
        fresh, made = await thumbs.call(Thumbnailer.where)

    assert isinstance(caught.value.__cause__, WorkerCrashed)
    assert "SIGKILL while running Thumbnailer.die" in str(caught.value.__cause__)
    assert (True, 0) == (pid != fresh, made)


async def test_a_message_sent_while_its_worker_is_dead_waits_for_the_next() -> None:
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        outcomes = await asyncio.gather(
            thumbs.call(Thumbnailer.die),
            *(thumbs.call(Thumbnailer.make, b"x") for _ in range(20)),
            return_exceptions=True,
        )

    assert [kb.ActorExited] + [bytes] * 20 == [type(each) for each in outcomes]


async def test_an_actor_that_stops_itself_answers_and_is_made_anew() -> None:
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        await thumbs.call(Thumbnailer.make, b"x")

        assert "finished" == await thumbs.call(Thumbnailer.finish)
        assert 0 == (await thumbs.call(Thumbnailer.where))[1]


async def test_what_cannot_be_sent_either_way_is_the_caller_s_error_and_no_crash() -> None:
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        await thumbs.call(Thumbnailer.make, b"x")
        with pytest.raises(kb.NotPicklable, match=r"argument 1 \('image'\), a lock, of Thumbnailer.make"):
            await thumbs.call(Thumbnailer.make, threading.Lock())  # type: ignore[arg-type]
        with pytest.raises(ResultNotPicklable):
            await thumbs.call(Thumbnailer.unpicklable)
        with pytest.raises(LookupError, match="refused, not crashed"):
            await thumbs.call(Thumbnailer.refuse)
        with pytest.raises(kb.UsageError, match="arguments that do not fit"):
            await thumbs.call(Thumbnailer.make)  # type: ignore[call-arg]

        assert 1 == (await thumbs.call(Thumbnailer.where))[1]


async def test_a_cast_that_cannot_be_sent_is_reported() -> None:
    reports: list[kb.events.Event] = []
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        kb.listen(reports.append)
        thumbs = tree.ref(Thumbnailer, "thumbs")
        thumbs.cast(Thumbnailer.make, threading.Lock())  # type: ignore[arg-type]
        await thumbs.call(Thumbnailer.where)

    lost = [each for each in reports if isinstance(each, kb.events.Unhandled)]
    assert ["supervisor/thumbs"] == [each.process for each in lost]
    assert "a lock" in lost[0].message


async def test_a_subclass_answers_its_base_s_messages_with_its_own() -> None:
    async with kb.Supervisor(kb.pool(kb.child(BetterThumbnailer), size=1).options(id="thumbs")) as tree:
        assert b"better x" == await tree.ref(Thumbnailer, "thumbs").call(Thumbnailer.make, b"x")
        with pytest.raises(kb.UsageError, match="not a Announcing"):
            tree.ref(Announcing, "thumbs")
        with pytest.raises(kb.UsageError, match="not a message of"):
            await tree.ref(Thumbnailer, "thumbs").call(Announcing.ping)  # type: ignore[arg-type]


async def test_an_orderly_stop_runs_on_stop_in_the_worker(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with kb.Supervisor(kb.pool(kb.child(Announcing, str(mark)), size=1).options(id="pool")) as tree:
        assert "pong" == await tree.ref(Announcing, "pool").call(Announcing.ping)

    assert "Shutdown(detail=None)" == mark.read_text()


async def test_an_expired_call_that_waits_is_never_run(tmp_path: Path) -> None:
    pipe, release = fifo(tmp_path / "pipe"), fifo(tmp_path / "release")
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        thumbs = tree.ref(Thumbnailer, "thumbs")
        holding = asyncio.create_task(thumbs.call(Thumbnailer.hold, pipe, release))
        await read_line(pipe)
        with pytest.raises(kb.CallTimeout):
            await thumbs.within(0.02).call(Thumbnailer.make, b"x")
        await asyncio.to_thread(Path(release).write_text, "go")
        await holding

        assert 0 == (await thumbs.call(Thumbnailer.where))[1]


async def test_an_actor_that_cannot_be_made_fails_the_start_with_its_error() -> None:
    with pytest.raises(kb.StartError) as caught:
        async with kb.Supervisor(kb.pool(kb.child(Broken, os.getpid()), size=2).options(id="pool")):
            pytest.fail("it started")

    assert "ConnectionRefusedError('no camera in this process')" in repr(caught.value)


async def test_a_worker_that_cannot_start_any_more_makes_the_pool_give_up_with_the_cause(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    spec = kb.pool(kb.child(Thumbnailer, mark=str(mark)), size=2).options(id="thumbs")

    async def die() -> None:
        async with kb.Supervisor(spec, max_restarts=0) as tree:
            mark.unlink()
            mark.mkdir()  # the constructor can no longer write to it
            with pytest.raises(kb.ActorExited):
                await tree.ref(Thumbnailer, "thumbs").call(Thumbnailer.die)
            await asyncio.Event().wait()

    with pytest.raises(kb.SupervisorGaveUp) as caught:
        await die()

    assert isinstance(caught.value.__cause__, IsADirectoryError)


async def test_jobs_run_in_a_pool_of_actors_too() -> None:
    async with kb.Supervisor(kb.pool(kb.child(Thumbnailer), size=1).options(id="thumbs")) as tree:
        assert 2 == await kb.jobs(tree.ref(kb.Pool, "thumbs")).call(add_one, 1)


@pytest.mark.slow
@pytest.mark.parametrize("spares", [0, 1])
async def test_a_worker_that_is_stopped_while_it_is_set_up_goes_on(spares: int) -> None:
    spec = kb.pool(kb.child(StoppedAtFirst), size=1, spares=spares)
    async with asyncio.timeout(20), kb.Supervisor(spec.options(id="pool")) as tree:
        assert "pong" == await tree.ref(StoppedAtFirst, "pool").call(StoppedAtFirst.ping)
