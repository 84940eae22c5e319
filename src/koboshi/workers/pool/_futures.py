"""Jobs whose outcome goes into a `concurrent.futures.Future`, and how they come in from other threads."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from ..._kernel._errors import CallError
from ...wire import NotPicklable, WireError
from ..process._jobs import Entry, FunctionRef, FunctionTable, encode_arguments
from ..process._outcomes import Failure, decode
from ._batch import Batch
from ._engine import Engine

__all__ = ["FutureTaker", "Inbox", "Job", "pack"]

# Jobs that are put into the queue of a pool before its sockets have their turn.
_AT_ONCE = 1024

# Where futures report what their callbacks raise.
_logger = logging.getLogger("concurrent.futures")

Job = tuple[FunctionRef, Entry, Future[Any]]


def pack(
    functions: FunctionTable,
    function: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    limit: int,
) -> tuple[FunctionRef, Entry] | WireError:
    """The job as it travels, or why it cannot."""
    try:
        ref = functions.ref(function, limit)
        return ref, encode_arguments(ref, args, kwargs, limit)
    except WireError as error:
        return error
    except SystemExit as error:
        # From a `__reduce__`; whoever submits is not to end by what belongs to this one job.
        refused = NotPicklable(
            getattr(function, "__qualname__", repr(function)), "the argument list", repr(error)
        )
        refused.__cause__ = error
        return refused


class FutureTaker:
    """Single jobs: a batch's tags are their futures.

    Args:
        settled: told how many jobs are over, whatever became of them.
    """

    def __init__(self, settled: Callable[[int], None]) -> None:
        self._settled = settled

    def wants(self, future: Future[Any]) -> bool:
        """Decided in `begin`: until then it may be cancelled from any thread."""
        return True

    def begin(self, batch: Batch) -> None:
        """Take out the jobs that were cancelled; the others cannot be any more."""
        assert batch.tags is not None
        kept = [pair for pair in zip(batch.tags, batch.entries, strict=True) if claim(pair[0])]
        dropped = len(batch.tags) - len(kept)
        if dropped:
            batch.tags = [future for future, _ in kept]
            batch.entries = [entry for _, entry in kept]
            self._settled(dropped)

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """Settle each future that is not."""
        assert batch.tags is not None
        for future, outcome in zip(batch.tags, outcomes, strict=True):
            if claim(future):
                _settle(future, decode(outcome))
        self._settled(len(outcomes))


def claim(future: Future[Any]) -> bool:
    """Whether it is still to have an outcome; if so it cannot be cancelled any more."""
    if future.running():
        return True
    if future.done() and not future.cancelled():
        return False  # by somebody else
    return future.set_running_or_notify_cancel()


def _settle(future: Future[Any], value: Any) -> None:
    # The value belongs to whoever takes it from the future: nothing here may go on holding it.
    if type(value) is Failure:
        _tell(future.set_exception, value.error)
    else:
        _tell(future.set_result, value)


def _tell(change: Callable[..., object], *args: Any) -> None:
    """Change a future, whose callbacks are then run; what they raise is theirs, and no end of this thread.

    An `Exception` is reported by the future itself.
    """
    try:
        change(*args)
    except BaseException:
        # On the main thread it may be the program's own end or interruption.
        if threading.current_thread() is threading.main_thread():
            raise
        _logger.critical("a callback of a future raised", exc_info=True)


class Inbox:
    """Jobs on their way from any thread to the engine of a pool, in order.

    Args:
        wake: has `feed` called soon on the thread of the pool's event loop; called from any thread.
    """

    def __init__(
        self,
        wake: Callable[[Callable[[], None]], object],
        settled: Callable[[int], None],
        retries: int = 0,
    ) -> None:
        self.taker = FutureTaker(settled)
        self._wake = wake
        self._settled = settled
        self._retries = retries
        self._jobs: deque[Job] = deque()
        # False while nobody is on the way to look; set by whoever puts a job into an empty inbox.
        self._woken = False
        self.engine: Engine | None = None

    def put(self, job: Job) -> None:
        """Add a job; from any thread."""
        self._jobs.append(job)
        # Looked at after the append, and reset before the jobs are taken: none is left behind.
        if not self._woken:
            self._woken = True
            self._wake(self.feed)

    def feed(self) -> None:
        """Give the jobs to the engine, if there is one already."""
        self._woken = False
        if self.engine is None:
            return
        for _ in range(_AT_ONCE):
            try:
                ref, entry, future = self._jobs.popleft()
            except IndexError:
                return
            try:
                self.engine.check_open(ref.name)
                self.engine.submit(ref, entry, self.taker, future, self._retries)
            except CallError as error:
                if claim(future):
                    _tell(future.set_exception, error)
                self._settled(1)
        self._woken = True
        self._wake(self.feed)

    def __len__(self) -> int:
        return len(self._jobs)

    def cancel(self) -> None:
        """Cancel every job that no worker has, but for those that one has died with before it began."""
        while self._jobs:
            future = self._jobs.popleft()[2]
            _tell(future.cancel)
            claim(future)  # tells whoever waits for it
            self._settled(1)
        if self.engine is None:
            return
        for batch in self.engine.take_back(self.taker):
            assert batch.tags is not None
            for future in batch.tags:
                _tell(future.cancel)
            self.taker.begin(batch)
            if batch.entries:
                self.engine.dispatcher.enqueue(batch)

    def fail(self, error: Callable[[str], Exception]) -> None:
        """Give every job that the engine does not have the error that is made from its name."""
        while self._jobs:
            ref, _, future = self._jobs.popleft()
            if claim(future):
                _tell(future.set_exception, error(ref.name))
            self._settled(1)
