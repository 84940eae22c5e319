"""Virtual time: when the clock jumps, when it runs, and when only `advance` moves it."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from pathlib import Path
from time import monotonic

import pytest

import koboshi as kb
from koboshi import testing


class Sleeper(kb.Actor):
    def __init__(self) -> None:
        self.ticks = 0

    @kb.message
    def tick(self) -> None:
        self.ticks += 1

    @kb.message
    def count(self) -> int:
        return self.ticks


@testing.virtual_time()
async def test_an_hour_is_over_when_nothing_else_is_left_to_do() -> None:
    began = monotonic()
    ref = await kb.start(Sleeper)
    ref.send_interval(60.0, Sleeper.tick)
    await asyncio.sleep(3601)

    assert 60 == await ref.call(Sleeper.count)
    assert 4601.0 == testing.clock().time()
    assert monotonic() - began < 10


@testing.virtual_time(autojump=False)
async def test_without_autojump_only_advance_moves_the_clock() -> None:
    ref = await kb.start(Sleeper)
    ref.send_interval(1.0, Sleeper.tick)
    await testing.clock().advance(0.5)
    assert 0 == await ref.call(Sleeper.count)
    await testing.clock().advance(0.5)
    assert 1 == await ref.call(Sleeper.count)
    await testing.clock().advance(3)

    assert 4 == await ref.call(Sleeper.count)
    assert 1004.0 == testing.clock().time()


@testing.virtual_time()
async def test_the_clock_does_not_jump_while_an_executor_works() -> None:
    loop = testing.clock()
    began = monotonic()
    fired: list[float] = []
    # Nothing runs on the loop meanwhile: it has only the hour's timer to wait for, and the thread.
    loop.call_later(3600, lambda: fired.append(loop.time()))
    worked = await loop.run_in_executor(None, lambda: (threading.Event().wait(0.05), list(fired))[1])
    elapsed = monotonic() - began

    assert [] == worked
    assert loop.time() - 1000.0 == pytest.approx(elapsed, abs=0.05)
    assert 0 == loop.real_operations
    await asyncio.sleep(3600)
    assert 1 == len(fired)
    await loop.shutdown_default_executor()


def test_the_clock_does_not_jump_while_the_executor_is_shut_down() -> None:
    ended = threading.Event()

    def work() -> None:
        threading.Event().wait(0.05)
        ended.set()

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work)

    with asyncio.Runner(loop_factory=testing.VirtualLoop) as runner:
        runner.run(main())
    assert ended.is_set()


@testing.virtual_time()
async def test_the_clock_does_not_jump_while_a_socket_is_waited_for() -> None:
    loop = testing.clock()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        fired: list[str] = []
        loop.call_later(3600, fired.append, "timer")
        reading = asyncio.ensure_future(loop.sock_recv(left, 1))
        await asyncio.sleep(0)
        assert 1 == loop.real_operations

        def answer() -> None:
            threading.Event().wait(0.05)
            right.send(b"x")

        # A thread that the loop knows nothing of is what the socket waits for.
        other = threading.Thread(target=answer)
        other.start()
        received = await reading
        other.join()

        assert (b"x", []) == (received, fired)
        assert 1000.0 < loop.time() < 1010.0
        assert 0 == loop.real_operations


@testing.virtual_time()
async def test_the_clock_does_not_jump_while_a_subprocess_runs() -> None:
    loop = testing.clock()
    fired: list[str] = []
    loop.call_later(3600, fired.append, "timer")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(3)")

    assert 3 == await process.wait()
    assert [] == fired
    await testing.wait_idle()
    assert 0 == loop.real_operations


@testing.virtual_time()
async def test_an_operation_that_the_loop_cannot_see_is_registered() -> None:
    loop = testing.clock()
    fired: list[str] = []
    with loop.real_operation():
        loop.call_later(3600, fired.append, "timer")
        await asyncio.sleep(0.001)
        assert [] == fired
        assert 1 == loop.real_operations
    await asyncio.sleep(3600)

    assert ["timer"] == fired


@testing.virtual_time(real="refuse")
async def test_real_operations_are_refused_on_demand() -> None:
    loop = testing.clock()
    left, right = socket.socketpair()
    with left, right:
        with pytest.raises(kb.UsageError, match=r'run_in_executor takes real time.*real="refuse"'):
            loop.run_in_executor(None, int)
        with pytest.raises(kb.UsageError, match="takes real time"):
            loop.add_reader(left, int)
        with pytest.raises(kb.UsageError, match="a subprocess takes real time"):
            await asyncio.create_subprocess_exec("true")


async def test_the_clock_of_a_real_loop_is_refused() -> None:
    with pytest.raises(kb.UsageError, match="time is real"):
        testing.clock()


@testing.virtual_time()
async def test_advance_is_refused_where_the_clock_jumps() -> None:
    with pytest.raises(kb.UsageError, match="autojump=False"):
        await testing.clock().advance(1)


@testing.virtual_time(autojump=False)
async def test_the_clock_does_not_go_back() -> None:
    with pytest.raises(kb.UsageError, match=r"advance takes seconds >= 0, got -1"):
        await testing.clock().advance(-1)


def test_options_are_checked_when_given() -> None:
    with pytest.raises(kb.UsageError, match="real must be"):
        testing.VirtualLoop(real="never")  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match="autojump must be True or False, got 1"):
        testing.VirtualLoop(autojump=1)  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match="decorates an async def test"):
        testing.virtual_time()(lambda: None)  # type: ignore[arg-type, return-value]


PLUGIN = """
import asyncio
import pytest
from koboshi import testing

@pytest.fixture
def number():
    return 7

@pytest.mark.koboshi_virtual
async def test_marked(number):
    await asyncio.sleep(3600)
    assert testing.clock().time() == 4600 and number == 7

@pytest.mark.koboshi_virtual(autojump=False)
async def test_manual():
    await testing.clock().advance(2)
    assert testing.clock().time() == 1002
"""


async def run_pytest(path: Path, *options: str) -> tuple[int | None, str]:
    """A pytest of its own over a folder: its exit code and what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(path)]
    process = await asyncio.create_subprocess_exec(
        *command, "--rootdir", str(path), cwd=path, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("-p", "koboshi.testing.plugin"), ("-p", "koboshi.testing.plugin", "--koboshi-record")]
)
async def test_the_marker_runs_async_tests_in_virtual_time(tmp_path: Path, options: tuple[str, ...]) -> None:
    tmp_path.joinpath("test_inner.py").write_text(PLUGIN)
    code, output = await run_pytest(tmp_path, *options)

    assert 0 == code, output
    assert "2 passed" in output


@pytest.mark.slow
async def test_the_plugin_is_the_same_when_a_conftest_names_it(tmp_path: Path) -> None:
    tmp_path.joinpath("conftest.py").write_text('pytest_plugins = ["koboshi.testing.plugin"]\n')
    tmp_path.joinpath("test_inner.py").write_text(PLUGIN)
    code, output = await run_pytest(tmp_path)

    assert 0 == code, output
    assert "2 passed" in output


@pytest.mark.slow
async def test_a_run_whose_tests_do_not_use_koboshi_does_not_import_it(tmp_path: Path) -> None:
    tmp_path.joinpath("test_inner.py").write_text(
        "import sys\n\ndef test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.hasplugin('koboshi.testing.plugin')\n"
        "    assert [] == [name for name in sys.modules if name.split('.')[0] == 'koboshi']\n"
    )
    code, output = await run_pytest(tmp_path)

    assert 0 == code, output
    assert "1 passed" in output


@testing.virtual_time(autojump=False)
async def test_an_open_socket_does_not_keep_advance_from_moving_the_clock() -> None:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    with reader, writer:
        waiting = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(reader, 1))
        await testing.clock().advance(3)

        assert 1003.0 == testing.clock().time()
        writer.send(b"x")
        assert b"x" == await waiting


def test_a_wait_that_nobody_is_left_to_end_is_refused_and_does_not_hang() -> None:
    @testing.virtual_time(autojump=False)
    async def sleeps() -> None:
        await asyncio.sleep(1)

    @testing.virtual_time()
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(kb.UsageError, match="autojump=False leaves the clock"):
        sleeps()
    with pytest.raises(kb.UsageError, match="nobody is left to do"):
        waits()
