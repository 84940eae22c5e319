"""The root's handle on its fork server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...wire import DEFAULT_FRAME_LIMIT
from .._errors import WorkerStartFailed
from ._limits import MESSAGE_SIZE
from ._linux import require_linux, send_signal
from ._main_module import alias_main, is_importing_main, main_source

__all__ = ["ForkServer", "ForkServerStatistics", "OnStatus"]

# Told of a worker's end: its wait status and the most memory it had, in bytes; None when nobody can know.
OnStatus = Callable[[int | None, int | None], None]

_START_TIMEOUT = 30.0
# A server that has not answered for so many seconds may have been stopped.
_WAKE_EVERY = 0.5

_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from koboshi.workers.process._forkserver import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class ForkServerStatistics:
    """State of a fork server: its pid, workers started by it that live, times it was started."""

    pid: int | None
    workers: int
    starts: int


class ForkServer:
    """Starts worker processes from a clean interpreter; restarted when it dies.

    Used from one event loop. The loop's thread must live as long as the server: the
    kernel ties the server's life to the *thread* that started it.

    Args:
        preload: modules to import before the first fork, so that workers start with them.
    """

    def __init__(self, *, preload: Sequence[str] = ()) -> None:
        # In the order of the requests, each once.
        self._preload: dict[str, None] = dict.fromkeys(preload)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._pidfd = -1
        self._gone: asyncio.Future[None] | None = None
        self._next_id = 0
        self._starting: dict[int, tuple[asyncio.Future[tuple[int, int]], OnStatus]] = {}
        self._workers: dict[int, OnStatus] = {}
        self._starts = 0
        self._closed = False

    def __repr__(self) -> str:
        pid = self._process.pid if self._process is not None else None
        return f"<ForkServer pid={pid} workers={len(self._workers)}>"

    def statistics(self) -> ForkServerStatistics:
        """Return a snapshot."""
        pid = self._process.pid if self._process is not None else None
        return ForkServerStatistics(pid, len(self._workers), self._starts)

    def preload(self, names: Sequence[str]) -> None:
        """Import more modules before the next fork; one that fails does so again in the job that needs it."""
        new = [name for name in names if name not in self._preload]
        self._preload.update(dict.fromkeys(new))
        if new and self._control is not None:
            # A full socket or a dying server: the next fork finds out, and a new server imports them all.
            with contextlib.suppress(OSError):
                self._control.send(json.dumps({"op": "preload", "names": new}).encode())

    async def spawn(
        self,
        sock: socket.socket,
        journal: int,
        on_status: OnStatus,
        frame_limit: int = DEFAULT_FRAME_LIMIT,
        *,
        node: tuple[int, str] | None = None,
        most: int = 1,
    ) -> tuple[int, int]:
        """Fork a worker onto `sock` and `journal`; return its pid and a pidfd, which the caller closes.

        `frame_limit` is how many bytes one function, argument list or result may take, `most` how many
        jobs it may have in hand. With `node`,
        an index and a name, it is a worker node and no worker of a pool, and `journal` is the file
        for its stacks.
        `on_status` is called once when the worker has ended; that may be before this returns.

        Raises:
            WorkerStartFailed: it could not be forked.
        """
        request: dict[str, object] = {"op": "fork", "limit": frame_limit, "most": most, "node": node}
        return await self._fork(request, [sock.fileno(), journal], on_status)

    async def spawn_program(self, fds: list[int], on_status: OnStatus) -> tuple[int, int]:
        """Start an external program with these descriptors, see `become_program`; else as `spawn`."""
        return await self._fork({"op": "exec"}, fds, on_status)

    async def _fork(self, request: dict[str, object], fds: list[int], on_status: OnStatus) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            self._ensure_running()
            control = self._control
            assert control is not None
            number = self._next_id = self._next_id + 1
            future: asyncio.Future[tuple[int, int]] = loop.create_future()
            self._starting[number] = (future, on_status)
            try:
                socket.send_fds(control, [json.dumps({**request, "id": number}).encode()], fds)
                async with asyncio.timeout(_START_TIMEOUT):
                    while not (await asyncio.wait([future], timeout=_WAKE_EVERY))[0]:
                        self.wake()
                answer, future = future, loop.create_future()
                return answer.result()
            except TimeoutError:
                self.kill()
                raise WorkerStartFailed(f"no answer from the fork server in {_START_TIMEOUT:g} s") from None
            except OSError:
                if self._control is control:
                    self._lost()
            except _ServerLost:
                pass  # cleaned up already; the next turn starts another
            finally:
                self._starting.pop(number, None)
                _abandon(future)
        raise WorkerStartFailed("the fork server died three times while starting one worker: see its stderr")

    def signal_group(self, pid: int, number: int) -> None:
        """Send a signal to the process group of one of its children, which it knows to be there still."""
        if self._control is not None:
            # A dying server: its children die with it.
            with contextlib.suppress(OSError):
                self._control.send(json.dumps({"op": "signal", "pid": pid, "signal": number}).encode())

    def wake(self) -> None:
        """Let a server go on that somebody has stopped; one that runs looks for workers that have ended."""
        send_signal(self._pidfd, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the server; its workers die with it and the next `spawn` starts a new one."""
        send_signal(self._pidfd, signal.SIGKILL)

    async def aclose(self, timeout: float = 2.0) -> None:
        """End the server and every worker it still has, by force after `timeout` seconds."""
        self._closed = True
        if self._control is None or self._gone is None:
            return
        gone = self._gone
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(gone)
        except TimeoutError:
            self.kill()
            await asyncio.shield(gone)

    def _ensure_running(self) -> None:
        if self._closed:
            raise WorkerStartFailed("the fork server is closed")
        if self._control is not None:
            return
        require_linux()
        if is_importing_main():
            raise WorkerStartFailed(
                "a worker was asked to start workers while it imports the main module: "
                'put the program\'s entry under `if __name__ == "__main__":`'
            )
        alias_main()
        with contextlib.ExitStack() as undo:
            try:
                control = self._launch(undo)
            except OSError as error:
                raise WorkerStartFailed.because(f"cannot start {sys.executable}", error) from error
            undo.pop_all()
        self._starts += 1
        self._control = control
        loop = asyncio.get_running_loop()
        self._gone = loop.create_future()
        loop.add_reader(control.fileno(), self._on_message)
        loop.add_reader(self._pidfd, self._lost)

    def _launch(self, undo: contextlib.ExitStack) -> socket.socket:
        """Start the server's process and tell it all that it needs; `undo` has what to do if that fails."""
        configuration = {
            "argv": sys.argv, "main": main_source(),
            "preload": list(self._preload),
        }  # fmt: skip
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.enter_context(ours)
        with theirs, open(os.memfd_create("koboshi-configuration", os.MFD_CLOEXEC), "wb") as file:
            # Arguments may be longer than any packet, so they travel in memory that is passed along.
            file.write(json.dumps(configuration).encode())
            file.flush()
            ours.setblocking(False)
            process = subprocess.Popen(
                [sys.executable, *_interpreter_flags(), "-c", _BOOT,
                 str(theirs.fileno()), str(os.getpid()), *sys.path],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], process_group=0,
            )  # fmt: skip
            undo.callback(process.wait)
            undo.callback(process.kill)
            pidfd = os.pidfd_open(process.pid)
            undo.callback(os.close, pidfd)
            socket.send_fds(ours, [b'{"op": "configure"}'], [file.fileno()])
        self._process, self._pidfd = process, pidfd
        return ours

    def _on_message(self) -> None:
        control = self._control
        while control is not None and control is self._control:
            try:
                data, fds, _, _ = socket.recv_fds(control, MESSAGE_SIZE, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, fds = b"", []
            if not data:
                # The process is ending; its pidfd tells when it has.
                asyncio.get_running_loop().remove_reader(control.fileno())
                return
            self._handle(json.loads(data), fds)

    def _handle(self, message: dict[str, int | str], fds: list[int]) -> None:
        if "status" in message:
            on_status = self._workers.pop(int(message["pid"]), None)
            if on_status is not None:
                on_status(int(message["status"]), int(message["peak"]))
            return
        future, on_status = self._starting.pop(int(message["id"]), (None, None))
        if future is None or on_status is None or future.done():
            # Whoever asked has gone. Its end of the socket is closed, so the worker ends by itself.
            for fd in fds:
                os.close(fd)
        elif "error" in message:
            future.set_exception(WorkerStartFailed(str(message["error"]), errno=int(message["errno"])))
        elif not fds:
            # The kernel drops what does not fit. Our end is closed, so the worker ends by itself.
            future.set_exception(
                WorkerStartFailed(
                    "no descriptor is left for a worker: raise `ulimit -n` or close files", errno=errno.EMFILE
                )
            )
        else:
            # Before the caller runs: the worker's end may be the next packet.
            self._workers[int(message["pid"])] = on_status
            future.set_result((int(message["pid"]), fds[0]))

    def _lost(self) -> None:
        """Clean up after a server that ended, for whatever reason; the next spawn starts another."""
        control, process = self._control, self._process
        if control is None or process is None:
            return
        self.kill()
        loop = asyncio.get_running_loop()
        loop.remove_reader(control.fileno())
        loop.remove_reader(self._pidfd)
        # What it had still managed to say comes first.
        self._drain(control)
        self._control = None
        control.close()
        process.wait()
        os.close(self._pidfd)
        self._pidfd = -1
        self._process = None
        for future, _ in list(self._starting.values()):
            if not future.done():
                future.set_exception(_ServerLost())
        workers, self._workers = self._workers, {}
        for on_status in workers.values():
            on_status(None, None)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _drain(self, control: socket.socket) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(control, MESSAGE_SIZE, 1)
            except OSError:
                return
            if not data:
                return
            self._handle(json.loads(data), fds)


def _abandon(future: asyncio.Future[tuple[int, int]]) -> None:
    """Give back the pidfd of an answer that nobody will take: whoever waited was cancelled."""
    if future.done() and not future.cancelled() and future.exception() is None:
        os.close(future.result()[1])
    else:
        future.cancel()


class _ServerLost(Exception):
    """The server died before it answered."""


def _interpreter_flags() -> list[str]:
    """Flags that make the child's interpreter behave like ours (-O, -W, -X dev, ...)."""
    # The standard library keeps this list for multiprocessing; a copy would grow old.
    from_stdlib: Callable[[], list[str]] = getattr(subprocess, "_args_from_interpreter_flags", list)
    return from_stdlib()
