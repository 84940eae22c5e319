"""External programs as children: they start, end and are restarted as actors do."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.workers.command.programs import (
    ECHO,
    FLOOD,
    FOREVER,
    READY,
    STUBBORN,
    WITH_CHILD,
    python,
)

import koboshi as kb

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


@asynccontextmanager
async def running(spec: kb.ChildSpec[kb.Command], **options: Any) -> AsyncIterator[kb.ActorRef[kb.Command]]:
    async with kb.Supervisor(spec, **options) as tree:
        yield tree.ref(kb.Command, "program")


async def pid_of(ref: kb.ActorRef[kb.Command]) -> int:
    return (await ref.call(kb.Command.statistics)).pid


async def end_of(spec: kb.ChildSpec[kb.Command]) -> kb.ExitReason:
    """How a program ends that is not restarted."""
    async with kb.Supervisor() as tree:
        ref = await tree.start_child(spec.options(restart="temporary"))
        reason = await ref.wait_exit(20)
        assert reason is not None
        return reason


def failure(reason: kb.ExitReason) -> kb.CommandFailed:
    assert isinstance(reason, kb.Crashed)
    assert isinstance(reason.error, kb.CommandFailed)
    return reason.error


def there(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until_gone(pid: int, seconds: float = 5.0) -> None:
    """Wait for the end of a process that is nobody's child here."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_a_program_that_ends_with_0_has_ended_normally() -> None:
    assert kb.Normal() == await end_of(python("print('done')"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import sys; sys.exit(3)", "exit 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
    ],
)
async def test_a_failure_names_its_code_or_signal_and_shows_the_last_lines(source: str, name: str) -> None:
    error = failure(await end_of(python(f"print('one'); print('two', flush=True); {source}", tail=1)))

    assert name == error.exit.name
    assert ("two",) == error.tail
    assert "two" in str(error)
    assert "one" not in str(error).splitlines()[-1]


async def test_restart_rules_hold_for_programs() -> None:
    for restart, source, restarts in (
        ("permanent", "", 2),
        ("transient", "", 0),
        ("transient", "import sys; sys.exit(1)", 2),
    ):
        events: list[kb.events.Event] = []
        stop = kb.listen(events.append)
        spec = python(source).options(restart=restart, on_give_up="park", budget=(2, 60.0))  # type: ignore[arg-type]
        async with kb.Supervisor(spec, max_restarts=100) as tree:
            async with asyncio.timeout(20):
                while (info := (await tree.which_children())[0]).status not in ("parked", "stopped"):
                    await tree.wait_ready()
        stop()

        assert restarts == info.restarts
        assert restarts == sum(isinstance(event, kb.events.Restarted) for event in events)


async def test_a_line_makes_it_ready() -> None:
    for ready in ("ready", re.compile(r"^re\w+$")):
        async with running(python("import sys; print('other')\n" + READY + FOREVER, ready=ready)) as ref:
            assert "ready" == (await ref.call(kb.Command.tail))[-1]


async def test_a_port_makes_it_ready() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = f"import socket; s = socket.create_server(('127.0.0.1', {port}))\n" + FOREVER
    async with running(python(source, ready=port)):
        with socket.create_connection(("127.0.0.1", port), 5):
            pass


async def test_a_probe_makes_it_ready(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    calls: list[int] = []

    def plain() -> bool:
        calls.append(1)
        return os.path.exists(mark)

    async def coroutine() -> bool:
        if not plain():
            raise OSError("not yet")  # a probe that raises has not been satisfied
        return True

    for probe in (plain, coroutine):
        if plain():
            os.remove(mark)
        async with running(python(f"open({str(mark)!r}, 'w').close()\n" + FOREVER, ready=probe)):
            assert plain()
    assert calls


async def test_one_that_is_not_ready_in_time_has_not_started_and_is_gone() -> None:
    spec = python("print('hm', flush=True)\n" + FOREVER, ready="never", ready_timeout=0.5)
    async with kb.Supervisor() as tree:
        with pytest.raises(kb.StartError) as failed:
            await tree.start_child(spec)

    assert isinstance(failed.value.__cause__, kb.CommandNotReady)
    assert "written a line with 'never'" in str(failed.value.__cause__)
    assert ("hm",) == failed.value.__cause__.tail


async def test_one_that_ends_before_it_is_ready_has_not_started() -> None:
    async with kb.Supervisor() as tree:
        with pytest.raises(kb.StartError, match="exited with code 7"):
            await tree.start_child(python("import sys; sys.exit(7)", ready="never"))


async def test_children_start_in_order_each_when_the_one_before_is_ready(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first = python(f"open({str(mark)!r}, 'w').close()\n" + READY + FOREVER, ready="ready").options(id="first")
    second = python(f"import os, sys; sys.exit(0 if os.path.exists({str(mark)!r}) else 5)", ready=None)

    async with kb.Supervisor(first, second.options(restart="transient")) as tree:
        assert kb.Normal() == await tree.ref(kb.Command, "program").wait_exit(10)


async def test_what_is_written_reaches_it_and_its_lines_are_events() -> None:
    events: asyncio.Queue[kb.events.Event] = asyncio.Queue()
    stop = kb.listen(events.put_nowait)
    async with running(python(ECHO, ready="ready", stdin=True).options(restart="transient")) as ref:
        await ref.call(kb.Command.write, "hello\n")
        await ref.call(kb.Command.write, b"again\n")
        await ref.call(kb.Command.close_stdin)
        assert kb.Normal() == await ref.wait_exit(10)
    stop()
    lines = [event.line for event in iter_now(events) if isinstance(event, kb.events.CommandOutput)]

    assert ["ready", "got hello", "got again", "end"] == lines


def iter_now(events: asyncio.Queue[kb.events.Event]) -> list[kb.events.Event]:
    return [events.get_nowait() for _ in range(events.qsize())]


async def test_input_is_what_it_reads() -> None:
    spec = python(ECHO, input="one\ntwo\n").options(restart="temporary")
    async with kb.Supervisor() as tree:
        ref = await tree.start_child(spec)
        tail = await ref.call(kb.Command.tail) if ref.alive else []
        reason = await ref.wait_exit(10)

    assert kb.Normal() == reason
    assert set(tail) <= {"ready", "got one", "got two", "end"}


async def test_without_stdin_a_write_is_refused_and_the_program_lives_on() -> None:
    async with running(python(READY + FOREVER, ready="ready")) as ref:
        with pytest.raises(kb.CommandInputClosed, match="stdin=True"):
            await ref.call(kb.Command.write, "x")
        assert there(await pid_of(ref))


async def test_a_program_that_does_not_read_fills_no_memory() -> None:
    async with running(python(READY + FOREVER, ready="ready", stdin=True)) as ref:
        with pytest.raises(kb.CommandInputClosed, match="does not read"):
            for _ in range(40):
                await ref.call(kb.Command.write, b"x" * 65_536)
        assert there(await pid_of(ref))


async def test_a_flood_of_output_never_blocks_the_program_and_is_bounded() -> None:
    events: list[kb.events.Event] = []
    stop = kb.listen(events.append)
    async with running(python(FLOOD.format(count=50_000) + FOREVER, ready="ready", tail=5)) as ref:
        async with asyncio.timeout(20):
            while (now := await ref.call(kb.Command.statistics)).lines < 50_001:
                pass
        tail = await ref.call(kb.Command.tail)
    stop()
    told = sum(isinstance(event, kb.events.CommandOutput) for event in events)

    assert 5 == len(tail)
    assert 50_001 == told + now.untold
    assert now.untold > 0


async def test_a_line_without_end_is_cut() -> None:
    error = failure(await end_of(python("import sys; sys.stdout.write('y' * 1000000); sys.exit(1)")))

    assert 2_000 == len(error.tail[-1])


async def test_stop_asks_with_a_signal_and_then_kills_the_whole_group() -> None:
    async with kb.Supervisor() as tree:
        ref = await tree.start_child(python(READY + FOREVER, ready="ready"))
        pid = await pid_of(ref)
        began = time.monotonic()
        await tree.terminate_child("program")
        assert not there(pid)
        assert time.monotonic() - began < 3

        await tree.delete_child("program")
        ref = await tree.start_child(python(STUBBORN, ready="ready", grace=0.2))
        pid = await pid_of(ref)
        await tree.terminate_child("program")
        assert not there(pid)


async def test_a_stopped_program_is_ended_too() -> None:
    async with kb.Supervisor() as tree:
        ref = await tree.start_child(python(READY + FOREVER, ready="ready", grace=0.2))
        pid = await pid_of(ref)
        os.kill(pid, signal.SIGSTOP)
        await tree.terminate_child("program")

        assert not there(pid)


@pytest.mark.parametrize("how", ["stop", "kill -9", "exit", "kill of the actor"])
async def test_what_a_program_has_started_ends_with_it(how: str) -> None:
    rest = "raise SystemExit(1)\n" if how == "exit" else FOREVER
    source = WITH_CHILD + ("import sys; sys.stdin.readline()\n" if how == "exit" else "") + rest
    async with kb.Supervisor() as tree:
        spec = python(source, ready="ready", stdin=True, grace=0.3).options(restart="temporary")
        ref = await tree.start_child(spec)
        line = next(line for line in await ref.call(kb.Command.tail) if line.startswith("child"))
        grandchild = int(line.split()[1])
        assert there(grandchild)
        if how == "stop":
            await tree.terminate_child("program")
        elif how == "kill -9":
            os.kill(await pid_of(ref), signal.SIGKILL)
        elif how == "exit":
            await ref.call(kb.Command.write, "go\n")
        else:
            ref.kill()
        await until_gone(grandchild)


async def test_the_last_tree_ends_after_the_program_of_a_killed_actor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with kb.Supervisor() as tree:
        ref = await tree.start_child(python(READY + FOREVER, ready="ready", stdin=True))
        pid = await pid_of(ref)
        ref.kill()

    assert not there(pid)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_silent_program_has_stalled_and_is_killed() -> None:
    error = failure(await end_of(python("print('last', flush=True)\n" + FOREVER, stall_after=0.3)))

    assert isinstance(error, kb.CommandStalled)
    assert "wrote nothing for 0.3 s" in str(error)
    assert ("last",) == error.tail


async def test_only_heartbeats_count_when_they_are_asked_for() -> None:
    chatty = "import time\nwhile True:\n    print('noise', flush=True)\n    time.sleep(0.02)\n"
    error = failure(await end_of(python(chatty, stall_after=0.4, heartbeat="beat")))
    assert isinstance(error, kb.CommandStalled)

    beating = "import time\nfor _ in range(30):\n    print('beat', flush=True)\n    time.sleep(0.02)\n"
    assert kb.Normal() == await end_of(python(beating, stall_after=0.4, heartbeat=re.compile("beat")))


async def test_a_signal_can_be_sent() -> None:
    source = "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))\n" + READY
    source += "while True:\n    signal.pause()\n"
    events: asyncio.Queue[kb.events.Event] = asyncio.Queue()
    stop = kb.listen(events.put_nowait)
    async with running(python(source, ready="ready")) as ref:
        await ref.call(kb.Command.send_signal, signal.SIGUSR1)
        async with asyncio.timeout(10):
            while getattr(await events.get(), "line", "") != "usr1":
                pass
        with pytest.raises(kb.UsageError, match="number of a signal"):
            await ref.call(kb.Command.send_signal, 4711)
    stop()


async def test_environment_and_directory_are_what_was_asked_for(tmp_path: Path) -> None:
    source = (
        "import os; print(os.environ.get('ONE'), os.environ.get('HOME'), os.getcwd(), flush=True)\n" + FOREVER
    )
    spec = python(source, ready=re.compile("."), env={"ONE": "1", "HOME": None}, cwd=tmp_path)
    async with running(spec) as ref:
        assert [f"1 None {tmp_path}"] == await ref.call(kb.Command.tail)


async def test_a_program_has_no_signals_ignored_and_no_descriptors_of_ours() -> None:
    source = (
        "import os, signal\n"
        "print([s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) == signal.SIG_IGN],"
        " sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1], flush=True)\n" + FOREVER
    )
    async with running(python(source, ready="[")) as ref:
        assert ["[] [0, 1, 2]"] == await ref.call(kb.Command.tail)


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        (("no-such-program",), {}, "PATH="),
        (("./no-such-file",), {}, "no such file"),
        ((__file__,), {}, "chmod"),
        ((sys.executable,), {"cwd": "/no/such/place"}, "working directory"),
        (("true",), {"env": {"PATH": "/nowhere"}}, "PATH=/nowhere"),
    ],
)
async def test_a_program_that_cannot_be_run_is_a_start_error_that_says_why(
    command: tuple[str, ...], options: dict[str, Any], said: str
) -> None:
    async with kb.Supervisor() as tree:
        with pytest.raises(kb.StartError) as failed:
            await tree.start_child(kb.command(*command, **options))

    assert isinstance(failed.value.__cause__, kb.CommandNotFound)
    assert said in str(failed.value.__cause__)


async def test_a_file_that_is_no_program_is_a_start_error(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF nonsense")
    file.chmod(0o755)
    async with kb.Supervisor() as tree:
        with pytest.raises(kb.StartError, match="Exec format error"):
            await tree.start_child(kb.command(file))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: kb.command(), "program and its arguments"),
        (lambda: kb.command(""), "program and its arguments"),
        (lambda: kb.command("a", 3), "strings or paths"),  # type: ignore[arg-type]
        (lambda: kb.command("a\0b"), "NUL"),
        (lambda: kb.command("a", ready=3.5), "ready takes"),  # type: ignore[arg-type]
        (lambda: kb.command("a", ready=True), "ready takes"),
        (lambda: kb.command("a", ready=0), "port"),
        (lambda: kb.command("a", env={"A=B": "x"}), "env takes"),
        (lambda: kb.command("a", env={"A": 3}), "env takes"),  # type: ignore[dict-item]
        (lambda: kb.command("a", stall_after=0), "stall_after"),
        (lambda: kb.command("a", heartbeat="x"), "stall_after"),
        (lambda: kb.command("a", stop_signal=4711), "stop_signal"),
        (lambda: kb.command("a", grace=-1), "grace"),
        (lambda: kb.command("a", tail=-1), "tail"),
        (lambda: kb.command("a", stdin="yes"), "stdin"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused_where_they_are_written(make: Any, said: str) -> None:
    with pytest.raises(kb.UsageError, match=said):
        make()


async def test_fifty_kills_in_a_row_leave_nothing_behind() -> None:
    async with running(python(WITH_CHILD + FOREVER, ready="ready"), max_restarts=1000) as ref:
        pid = await pid_of(ref)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            os.kill(pid, signal.SIGKILL)
            pid = await successor(ref, pid)

        assert before == len(os.listdir("/proc/self/fd"))


async def successor(ref: kb.ActorRef[kb.Command], old: int) -> int:
    async with asyncio.timeout(20):
        while True:
            try:
                pid = await pid_of(ref)
            except kb.CallError:
                await asyncio.sleep(0)
                continue
            if pid != old:
                return pid
            await asyncio.sleep(0)


PROGRAM = """
import asyncio, sys
sys.path.append({root!r})
import koboshi as kb
from tests.workers.command.programs import *

async def main():
    async with kb.Supervisor(python(WITH_CHILD + FOREVER, ready="ready")) as tree:
        ref = tree.ref(kb.Command, "program")
        line = next(line for line in await ref.call(kb.Command.tail) if line.startswith("child"))
        print((await ref.call(kb.Command.statistics)).pid, line.split()[1], flush=True)
        await asyncio.Event().wait()

kb.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_program_and_no_child_of_one_outlives_the_root(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(root=str(ROOT)))
    root = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert root.stdout is not None
    pids = [int(pid) for pid in root.stdout.readline().split()]
    descriptors = [os.pidfd_open(pid) for pid in pids]
    root.send_signal(number)
    root.wait(15)
    root.stdout.close()
    left: list[int] = []
    for pid, descriptor in zip(pids, descriptors, strict=True):
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(2_000):
            left.append(pid)
        os.close(descriptor)

    assert 2 == len(pids)
    assert [] == left
