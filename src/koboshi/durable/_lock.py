"""Who may use a ledger file: a kernel lock on a side file, gone with the process that held it.

An exclusive holder knows that nobody else is alive who could hold a claim, so it may take back the
claims of earlier runs at once instead of waiting for their leases. A lock by `flock` was chosen over a
run id with heartbeats because the kernel drops it at the very moment of a kill -9, and over a lock on
the database file itself because SQLite uses POSIX locks there, which any `close` of another
descriptor of that file would drop.
"""

from __future__ import annotations

import fcntl
import os
import weakref

from ._errors import LedgerInUse, LedgerUnusable

__all__ = ["OwnerLock"]


class OwnerLock:
    """Holds `path + "-lock"`; shared holders exclude exclusive ones, and the other way round."""

    def __init__(self, path: str, *, exclusive: bool) -> None:
        self.path = path
        self._file = path + "-lock"
        self._descriptor = self._acquire(exclusive)
        _held.add(self)

    def _acquire(self, exclusive: bool) -> int:
        while True:
            try:
                descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                found = f"its lock file {self._file!r} cannot be opened ({error.strerror})"
                raise LedgerUnusable(self.path, found, "check the permissions of the folder") from error
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                raise LedgerInUse(
                    self.path,
                    f"it is in use by process {holder}",
                    "stop that process, or open the ledger in both with exclusive=False",
                ) from None
            # Whoever held it last may have removed the file after we opened it: then our lock is on
            # a file that nobody else will ever see, and we must start again.
            if self._is_current(descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = os.stat(self._file)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def release(self) -> None:
        """Drops the lock, and removes the side file when no other holder is left."""
        descriptor, self._descriptor = self._descriptor, -1
        _held.discard(self)
        if descriptor < 0:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current(descriptor):
                os.unlink(self._file)
        except BlockingIOError:
            pass  # another shared holder lives: the file is its own
        finally:
            os.close(descriptor)

    def _forget(self) -> None:
        """In a forked child: let go of the descriptor without touching the parent's lock.

        Without this a child that outlives its parent would keep the ledger locked.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_held: weakref.WeakSet[OwnerLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_forget_all)
