"""`kb.run` in real processes: signals, exit statuses, what is left on stderr."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import koboshi as kb

pytestmark = pytest.mark.slow  # each test starts a process

SRC = str(Path(kb.__file__).parents[1])

PRELUDE = """
import asyncio, signal, sys, time
import koboshi as kb

def say(text):
    print(text, flush=True)

class Member(kb.Actor):
    def __init__(self, name, seconds=0.0):
        self.name, self.seconds = name, seconds
    async def on_stop(self, reason):
        if self.seconds:
            await asyncio.sleep(self.seconds)
        say(f"stop {self.name}")
    @kb.message
    def crash(self):
        raise ValueError("the first failure")
    @kb.message
    def spin(self):
        say("spinning")
        while True:
            pass

def member(name, *more, **options):
    return kb.child(Member, name, *more).options(id=name, **options)

async def forever():
    await asyncio.Event().wait()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["asyncio", "uvloop"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start a program in a child process, with uvloop to be found or not."""
    started: list[subprocess.Popen[str]] = []
    if request.param == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('not installed here')\n")

    def begin(program: str) -> subprocess.Popen[str]:
        file = tmp_path / "program.py"
        file.write_text(PRELUDE + textwrap.dedent(program))
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", LAUNCH, str(tmp_path), SRC, str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


LAUNCH = """
import runpy, sys
sys.path[:0] = sys.argv[1:3]
runpy.run_path(sys.argv[3], run_name="__main__")
"""


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    """What it prints, up to a line."""
    assert process.stdout is not None
    found: list[str] = []
    while not found or found[-1] != last:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"it ended after {found}: {process.communicate()[1]}")
        found.append(line.rstrip("\n"))
    return found


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Its exit status, the rest of its output, and its stderr."""
    out, err = process.communicate(timeout=20.0)
    return process.returncode, out.splitlines(), err


def test_a_program_that_returns_ends_with_0_and_its_value_is_returned(start: Start) -> None:
    program = start(
        """
        async def main():
            async with kb.Supervisor(member("a"), member("b")):
                say(type(asyncio.get_running_loop()).__module__)
            return 7
        say(kb.run(main))
        """
    )

    status, out, err = ended(program)

    assert ["stop b", "stop a", "7"] == out[1:]
    assert (0, "") == (status, err)


def test_uvloop_is_used_when_it_is_there_and_another_loop_can_be_chosen(start: Start, tmp_path: Path) -> None:
    program = start(
        """
        async def main():
            say(type(asyncio.get_running_loop()).__module__.split(".")[0])
        kb.run(main)
        kb.run(main, loop_factory=asyncio.SelectorEventLoop)
        """
    )
    hidden = (tmp_path / "uvloop.py").exists()

    assert (0, ["asyncio" if hidden else "uvloop", "asyncio"], "") == ended(program)


def test_an_exception_of_main_ends_with_1_and_its_traceback(start: Start) -> None:
    program = start(
        """
        async def main():
            async with kb.Supervisor(member("a")):
                raise KeyError("of main")
        kb.run(main)
        """
    )

    status, out, err = ended(program)

    assert (1, ["stop a"]) == (status, out)
    assert "KeyError: 'of main'" in err


def test_a_supervisor_that_gives_up_ends_with_70_and_the_first_failure_on_stderr(start: Start) -> None:
    program = start(
        """
        async def main():
            inner = kb.Supervisor(member("b"), max_restarts=0)
            async with kb.Supervisor(member("a"), inner, max_restarts=0) as tree:
                sub = tree.ref(kb.Supervisor, "Supervisor")
                (await sub.call(kb.Supervisor.child, "b")).cast(Member.crash)
                await forever()
        kb.run(main, log_level=None)
        """
    )

    status, out, err = ended(program)

    assert (70, ["stop b", "stop a"]) == (status, out)
    assert "koboshi: gave up: the child 'Supervisor' ended too often" in err
    assert err.rstrip().endswith("ValueError: the first failure")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_reverse_order_and_ends_with_0(start: Start, number: int) -> None:
    program = start(
        """
        async def main():
            inner = kb.Supervisor(member("b"), member("c", 0.01))
            async with kb.Supervisor(member("a", 0.01), inner, member("d")):
                say("up")
                await forever()
        say(kb.run(main))
        """
    )
    lines_until(program, "up")
    program.send_signal(number)

    assert (0, ["stop d", "stop c", "stop b", "stop a", "None"], "") == ended(program)


def test_a_signal_during_the_start_stops_what_has_been_started(start: Start) -> None:
    program = start(
        """
        class Slow(Member):
            async def on_start(self):
                say("starting")
                await forever()
        async def main():
            async with kb.Supervisor(member("a"), member("b"), kb.child(Slow, "c")):
                say("up")
        kb.run(main)
        """
    )
    lines_until(program, "starting")
    program.send_signal(signal.SIGTERM)

    assert (0, ["stop b", "stop a"], "") == ended(program)


def test_a_signal_during_the_stop_at_the_end_of_main_lets_that_stop_finish(start: Start) -> None:
    program = start(
        """
        class Slow(Member):
            async def on_stop(self, reason):
                say("stopping")
                await asyncio.sleep(0.2)
                say("stopped")
        async def main():
            async with kb.Supervisor(member("a"), kb.child(Slow, "c")):
                pass
        kb.run(main)
        """
    )
    lines_until(program, "stopping")
    program.send_signal(signal.SIGTERM)

    assert (0, ["stopped", "stop a"], "") == ended(program)


def test_a_second_signal_ends_at_once_with_128_and_its_number(start: Start) -> None:
    program = start(
        """
        class Slow(Member):
            async def on_stop(self, reason):
                say("stopping")
                await forever()
        async def main():
            async with kb.Supervisor(kb.child(Slow, "a").options(shutdown="forever")):
                say("up")
                await forever()
        kb.run(main)
        """
    )
    lines_until(program, "up")
    program.send_signal(signal.SIGTERM)
    lines_until(program, "stopping")
    program.send_signal(signal.SIGINT)

    status, out, err = ended(program)

    assert (128 + signal.SIGINT, []) == (status, out)
    assert "koboshi: SIGINT came during the orderly stop" in err


def test_a_stop_past_its_deadline_ends_with_124_and_says_so(start: Start) -> None:
    program = start(
        """
        async def main():
            async with kb.Supervisor(member("a", 60.0, shutdown="forever")):
                say("up")
                await forever()
        kb.run(main, shutdown_timeout=0.2)
        """
    )
    lines_until(program, "up")
    program.send_signal(signal.SIGTERM)

    status, out, err = ended(program)

    assert (124, []) == (status, out)
    assert "koboshi: the orderly stop took longer than 0.2 s" in err


@pytest.mark.parametrize("signals", [1, 2])
def test_a_handler_that_never_gives_the_loop_back_outlasts_neither_deadline_nor_second_signal(
    start: Start, signals: int
) -> None:
    program = start(
        """
        async def main():
            async with kb.Supervisor(member("a")) as tree:
                tree.ref(Member, "a").cast(Member.spin)
                await forever()
        kb.run(main, shutdown_timeout=SECONDS, log_level=None)
        """.replace("SECONDS", "0.3" if signals == 1 else "60.0")
    )
    lines_until(program, "spinning")
    program.send_signal(signal.SIGTERM)
    if signals == 2:
        program.send_signal(signal.SIGINT)

    status = ended(program)[0]

    # Two signals that are pending together are dealt with in the order of their numbers.
    assert status in ({124} if signals == 1 else {128 + signal.SIGINT, 128 + signal.SIGTERM})


@pytest.mark.parametrize("before", ["signal.default_int_handler", "signal.SIG_IGN", "lambda *_: None"])
def test_signal_handlers_are_as_before_after_a_run(start: Start, before: str) -> None:
    program = start(
        f"""
        signal.signal(signal.SIGINT, {before})
        signal.signal(signal.SIGTERM, {before})
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        async def main():
            return 1
        kb.run(main)
        assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
        say("same")
        """
    )

    assert (0, ["same"], "") == ended(program)


def test_run_refuses_a_coroutine_in_place_of_its_function() -> None:
    async def main() -> None:
        raise AssertionError("it was run")

    coroutine = main()
    with pytest.raises(kb.UsageError, match=r"pass main, not main\(\)"):
        kb.run(coroutine)  # type: ignore[arg-type]
    coroutine.close()
