"""The process that forks workers: fresh, single-threaded, and nothing else.

It is a separate program because forking the user's process would copy its threads'
locks, its event loop and its open connections. Protocol, one JSON message per packet:

    root -> server   {"op": "configure"} once, with a file that says the rest,
                     then {"op": "preload", "names": [...]} and
                     {"op": "fork", "id": n, "limit": bytes, "most": jobs in hand,
                      "node": null or [index, name]}
                     with the worker's socket and journal as descriptors; of a worker node, the file
                     for its stacks instead
                     {"op": "exec", "id": n} with the descriptors of an external program
                     {"op": "signal", "pid": p, "signal": s} for the process group of a child
    server -> root   {"id": n, "pid": p} with a pidfd, or {"id": n, "error": text, "errno": e};
                     {"pid": p, "status": s, "peak": bytes} when a worker ended

Life times: a worker dies with the server by PDEATHSIG. The server ends when the root
closes the socket, or by PDEATHSIG's SIGCONT when the root is killed; then it kills each
worker's process group, so that what a job has started goes as well. It is SIGCONT because that
wakes a server that has been stopped; any other signal would wait for somebody to do so.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

from ..command._exec import become_program
from ..nodes._node_main import run_node
from ._concurrent_worker import run_concurrent_worker
from ._journal import Journal
from ._limits import MESSAGE_SIZE
from ._linux import die_with_parent
from ._main_module import install_main
from ._worker import exit_worker, run_worker

__all__ = ["main"]

# The most that come with one packet: those of an external program.
_MOST_DESCRIPTORS = 5


def main(fd: int, root: int) -> None:
    """Serve the root process `root` on the socket `fd` until it goes away."""
    die_with_parent(root, signal.SIGCONT)
    with socket.socket(fileno=fd) as control:
        server = _Server(control, root)
        try:
            server.serve()
        finally:
            server.kill_all()


class _Server:
    def __init__(self, control: socket.socket, root: int) -> None:
        self.control = control
        self.root = root
        self.workers: set[int] = set()
        # A signal only writes to this pipe; the loop then looks what happened.
        self.wake_r, self.wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.stopping = False
        self.preloading = False

    def serve(self) -> None:
        signal.set_wakeup_fd(self.wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self.on_sigchld)
        signal.signal(signal.SIGTERM, self.on_sigterm)
        signal.signal(signal.SIGCONT, self.on_sigcont)
        self.on_sigcont()  # the root may have gone before there was anybody to hear of it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake_r, select.POLLIN)
        while not self.stopping:
            for fd, _ in poll.poll():
                if fd == self.wake_r:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake_r, 4096)
                    self.reap()
                elif not self.on_request():
                    return

    def on_sigchld(self, *_: object) -> None:
        """Only so that the signal is not ignored: the pipe has told the loop."""

    def on_sigterm(self, *_: object) -> None:
        self.stopping = True
        if self.preloading:
            # The loop may come back late or never: a module that is being imported can wait for anything.
            self.kill_all()
            os._exit(0)

    def on_sigcont(self, *_: object) -> None:
        """The root has been killed, or somebody has only let a stopped server go on."""
        if os.getppid() != self.root:
            self.on_sigterm()

    def on_request(self) -> bool:
        """Handle one packet; False when the root has closed its end."""
        try:
            data, fds, _, _ = socket.recv_fds(self.control, MESSAGE_SIZE, _MOST_DESCRIPTORS)
        except ConnectionResetError:  # it was killed before it had read what we told it
            return False
        if not data:
            return False
        request = json.loads(data)
        if request["op"] == "configure":
            with open(fds[0], "rb") as file:
                file.seek(0)  # the place in it is shared with the root, which has just written
                self.configure(json.load(file))
            return True
        if request["op"] == "preload":
            self.preload(request["names"])
            return True
        if request["op"] == "signal":
            # Only here it is known that the group is still that of our child.
            if request["pid"] in self.workers:
                self.signal_group(int(request["pid"]), int(request["signal"]))
            return True
        try:
            self.fork(int(request["id"]), request, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def configure(self, request: dict[str, Any]) -> None:
        sys.argv[:] = request["argv"]
        install_main(tuple(request["main"]) if request["main"] else None)
        self.preload(request["preload"])

    def preload(self, names: list[str]) -> None:
        self.preloading = True
        for name in names:
            if self.stopping:
                return
            # A module that fails here fails again, with its traceback, in the job that needs it.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        self.preloading = False
        gc.collect()
        # What is shared with the workers should stay shared: the collector leaves it alone.
        gc.freeze()

    def fork(self, number: int, request: dict[str, Any], fds: list[int]) -> None:
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self.tell({"id": number, "error": f"fork failed: {error}", "errno": error.errno})
            return
        if pid == 0:
            self.become_worker(server, request, fds)
        with contextlib.suppress(OSError):  # the child does it too; whoever is first
            os.setpgid(pid, pid)
        self.workers.add(pid)
        # Not reaped yet, so the pid cannot have been given to anybody else.
        pidfd = os.pidfd_open(pid)
        try:
            self.tell({"id": number, "pid": pid}, [pidfd])
        finally:
            os.close(pidfd)

    def become_worker(self, server: int, request: dict[str, Any], fds: list[int]) -> None:
        """Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCONT, signal.SIG_DFL)
            die_with_parent(server)
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            for fd in (self.wake_r, self.wake_w):
                os.close(fd)
            self.control.close()
            if request["op"] == "exec":
                become_program(fds)
            if sys.stderr is not None:
                faulthandler.enable()
            node = request["node"]
            if node is not None:
                with socket.socket(fileno=fds[0]) as sock:
                    run_node(sock, fds[1], int(node[0]), str(node[1]))
            else:
                journal = Journal(fds[1])
                os.close(fds[1])
                with socket.socket(fileno=fds[0]) as sock:
                    if request["most"] > 1:
                        run_concurrent_worker(sock, journal, int(request["limit"]), int(request["most"]))
                    else:
                        run_worker(sock, journal, int(request["limit"]))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            exit_worker(code)

    def reap(self) -> None:
        """Collect every worker that ended, take its process group along, tell the root."""
        while True:
            try:
                # Look without collecting: while the zombie holds its number, its process
                # group cannot be anybody else's.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            self.kill_group(pid)
            _, status, usage = os.wait4(pid, 0)
            if pid in self.workers:
                self.workers.discard(pid)
                self.tell({"pid": pid, "status": status, "peak": usage.ru_maxrss * 1024})

    def tell(self, message: dict[str, object], fds: list[int] | None = None) -> None:
        try:
            socket.send_fds(self.control, [json.dumps(message).encode()], fds or [])
        except OSError:
            self.stopping = True

    def kill_group(self, pid: int) -> None:
        self.signal_group(pid, signal.SIGKILL)

    def signal_group(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)

    def kill_all(self) -> None:
        """End every worker and collect it."""
        for pid in self.workers:
            self.kill_group(pid)
        for pid in self.workers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
