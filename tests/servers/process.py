"""A database server as a process of the tests, with all its own processes."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
from tests.waiting import ask_blocking

__all__ = ["ServerProcess", "free_port"]

# Seconds for a server to start, or to end, on a busy machine.
PATIENCE = 40.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class ServerProcess:
    """A server that runs; its log is `server.log` in its folder."""

    def __init__(self, command: list[str], folder: Path, user: str | None) -> None:
        self._log = folder / "server.log"
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, user=user
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Ask until it is ready; a server has no other way to say so."""
        try:
            ask_blocking(
                lambda: self._process.poll() is not None or ready(), "a server's start", bound=PATIENCE
            )
            assert self._process.poll() is None, "the server has ended"
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self._log.read_text()[-2000:]}") from error

    def kill(self) -> None:
        """SIGKILL for it and all its processes; returns when they are gone."""
        found = psutil.Process(self._process.pid)
        everybody = [found, *found.children(recursive=True)] if self._process.poll() is None else []
        for each in everybody:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(PATIENCE)
        psutil.wait_procs(everybody, timeout=PATIENCE)

    def stop(self, how: signal.Signals) -> None:
        """Ask it to end, and wait for that."""
        self._process.send_signal(how)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
