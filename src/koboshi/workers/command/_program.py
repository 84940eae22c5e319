"""One running program: its process group, its pipes, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..._kernel._node import Node
from .._exit import WorkerExit
from ..process._linux import send_signal
from ..process._shared import lasting
from ..process._spawner import ForkServer
from ._errors import CommandInputClosed, CommandNotFound, show
from ._output import Output

_STATUS_GRACE = 0.5
_KEY = "programs"
# Bytes that may wait for a program that does not read its input.
INPUT_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run: the whole environment, and where."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None

    def path(self) -> str:
        """Where the program is.

        Raises:
            CommandNotFound: nowhere, or it cannot be run.
        """
        name, search = self.command[0], self.env.get("PATH", os.defpath)
        if self.cwd is not None and not os.path.isdir(self.cwd):
            raise CommandNotFound(self.command, f"its working directory {self.cwd!r} is not there")
        if os.sep in name:
            path = os.path.join(self.cwd or "", name)
            if not os.path.exists(path):
                raise CommandNotFound(self.command, "there is no such file")
            if not os.access(path, os.X_OK):
                raise CommandNotFound(self.command, "the file is not executable: chmod +x")
            return os.path.abspath(path)
        found = shutil.which(name, path=search)
        if found is None:
            raise CommandNotFound(self.command, f"it is in none of the directories of PATH={search}")
        return os.path.abspath(found)


class Program:
    """A program that runs; made by `start`.

    Args:
        output: reads what it writes.
        on_end: told once when it has ended, after all that it wrote.
    """

    def __init__(self, launch: Launch, output: Output, on_end: Callable[[WorkerExit], None]) -> None:
        self.pid = 0
        self.exit: WorkerExit | None = None
        self.ended: asyncio.Future[WorkerExit] = asyncio.get_running_loop().create_future()
        self._launch = launch
        self._output = output
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._server: ForkServer
        self._pidfd = -1
        # Our ends of its pipes.
        self._reading: list[int] = []
        self._stdin = -1
        self._input: deque[bytes] = deque()
        self._waiting = 0
        self._close_input = False
        self._status: int | None = None
        self._known = False
        self._peak: int | None = None
        self._detail = ""
        self._gone = False
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, node: Node, *, stdin: bool) -> None:
        """Start it; with `stdin`, what is written reaches it, else it reads nothing.

        Raises:
            CommandNotFound: it is not there, or cannot be run.
            WorkerStartFailed: no process could be started.
        """
        path = self._launch.path()
        server = self._server = lasting(node)
        with contextlib.ExitStack() as theirs:
            fds = self._pipes(theirs, path, stdin)
            failed, failing = os.pipe2(os.O_CLOEXEC)
            theirs.callback(os.close, failing)
            try:
                self.pid, self._pidfd = await server.spawn_program([*fds, failing], self._on_status)
            except BaseException:
                os.close(failed)
                self._close()
                raise
            theirs.close()
        Programs.of(node).add(self)
        self._loop.add_reader(self._pidfd, self._on_gone)
        for fd, stream in zip(self._reading, ("stdout", "stderr"), strict=True):
            self._output.open(fd, stream)
            self._loop.add_reader(fd, self._on_output, fd)
        number = await self._until_started(failed)
        if number:
            await asyncio.shield(self.ended)
            raise CommandNotFound(self._launch.command, f"{os.strerror(number)} ({path})")

    def _pipes(self, theirs: contextlib.ExitStack, path: str, stdin: bool) -> list[int]:
        """Make what the program gets; our own ends are kept in `self`."""
        spec = os.memfd_create("koboshi-command", os.MFD_CLOEXEC)
        theirs.callback(os.close, spec)
        request = {
            "path": path,
            "argv": self._launch.command,
            "env": dict(self._launch.env),
            "cwd": self._launch.cwd,
        }
        with open(spec, "wb", closefd=False) as file:
            file.write(json.dumps(request).encode())
        if stdin:
            reads, self._stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._stdin, False)
        else:
            reads = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        theirs.callback(os.close, reads)
        fds = [spec, reads]
        for _ in range(2):
            ours, writes = os.pipe2(os.O_CLOEXEC)
            theirs.callback(os.close, writes)
            os.set_blocking(ours, False)
            self._reading.append(ours)
            fds.append(writes)
        return fds

    async def _until_started(self, failed: int) -> int:
        """Wait until the program runs; the number of the error if it does not."""
        done: asyncio.Future[bytes] = self._loop.create_future()

        def readable() -> None:
            if not done.done():
                done.set_result(os.read(failed, 16))

        self._loop.add_reader(failed, readable)
        try:
            return int(await done or b"0")
        finally:
            self._loop.remove_reader(failed)
            os.close(failed)

    # -- its input -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Have the program read this.

        Raises:
            CommandInputClosed: its input is not open, or it does not read and too much waits already.
        """
        if self._stdin < 0 or self._close_input:
            raise CommandInputClosed(
                f"the standard input of {show(self._launch.command)} is not open: start it with stdin=True",
                self._launch.command,
            )
        if self._waiting + len(data) > INPUT_LIMIT:
            raise CommandInputClosed(
                f"{show(self._launch.command)} does not read its input: {self._waiting:,} of at most "
                f"{INPUT_LIMIT:,} bytes wait for it",
                self._launch.command,
            )
        if data:
            self._input.append(data)
            self._waiting += len(data)
            if len(self._input) == 1:
                self._loop.add_writer(self._stdin, self._on_writable)

    def close_input(self) -> None:
        """Let the program read the end of its input, after all that was written."""
        self._close_input = True
        if not self._input:
            self._end_input()

    def _on_writable(self) -> None:
        while self._input:
            try:
                count = os.write(self._stdin, self._input[0])
            except BlockingIOError:
                return
            except OSError:  # it has closed its input, or ended
                self._end_input()
                return
            self._waiting -= count
            if count < len(self._input[0]):
                self._input[0] = self._input[0][count:]
                return
            self._input.popleft()
        self._loop.remove_writer(self._stdin)
        if self._close_input:
            self._end_input()

    def _end_input(self) -> None:
        if self._stdin >= 0:
            self._loop.remove_writer(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        self._input.clear()
        self._waiting = 0

    # -- its end ---------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send a signal to its whole process group."""
        if self.exit is None and self._pidfd >= 0:
            self._server.signal_group(self.pid, number)

    def kill(self, detail: str = "") -> None:
        """End it with its whole process group; `detail` goes into its exit."""
        self._detail = self._detail or detail
        self.signal(signal.SIGKILL)
        # Even when the fork server, which knows the group, is stopped.
        send_signal(self._pidfd, signal.SIGKILL)

    async def stop(self, number: int, grace: float) -> WorkerExit:
        """Ask it to end with a signal, and kill it after `grace` seconds."""
        self.signal(number)
        try:
            async with asyncio.timeout(grace):
                return await asyncio.shield(self.ended)
        except TimeoutError:
            self.kill(f"it had not stopped {grace:g} s after {signal.Signals(number).name}")
            return await asyncio.shield(self.ended)

    def _on_output(self, fd: int) -> None:
        if not self._output.read(fd):
            self._loop.remove_reader(fd)

    def _on_status(self, status: int | None, peak: int | None) -> None:
        """The fork server has collected it, and killed what was left of its group."""
        if status is None:  # the server died, and with it the program; its group is left to us
            self._detail = self._detail or "its fork server died"
            status = int(signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._known, self._status, self._peak = True, status, peak
        if self._gone:
            self._finish()

    def _on_gone(self) -> None:
        """The leader has ended; its status follows."""
        self._loop.remove_reader(self._pidfd)
        self._gone = True
        if self._known:
            self._finish()
        else:
            self._timer = self._loop.call_later(_STATUS_GRACE, self._late_status)

    def _late_status(self) -> None:
        """The fork server does not answer: it may be stopped, and then nobody would ever know."""
        self._server.wake()
        self._timer = self._loop.call_later(_STATUS_GRACE, self._finish)

    def _finish(self) -> None:
        if self.exit is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._output.finish()
        status = self._status if self._known else None
        self.exit = WorkerExit.from_status(self.pid, status, self._detail, self._peak)
        self._close()
        self.ended.set_result(self.exit)
        self._on_end(self.exit)

    def _close(self) -> None:
        self._end_input()
        for fd in self._reading:
            self._loop.remove_reader(fd)
            os.close(fd)
        self._reading.clear()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __repr__(self) -> str:
        state = "runs" if self.exit is None else self.exit.name
        return f"<Program {show(self._launch.command)} pid={self.pid} {state}>"


class Programs:
    """The programs of a node that still have a process or pipes: its last tree ends after all of them.

    The actor of a program that is killed is gone at once, but not yet the process and our ends of its pipes.
    """

    def __init__(self) -> None:
        self._running: set[Program] = set()

    @classmethod
    def of(cls, node: Node) -> Programs:
        """Those of this node."""
        programs: Programs | None = node.services.get(_KEY)
        if programs is None:
            programs = node.services[_KEY] = cls()
        if programs.close not in node.closers:
            node.closers.append(programs.close)
        return programs

    def add(self, program: Program) -> None:
        """Have the node's end wait for this one."""
        self._running.add(program)
        program.ended.add_done_callback(lambda _: self._running.discard(program))

    async def close(self) -> None:
        """End those that nobody ends any more, and wait until nothing is left of any."""
        for program in self._running:
            program.kill("its node ended")
        while self._running:
            await asyncio.wait([program.ended for program in self._running])
