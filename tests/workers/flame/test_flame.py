"""Elastic pools: runners come with work and go without it, and a lost one costs what it ran."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import ask
from tests.workers.flame import work

import koboshi as kb
from koboshi.testing import wait_idle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


@asynccontextmanager
async def elastic(**options: Any) -> AsyncIterator[tuple[kb.Runners, kb.ActorRef[kb.Flame], kb.Supervisor]]:
    options.setdefault("warm_spare", 0)
    async with kb.Supervisor(kb.flame(**options).options(id="elastic", name="elastic")) as tree:
        ref = tree.ref(kb.Flame, "elastic")
        yield kb.runners(ref), ref, tree


async def until(ref: kb.ActorRef[kb.Flame], **expected: int) -> kb.FlameStatistics:
    """Wait until the figures are so."""

    async def so() -> kb.FlameStatistics | None:
        now = await ref.call(kb.Flame.statistics)
        return now if all(getattr(now, name) == value for name, value in expected.items()) else None

    return await ask(so, f"runners in other processes with {expected}", bound=10)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def read(path: str) -> int:
    with open(path) as pipe:
        return int(pipe.readline())


async def test_functions_plain_and_async_run_in_another_process() -> None:
    async with elastic() as (pool, _, _):
        assert 3 == await pool.call(work.add, 1, 2)
        assert 3 == await pool.call(work.async_add, 1, b=2)
        assert os.getpid() != await pool.call(work.pid_of)


async def test_what_a_function_raises_reaches_its_caller_and_the_runner_lives_on() -> None:
    async with elastic() as (pool, _, _):
        pid = await pool.call(work.pid_of)
        with pytest.raises(ValueError, match="no") as raised:
            await pool.call(work.fail, "no")
        assert "in fail" in str(raised.value.__cause__)
        assert pid == await pool.call(work.pid_of)


@pytest.mark.parametrize(
    ("function", "error"), [(work.raise_exited, kb.ActorExited), (work.raise_not_running, kb.NotRunning)]
)
async def test_an_end_that_a_function_heard_of_is_not_its_runners(function: Any, error: Any) -> None:
    async with elastic() as (pool, ref, _):
        with pytest.raises(error, match="somebody"):
            await pool.call(function)

        await until(ref, failed=1, lost=0, started=1)


async def test_a_runner_whose_socket_is_full_still_says_what_it_begins() -> None:
    async with elastic(max=1) as (pool, ref, _):
        await pool.call(work.always_congested)

        assert 3 == await pool.call(work.add, 1, 2)
        await until(ref, done=2, started=1)


async def test_it_grows_with_work_up_to_its_most_and_shrinks_to_its_least() -> None:
    async with elastic(min=1, max=3, idle_after=0.2) as (pool, ref, _):
        await until(ref, runners=1)
        pids = await asyncio.gather(*(pool.call(work.pid_of) for _ in range(50)))
        grown = await ref.call(kb.Flame.statistics)
        await until(ref, runners=1, booting=0)

        assert 1 <= len(set(pids)) <= 3
        assert grown.started == 3
        assert 50 == grown.done
        assert 3 == await pool.call(work.add, 1, 2)


async def test_without_work_there_is_no_runner() -> None:
    async with elastic(idle_after=0.1) as (pool, ref, _):
        assert 0 == (await ref.call(kb.Flame.statistics)).started
        pid = await pool.call(work.pid_of)
        gone = await until(ref, runners=0, booting=0)

        assert 1 == gone.retired
        await ask(lambda: not is_there(pid), "the end of a process of the fork server's", bound=10)


async def test_a_spare_is_kept_warm_while_there_is_work(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    async with elastic(warm_spare=1) as (pool, ref, _):
        running = asyncio.create_task(pool.call(work.note_and_sleep, path))
        await asyncio.to_thread(read, path)

        await until(ref, runners=2, running=1)
        running.cancel()


async def test_a_runner_has_as_many_functions_at_once_as_it_may() -> None:
    async with elastic(max=1, max_concurrency=2) as (pool, _, _):
        both = await asyncio.gather(*(pool.call(work.meet, name) for name in ("a", "b")))

        assert [["a", "b"]] * 2 == [names for names, _ in both]
        assert 1 == len({pid for _, pid in both})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_lost_runner_costs_what_it_ran_and_says_that_it_had_begun(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    async with elastic(max=1) as (pool, ref, _):
        running = asyncio.create_task(pool.call(work.note_and_wait, path))
        pid = await asyncio.to_thread(read, path)
        waiting = [asyncio.create_task(pool.call(work.add, 1, each)) for each in range(10)]
        await until(ref, queued=10)
        os.kill(pid, number)

        with pytest.raises(kb.RunnerLost, match=signal.Signals(number).name) as lost:
            await running
        assert lost.value.started
        assert [1 + each for each in range(10)] == await asyncio.gather(*waiting)
        assert 1 == (await ref.call(kb.Flame.statistics)).lost


async def test_an_idle_runner_that_dies_costs_nothing() -> None:
    async with elastic(max=1) as (pool, _, _):
        for _ in range(10):
            os.kill(await pool.call(work.pid_of), signal.SIGKILL)
            assert 3 == await pool.call(work.add, 1, 2)


async def test_a_coroutine_that_takes_too_long_is_cancelled_and_the_runner_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    async with elastic() as (pool, _, _):
        pid = await pool.call(work.pid_of)
        running = asyncio.create_task(pool.within(0.2).call(work.note_and_sleep, path))
        await asyncio.to_thread(read, path)
        with pytest.raises(kb.CallTimeout):
            await running

        assert pid == await pool.call(work.pid_of)


async def test_a_function_that_takes_too_long_is_ended_with_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    async with elastic(max=1) as (pool, _, _):
        running = asyncio.create_task(pool.call(work.note_and_wait, path, timeout=0.2))  # type: ignore[arg-type, call-arg, var-annotated]
        pid = await asyncio.to_thread(read, path)
        with pytest.raises(kb.CallTimeout):
            await running

        assert pid != await pool.call(work.pid_of)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_parameter_called_timeout_is_the_functions_own() -> None:
    async with elastic() as (pool, _, _):
        assert 7 == await pool.call(work.takes_timeout, timeout=7)


async def test_a_map_keeps_the_order_and_looks_ahead_so_far_and_no_farther() -> None:
    taken: list[int] = []

    def numbers() -> Any:
        for number in range(1000):
            taken.append(number)
            yield number

    async with elastic(max_concurrency=4) as (pool, _, _):
        results: list[int] = []
        squares = pool.map(abs, numbers(), ahead=8)
        async for value in squares:
            results.append(value)
            if len(results) == 20:
                break
        await squares.aclose()

        assert list(range(20)) == results
        assert len(taken) <= 28


async def test_a_cast_runs_and_its_failure_is_reported(tmp_path: Path) -> None:
    events: asyncio.Queue[kb.events.Event] = asyncio.Queue()
    async with elastic() as (pool, ref, _):
        stop = kb.listen(events.put_nowait)
        pool.cast(work.fail, "nobody waits")
        async with asyncio.timeout(10):
            while not isinstance(event := await events.get(), kb.events.CrashReport):
                pass
        stop()
        await until(ref, failed=1)

    assert "nobody waits" == str(event.error)
    assert event.message.endswith("work.fail")


async def test_an_actor_is_placed_on_a_runner_which_stays_while_it_lives() -> None:
    async with elastic(idle_after=0.1) as (pool, ref, _):
        session = await pool.place_child(work.Session, 10)
        assert 11 == await session.call(work.Session.add, 1)
        assert os.getpid() != await session.call(work.Session.pid)
        await until(ref, placed=1, runners=1, running=0)
        await session.stop()

        await until(ref, placed=0, runners=0)


async def test_a_placed_actor_ends_with_its_caller_and_with_its_runner() -> None:
    async with elastic() as (_, ref, tree):
        owner = await tree.start_child(kb.child(work.Owner, ref).options(id="owner", restart="temporary"))
        session = await owner.call(work.Owner.place)
        owner.cast(work.Owner.crash)
        assert kb.Crashed(ValueError("owner")) == await session.wait_exit(10)
        await until(ref, placed=0)

        owner = await tree.start_child(kb.child(work.Owner, ref).options(id="owner", restart="temporary"))
        session = await owner.call(work.Owner.place)
        os.kill(await session.call(work.Session.pid), signal.SIGKILL)
        assert isinstance(await owner.wait_exit(10), kb.NoConnection)


async def test_an_actor_may_take_longer_to_start_than_a_runner(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe")
    async with elastic(boot_timeout=0.5, idle_after=0.1) as (pool, ref, _):
        placing = asyncio.ensure_future(pool.place_child(work.SlowSession, str(path)))
        await until(ref, running=1)
        await asyncio.wait({placing}, timeout=1)
        with await asyncio.to_thread(open, path, "w") as pipe:
            pipe.write("start\n")

        assert 1 == await (await placing).call(work.Session.add, 1)


async def test_a_place_is_free_again_when_the_node_of_who_asked_for_it_is_lost(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe")
    async with elastic(max=1) as (_, ref, tree):
        await tree.start_child(kb.node("n1").options(restart="temporary"))
        owner = await tree.start_child(
            kb.child(work.Owner, ref).options(id="owner", restart="temporary", on="n1")
        )
        pid = await owner.call(work.Owner.pid)
        placing = asyncio.ensure_future(owner.call(work.Owner.place_slowly, str(path)))
        with await asyncio.to_thread(open, path, "w") as pipe:
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(kb.ActorExited):
                await placing
            await until(ref, running=0, placed=0)
            pipe.write("start\n")


async def test_a_placed_actor_that_does_not_start_gives_its_place_back() -> None:
    async with elastic(max=1) as (pool, ref, _):
        with pytest.raises(kb.StartError):
            await pool.place_child(work.BadSession)

        assert 3 == await pool.call(work.add, 1, 2)
        await until(ref, placed=0, running=0)


async def test_a_remote_function_runs_on_a_runner_wherever_it_is_awaited() -> None:
    async with elastic() as (_, _, _):
        assert 5 == await remote_add(2, 3)


remote_add = kb.runners("elastic").remote(work.add)


async def test_another_node_uses_the_pool_by_its_name() -> None:
    async with elastic() as (_, _, tree):
        await tree.start_child(kb.child(work.Elsewhere).options(id="elsewhere", on="process"))

        assert 9 == await tree.ref(work.Elsewhere, "elsewhere").call(work.Elsewhere.add, 4, 5)


async def test_other_code_in_the_runner_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with elastic() as (pool, _, _):
        assert 3 == await pool.call(work.add, 1, 2)

        def add(a: int, b: int) -> int:
            return a * b

        add.__module__, add.__qualname__ = work.add.__module__, "add"
        monkeypatch.setattr(work, "add", add)
        with pytest.raises(kb.CodeMismatch, match=r"work\.add"):
            await pool.call(work.add, 1, 2)


async def test_a_closure_needs_an_extra_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    async with elastic() as (pool, _, _):
        monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
        with pytest.raises(kb.ExtraMissing, match=r'pip install "koboshi\[pickle\]"'):
            await pool.call(lambda: 1)


async def test_a_pool_that_cannot_start_runners_tells_those_who_wait() -> None:
    async with elastic(boot_timeout=0.001) as (pool, _, _):
        with pytest.raises(kb.RunnerLost) as lost:
            await pool.call(work.add, 1, 2)
        assert not lost.value.started


async def test_a_pool_that_ends_tells_those_who_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    async with elastic(max=1) as (pool, _, tree):
        running = asyncio.create_task(pool.call(work.note_and_wait, path))
        await asyncio.to_thread(read, path)
        queued = asyncio.create_task(pool.call(work.add, 1, 2))
        await wait_idle()
        await tree.terminate_child("elastic")

        for task, began in ((running, True), (queued, False)):
            with pytest.raises(kb.ActorExited) as ended:
                await task
            assert began == ended.value.maybe_executed
        with pytest.raises(kb.NotRunning):
            await pool.call(work.add, 1, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min": -1}, "min"),
        ({"max": 0}, "max"),
        ({"min": 3, "max": 2}, "min=3, max=2"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"idle_after": 0}, "idle_after takes seconds > 0"),
        ({"warm_spare": -1}, "warm_spare"),
        ({"boot_timeout": None}, "boot_timeout"),
        ({"timeout": "x"}, "timeout"),
    ],
)
def test_bad_options_are_refused_where_they_are_written(options: dict[str, Any], said: str) -> None:
    with pytest.raises(kb.UsageError, match=said):
        kb.flame(**options)


def test_runners_takes_a_ref_or_a_name() -> None:
    with pytest.raises(kb.UsageError, match=r"kb\.Flame"):
        kb.runners(3)  # type: ignore[arg-type]


async def test_a_closure_is_sent_by_value() -> None:
    factor = 7

    def times(n: int) -> int:
        return n * factor

    async with elastic() as (pool, _, _):
        assert 21 == await pool.call(times, 3)
        assert 9 == await pool.call(lambda: 9)
