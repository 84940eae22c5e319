"""The few Linux calls that Python has no name for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys

from .._errors import WorkerStartFailed

__all__ = ["die_with_parent", "has_data", "require_linux", "send_signal"]

_PR_SET_PDEATHSIG = 1


def require_linux() -> None:
    """Raise WorkerStartFailed where worker processes cannot be kept safe."""
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        raise WorkerStartFailed(
            f"worker processes need Linux 5.3 or newer (pidfd, PR_SET_PDEATHSIG), this is {sys.platform}"
        )


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel for `signum` when the thread that started us ends.

    `parent` is that process's pid. The parent may have died before the request was
    in place, in which case the signal would never come: that is looked up afterwards.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(0)


def send_signal(pidfd: int, number: int) -> None:
    """Send a signal to the process behind `pidfd`, if there is one, and it is not collected yet."""
    if pidfd >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)


def has_data(sock: socket.socket) -> bool:
    """Whether a socket has bytes to be read now."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
