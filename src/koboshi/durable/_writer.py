"""The writer thread: takes whatever waits, has it committed as one group, answers with one wake.

The event loop appends to a deque and wakes the thread once per loop tick; the thread empties the deque,
runs the group on the store, and hands all outcomes back with one `call_soon_threadsafe`. Nothing else
is shared, so there is no lock.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ._errors import LedgerClosed, OutcomeUnknown, StoreUnavailable
from ._lock import OwnerLock
from ._schema import check_place
from ._store import Outcome, Store, Work
from ._transitions import Transaction

__all__ = ["Writer"]

T = TypeVar("T")

_log = logging.getLogger("koboshi.durable")


class _Operation(Generic[T]):
    """One call that waits for its group's commit."""

    __slots__ = ("abandoned", "future", "rows", "work")

    def __init__(
        self, work: Work, future: asyncio.Future[T], rows: int, abandoned: Callable[[T], None] | None
    ) -> None:
        self.work = work
        self.future = future
        self.rows = rows
        self.abandoned = abandoned


class Writer:
    """Owns the store's thread for one event loop."""

    def __init__(self, path: str, exclusive: bool, store: Store, queue_limit: int) -> None:
        self._path = path
        self._exclusive = exclusive
        self._store = store
        self._queue_limit = queue_limit
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Operation[Any]] = deque()  # Any: each operation has its own result type
        self._wake = threading.Event()
        # Loop side: a wake is already scheduled for the end of this tick.
        self._flushing = False
        # Loop side: no operation is accepted any more. Set before the thread is told to stop, so
        # that it finds everything that was accepted in the queue.
        self._refusing: str | None = "not open yet"
        self._stop = False
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        # Daemon: a program that forgets to close must still be able to end; commits survive that.
        self._thread = threading.Thread(target=self._main, name=f"ledger {path}", daemon=True)
        self.operations = 0
        self.rows = 0
        self.largest_group = 0

    @property
    def queued(self) -> int:
        """Operations that wait for the thread."""
        return len(self._queue)

    async def start(self) -> None:
        """Starts the thread and waits until the file is open."""
        self._thread.start()
        try:
            await asyncio.shield(self._opened)
        except BaseException:
            self._opened.add_done_callback(_retrieve)
            await asyncio.shield(self._finish("closed"))
            raise
        self._refusing = None

    def submit(
        self,
        perform: Callable[[Transaction], T],
        *,
        rows: int = 1,
        writes: bool = True,
        abandoned: Callable[[T], None] | None = None,
    ) -> asyncio.Future[T]:
        """Queues one operation; the future is answered after its group's commit.

        Args:
            perform: runs in the writer thread; must be repeatable.
            abandoned: called in the loop with the result if the future was cancelled by then.
        """
        if self._refusing is not None:
            raise LedgerClosed(self._path, self._refusing)
        if len(self._queue) >= self._queue_limit:
            raise StoreUnavailable(
                self._path, f"{self._queue_limit} operations are waiting already (queue_limit)"
            )
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.append(_Operation(Work(perform, writes), future, rows, abandoned))
        if not self._flushing:
            # At the end of the tick, so that what one tick asks for is one group.
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._flushing = False
        self._wake.set()

    async def stop(self) -> None:
        """Commits what is queued, closes the file, ends the thread. May be called again.

        Cancelling the caller does not cancel the closing.
        """
        await asyncio.shield(self._finish("closed"))

    def _finish(self, state: str) -> asyncio.Future[None]:
        self._refusing = state
        self._stop = True
        self._wake.set()
        return self._stopped

    # -- in the thread -------------------------------------------------------------------------

    def _main(self) -> None:
        """The thread: open, serve until told to stop, close, report."""
        lock: OwnerLock | None = None
        failure: BaseException | None = None
        try:
            check_place(self._path)
            lock = OwnerLock(self._path, exclusive=self._exclusive)
            self._store.open()
        except BaseException as error:
            if lock is not None:
                lock.release()
            self._post(self._never_opened, error)
            return
        self._post(_resolve, self._opened, None)
        try:
            self._serve()
        except BaseException as error:
            failure = error
            _log.exception("the writer of %r failed; the ledger is closed", self._path)
        try:
            self._store.close()
        except BaseException as error:
            failure = failure or error
        lock.release()
        self._post(self._ended, failure)

    def _serve(self) -> None:
        while True:
            self._wake.wait()
            # Cleared before the queue is read: what is appended later sets it again.
            self._wake.clear()
            stopping = self._stop  # read before the queue: nothing is accepted after it was set
            group = self._take()
            if group:
                try:
                    outcomes = self._store.perform([operation.work for operation in group])
                except BaseException as error:  # a bug of ours: nobody may wait for ever because of it
                    lost = [Outcome(None, OutcomeUnknown(self._path, repr(error))) for _ in group]
                    self._post(self._deliver, group, lost)
                    raise
                self.operations += len(group)
                self.rows += sum(operation.rows for operation in group)
                self.largest_group = max(self.largest_group, len(group))
                if not self._post(self._deliver, group, outcomes):
                    return
            if stopping:
                return

    def _take(self) -> list[_Operation[Any]]:
        group: list[_Operation[Any]] = []
        while self._queue:
            operation = self._queue.popleft()
            # Its caller is gone and nothing was done yet: the cheapest moment to forget it.
            if not operation.future.cancelled():
                group.append(operation)
        return group

    def _post(self, callback: Callable[..., None], *args: object) -> bool:
        """Runs `callback` in the loop; False if there is no loop any more."""
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            _log.warning("the event loop ended before the ledger %r was closed", self._path)
            return False
        return True

    # -- in the loop ---------------------------------------------------------------------------

    def _deliver(self, group: list[_Operation[Any]], outcomes: list[Outcome]) -> None:
        for operation, (value, error) in zip(group, outcomes, strict=True):
            future = operation.future
            if future.cancelled():
                if error is None and operation.abandoned is not None:
                    operation.abandoned(value)
            elif error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def _never_opened(self, error: BaseException) -> None:
        """The thread could not open the file and does nothing more."""
        self._thread.join()
        _reject(self._opened, error)
        _resolve(self._stopped, None)

    def _ended(self, failure: BaseException | None) -> None:
        """The thread has closed the file and does nothing more."""
        self._thread.join()
        self._refusing = "closed"
        while self._queue:  # only after a failure of the thread itself
            future = self._queue.popleft().future
            if not future.done():
                future.set_exception(LedgerClosed(self._path, "closed after its writer failed"))
        if failure is None:
            _resolve(self._stopped, None)
        else:
            _reject(self._stopped, failure)
            self._stopped.add_done_callback(_retrieve)


def _resolve(future: asyncio.Future[None], value: None) -> None:
    if not future.done():
        future.set_result(value)


def _reject(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Marks the error as seen: it was raised or logged where it belongs."""
    if not future.cancelled():
        future.exception()
