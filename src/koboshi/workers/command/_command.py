"""`Command`: the actor that stands for an external program in the supervision tree, and its child spec."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..._kernel._actor import Actor
from ..._kernel._end import gone
from ..._kernel._errors import UsageError
from ..._kernel._events import CommandOutput
from ..._kernel._message import message
from ..._kernel._reasons import ExitReason
from ..._kernel._reply import defer
from ..._supervision._options import seconds, whole
from ..._supervision._spec import ChildSpec
from .._exit import WorkerExit
from ._errors import CommandError, CommandFailed, CommandNotReady, CommandStalled, show
from ._output import Line, Output, Rate, matches
from ._program import Launch, Program
from ._ready import Ready, answered, describe

TAIL = 50
GRACE = 5.0
READY_TIMEOUT = 30.0
# Lines told as events in one second; more are counted only.
EVENTS_PER_SECOND = 1_000


@dataclass(frozen=True, slots=True)
class CommandStatistics:
    """An external program at one moment.

    Attributes:
        pid: its process, the leader of its process group.
        uptime: seconds since it was started.
        lines, bytes: that it has written.
        untold: of these, lines that came too fast to be told as events.
        silent: seconds since its last line, or since its start.
    """

    pid: int
    uptime: float
    lines: int
    bytes: int
    untold: int
    silent: float


class Command(Actor):
    """An external program under a supervisor: it starts with the program and ends with it; see `command`."""

    def __init__(
        self,
        launch: Launch,
        *,
        ready: Ready,
        ready_timeout: float,
        stdin: bool,
        input: bytes | None,
        stop_signal: int,
        grace: float,
        stall_after: float | None,
        heartbeat: Line | None,
        tail: int,
    ) -> None:
        self._launch = launch
        self._ready = ready
        self._ready_timeout = ready_timeout
        self._stdin = stdin
        self._input = input
        self._stop_signal = stop_signal
        self._grace = grace
        self._stall_after = stall_after
        self._heartbeat = heartbeat
        self._output = Output(tail, self._on_line)
        self._rate = Rate(EVENTS_PER_SECOND)
        self._line: asyncio.Future[None] | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._stalled = False
        self._began = self._last = self._beat = 0.0

    async def on_start(self) -> None:
        """Returns when the program is ready."""
        node = self._kb_cell.node
        self._me, self._label, self._node = self.me, self._kb_cell.label(), node
        program = self._program = Program(self._launch, self._output, self._on_end)
        # A kill of this actor skips `on_stop`, and must not leave the program behind.
        self._guard = asyncio.ensure_future(gone(self._kb_cell))
        self._guard.add_done_callback(lambda _: program.kill("its actor was killed"))
        if isinstance(self._ready, str | re.Pattern):
            self._line = node.loop.create_future()
        await program.start(node, stdin=self._stdin or self._input is not None)
        self._began = self._last = self._beat = node.loop.time()
        self._watch_stall()
        if self._input is not None:
            program.write(self._input)
            if not self._stdin:
                program.close_input()
        if self._ready is not None:
            await self._until_ready(program)

    async def _until_ready(self, program: Program) -> None:
        waiting: asyncio.Future[Any] = self._line or asyncio.ensure_future(answered(self._ready))
        ended = asyncio.ensure_future(asyncio.shield(program.ended))
        try:
            await asyncio.wait(
                (waiting, ended), timeout=self._ready_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            program.kill("its start was given up")
            raise
        finally:
            if not waiting.done():
                waiting.cancel()
            if not ended.done():
                ended.cancel()
        if program.exit is not None:
            raise self._failure(program.exit)
        if waiting.cancelled() or not waiting.done():
            program.kill("it was not ready in time")
            await asyncio.shield(program.ended)
            what = describe(self._ready)
            raise CommandNotReady(self._launch.command, what, self._ready_timeout, tuple(self._output.tail))

    # -- what happens to it ----------------------------------------------------------------------------

    def _on_line(self, stream: str, line: str) -> None:
        now = self._last = self._node.loop.time()
        if self._heartbeat is None or matches(self._heartbeat, line):
            self._beat = now
        waiting = self._line
        if waiting is not None and not waiting.done() and matches(cast("Line", self._ready), line):
            waiting.set_result(None)
        if self._rate.allow(now) and self._node.instruments.wants(CommandOutput.level):
            self._node.instruments.emit(CommandOutput(self._label, stream, line))

    def _watch_stall(self) -> None:
        """Look again when the program might have been silent for too long."""
        self._stall = None
        if self._stall_after is None or self._program.exit is not None:
            return
        left = self._beat + self._stall_after - self._node.loop.time()
        if left <= 0:
            self._stalled = True
            what = "wrote nothing" if self._heartbeat is None else "gave no heartbeat"
            self._program.kill(f"it {what} for {self._stall_after:g} s")
        else:
            self._stall = self._node.loop.call_later(left, self._watch_stall)

    def _on_end(self, exit: WorkerExit) -> None:
        if self._stall is not None:
            self._stall.cancel()
        self._me.cast(Command.ended, exit)

    def _failure(self, exit: WorkerExit) -> CommandFailed:
        tail = tuple(self._output.tail)
        if self._stalled and self._stall_after is not None:
            return CommandStalled(self._launch.command, exit, tail, self._stall_after)
        return CommandFailed(self._launch.command, exit, tail)

    @message
    def ended(self, exit: WorkerExit) -> None:
        """The program has ended; so does this actor, well only if the program said so with code 0."""
        if not exit.orderly:
            raise self._failure(exit)
        self.stop()

    # -- what it may be asked --------------------------------------------------------------------------

    @message
    def write(self, data: bytes | str) -> None:
        """Have the program read this on its standard input; text as UTF-8.

        Raises:
            CommandInputClosed: it was not started with `stdin=True`, or a megabyte waits already.
        """
        try:
            self._program.write(data.encode() if isinstance(data, str) else data)
        except CommandError as refused:  # the caller's mistake, and no reason to end the program
            defer().fail(refused)

    @message
    def close_stdin(self) -> None:
        """Let the program read the end of its standard input."""
        self._program.close_input()

    @message
    def send_signal(self, number: int) -> None:
        """Send a signal to the program's whole process group."""
        try:
            known = signal.Signals(number)
        except ValueError:
            defer().fail(UsageError(f"send_signal takes the number of a signal, got {number!r}"))
        else:
            self._program.signal(known)

    @message
    def tail(self) -> list[str]:
        """The last lines that the program has written, the oldest first."""
        return list(self._output.tail)

    @message
    def statistics(self) -> CommandStatistics:
        """The program now."""
        now = self._node.loop.time()
        return CommandStatistics(
            self._program.pid,
            now - self._began,
            self._output.lines,
            self._output.bytes,
            self._rate.refused,
            now - self._last,
        )

    async def on_stop(self, reason: ExitReason) -> None:
        """Ask the program to end, and kill its whole process group if it does not."""
        if self._stall is not None:
            self._stall.cancel()
        if self._program.exit is None:
            await self._program.stop(self._stop_signal, self._grace)

    def format_status(self) -> object:
        return {"command": show(self._launch.command), "pid": getattr(self, "_program", None)}


def command(
    *command: str | os.PathLike[str],
    ready: Ready = None,
    ready_timeout: float = READY_TIMEOUT,
    env: Mapping[str, str | None] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: bool = False,
    input: bytes | str | None = None,
    stop_signal: int = signal.SIGTERM,
    grace: float = GRACE,
    stall_after: float | None = None,
    heartbeat: Line | None = None,
    tail: int = TAIL,
) -> ChildSpec[Command]:
    """An external program as a child: `kb.command("python", "agent.py", ready="listening")`.

    Args:
        command: the program, looked up in PATH, and its arguments. No shell is involved.
        ready: when it counts as started. None, the default: at once. A text or a compiled pattern: when
            it writes a line that has it. A number: when that port of 127.0.0.1 takes connections. A
            function, plain (called on a thread) or `async def`: when that returns something true.
        ready_timeout: seconds that this may take, 30 by default; then it is killed, and has not started.
        env: variables besides those of this process, or None for ones to leave out.
        cwd: its working directory; this process's by default.
        stdin: whether `write` reaches it; by default it reads nothing.
        input: what it reads first, and all that it reads unless `stdin` is set.
        stop_signal: what asks it to end, SIGTERM by default; the whole process group gets it.
        grace: seconds that it has then, 5 by default, before the group is killed.
        stall_after: seconds without a line after which it is killed and has crashed; None is never.
        heartbeat: a text or a pattern: only lines that have it count for `stall_after`.
        tail: last lines that are kept for the error of a crash, 50 by default.

    Raises:
        UsageError: an argument has no such value.
    """
    argv = tuple(_text(each) for each in command)
    if not argv or not argv[0] or any("\0" in each for each in argv):
        raise UsageError(f"a command is a program and its arguments, strings without NUL, got {command!r}")
    _check_ready(ready)
    seconds("ready_timeout", ready_timeout)
    seconds("grace", grace)
    seconds("stall_after", stall_after, none=True)
    whole("tail", tail, 0)
    if heartbeat is not None and not isinstance(heartbeat, str | re.Pattern):
        raise UsageError(f"heartbeat takes a text or a compiled pattern, got {heartbeat!r}")
    if heartbeat is not None and stall_after is None:
        raise UsageError("heartbeat says which lines count for stall_after, which is not set")
    options: dict[str, Any] = {
        "ready": ready,
        "ready_timeout": ready_timeout,
        "stdin": _is_bool("stdin", stdin),
        "input": input.encode() if isinstance(input, str) else input,
        "stop_signal": _signal(stop_signal),
        "grace": grace,
        "stall_after": stall_after,
        "heartbeat": heartbeat,
        "tail": tail,
    }
    launch = Launch(argv, _environment(env), None if cwd is None else os.fspath(cwd))
    name = os.path.basename(argv[0])
    return ChildSpec(Command, (launch,), options, id=name, shutdown=grace + 1.0)


def _text(value: object) -> str:
    if isinstance(value, str | os.PathLike):
        text: Any = os.fspath(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        if isinstance(text, str):
            return text
    raise UsageError(f"a command is a program and its arguments, strings or paths, got {value!r}")


def _check_ready(ready: object) -> None:
    if isinstance(ready, bool) or not (
        ready is None or isinstance(ready, str | re.Pattern | int) or callable(ready)
    ):
        raise UsageError(
            "ready takes a text or a compiled pattern (a line), a number (a port), a function (a probe) "
            f"or None, got {ready!r}"
        )
    if isinstance(ready, int) and not 0 < ready < 65_536:
        raise UsageError(f"ready takes a port from 1 to 65535, got {ready!r}")


def _is_bool(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{option} takes True or False, got {value!r}")
    return value


def _signal(number: object) -> int:
    try:
        return int(signal.Signals(cast("int", number)))
    except ValueError:
        raise UsageError(f"stop_signal takes a signal, such as signal.SIGINT, got {number!r}") from None


def _environment(changes: Mapping[str, str | None] | None) -> dict[str, str]:
    env = dict(os.environ)
    for name, value in (changes or {}).items():
        if not _is_variable(name, value):
            raise UsageError(
                f"env takes names and values without NUL, the names without '=', got {name!r}: {value!r}"
            )
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env


def _is_variable(name: object, value: object) -> bool:
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        return False
    return value is None or (isinstance(value, str) and "\0" not in value)
