"""Which hosts of a SQLite file are alive: a byte of a side file for each, locked while its process lives.

The kernel drops such a lock at the very moment of a kill -9, so the next program need not wait for the
lease of the last one. It is a lock of the open file and not of the process (`F_OFD_SETLK`), since those are
dropped by any close of the same file. Byte 0 is held by all, shared, so that the last one can remove the
file.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref

from .._failures import StoreUnusable

__all__ = ["HostLock"]

# struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi4x"


def _request(kind: int, start: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, start, 1, 0)


class HostLock:
    """One host's byte of `path + "-hosts"`."""

    def __init__(self, path: str, place: int) -> None:
        self._path = path + "-hosts"
        self._descriptor = self._acquire(place)
        _held.add(self)

    def _acquire(self, place: int) -> int:
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                found = f"its side file {self._path!r} cannot be opened ({error.strerror})"
                raise StoreUnusable(self._path, found, "check the permissions of the folder") from error
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, _request(fcntl.F_RDLCK, 0))
            # Whoever was the last may have removed it after we opened it: then nobody else sees our locks.
            if self._is_current(descriptor):
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK, place))
                return descriptor
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def is_held(self, place: int) -> bool:
        """Whether some process holds the byte."""
        found = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK, place))
        return int(struct.unpack(_FLOCK, found)[0]) != fcntl.F_UNLCK

    def release(self) -> None:
        """Drop it, and remove the side file when no other host is left."""
        descriptor, self._descriptor = self._descriptor, -1
        _held.discard(self)
        if descriptor < 0:
            return
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK, 0))
            if self._is_current(descriptor):
                os.unlink(self._path)
        except BlockingIOError:
            pass  # another host lives, and the file is its own
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: let go of the file, or a child that outlives its parent would keep it alive."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_held: weakref.WeakSet[HostLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)
