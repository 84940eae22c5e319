"""One worker process, as the root sees it.

Decides nothing about jobs: it moves batches to the worker and outcomes back, in order,
and reports the end of the process once, after every outcome that could be saved.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, Self

from ...wire import (
    DEFAULT_FRAME_LIMIT,
    Descriptor,
    DescriptorFrameReader,
    WireError,
    pack_fd_frame,
)
from ...wire._buffers import OUT_OF_BAND_FROM, BufferedPickle, attach
from ...wire._pickle import dumps, loads
from .._errors import WorkerStartFailed
from .._exit import WorkerDeath, WorkerExit
from ._jobs import Entry, FunctionRef
from ._journal import Journal
from ._last_lines import last_lines
from ._limits import BATCH_BYTES, job_frame_limit, result_frame_limit
from ._linux import has_data, send_signal
from ._outbox import Outbox
from ._outcomes import read_outcomes
from ._spawner import ForkServer
from ._statistics import WorkerStatistics

__all__ = ["WorkerDeath", "WorkerProcess", "WorkerStatistics"]

# Larger than what is usually there, and small enough that malloc need not map it anew for each read.
_RECEIVE = 1 << 16
# Longer than a worker takes from flush to flush, see `_peek_journal`.
_PEEK_AFTER = 0.013
# How long the fork server may take to tell the status of a worker that has ended: only a starved one does.
_STATUS_GRACE = 0.5
_CLOSED_GRACE = 0.05
_FUNCTIONS = 1024


class WorkerProcess:
    """A living worker process; make one with `WorkerProcess.start`.

    `on_outcomes(worker, outcomes)` gets encoded outcomes in the order of submission;
    `on_death(worker, death)` is called once, last. Both run inside the event loop.
    """

    def __init__(
        self,
        sock: socket.socket,
        journal: Journal,
        limit: int,
        on_outcomes: Callable[[WorkerProcess, Sequence[Any]], None],
        on_death: Callable[[WorkerProcess, WorkerDeath], None],
    ) -> None:
        """For `start` alone."""
        self.pid = 0
        self.death: WorkerDeath | None = None
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._journal = journal
        self._limit = limit
        self._on_outcomes = on_outcomes
        self._on_death = on_death
        self._outbox = Outbox(sock, self._loop, self._on_room)
        self._reader = DescriptorFrameReader(result_frame_limit(limit))
        self._pidfd = -1
        self._functions: dict[FunctionRef, int] = {}
        # Batches of this loop turn, and the segments of those among them that have large buffers.
        self._batches: list[tuple[int, bytes | None, list[Entry]]] = []
        self._batch_bytes = 0
        self._segments: list[Descriptor] = []
        # Jobs handed to `submit` and outcomes delivered; the worker counts the same way.
        self._sent = 0
        self._done = 0
        self._peek: asyncio.TimerHandle | None = None
        self._peek_delay = _PEEK_AFTER
        self._seen_started = 0
        # When outcomes came the last time: the journal is looked into when none have for a while.
        self._heard = 0.0
        self._status: int | None = None
        self._peak_memory: int | None = None
        self._detail = ""
        self._stopping = self._damaged = self._gone = False
        self._grace: asyncio.TimerHandle | None = None
        # Has a fork server that was stopped go on.
        self._wake: Callable[[], None]
        self._most = 1
        self._ended: asyncio.Future[WorkerDeath] = self._loop.create_future()

    @classmethod
    async def start(
        cls,
        server: ForkServer,
        *,
        on_outcomes: Callable[[WorkerProcess, Sequence[Any]], None],
        on_death: Callable[[WorkerProcess, WorkerDeath], None],
        frame_limit: int = DEFAULT_FRAME_LIMIT,
        most: int = 1,
    ) -> Self:
        """Fork a worker for `most` jobs at a time; it takes them as soon as this returns.

        Raises:
            WorkerStartFailed: it could not be forked.
        """
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as done:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                undo.enter_context(ours)
                done.enter_context(theirs)
                page = Journal.create()
                done.callback(os.close, page)
                journal = Journal(page)
            except OSError as error:
                raise WorkerStartFailed.because("cannot make what a worker shares", error) from error
            undo.callback(journal.close)
            worker = cls(ours, journal, frame_limit, on_outcomes, on_death)
            worker._wake, worker._most = server.wake, most
            worker.pid, worker._pidfd = await server.spawn(
                theirs, page, worker._on_status, frame_limit, most=most
            )
            undo.pop_all()
        worker._watch()
        return worker

    def __repr__(self) -> str:
        state = "alive" if self.death is None else self.death.exit.name
        return f"<WorkerProcess pid={self.pid} {state} in_flight={self._sent - self._done}>"

    @property
    def alive(self) -> bool:
        """Whether its end has not been reported yet."""
        return self.death is None

    @property
    def running(self) -> bool:
        """Whether the oldest job without an outcome has begun."""
        return not self._gone and self._journal.state().started > self._done

    @property
    def sent(self) -> int:
        """Jobs that it was given; the next one has this number."""
        return self._sent

    @property
    def done(self) -> int:
        """Outcomes that it has delivered."""
        return self._done

    @property
    def congested(self) -> bool:
        """Whether earlier batches still wait for the socket; do not submit more then."""
        return self._outbox.pending > 0

    def statistics(self) -> WorkerStatistics:
        """Return a snapshot."""
        return WorkerStatistics(self.pid, self.alive, self._sent, self._done, self._outbox.pending)

    def submit(self, function: FunctionRef, entries: list[Entry], size: int = 0) -> None:
        """Queue jobs of one function; all batches of a loop turn leave in one frame.

        `size` is the bytes that the packed ones take; frames are closed by it.
        On a worker that is dying they are simply part of what its death leaves untouched.
        """
        self._sent += len(entries)
        if self._gone:
            return
        number = self._functions.get(function)
        blob = None
        if number is None:
            blob = function.blob
            number = -1
            if function.lasting and len(self._functions) < _FUNCTIONS:
                number = self._functions[function] = len(self._functions)
        size += len(function.blob) if blob is not None else 0
        if self._batches and self._batch_bytes + size > BATCH_BYTES:
            self._write()
        self._queue(number, blob, entries)
        if size > OUT_OF_BAND_FROM:
            for entry in entries:
                if type(entry) is BufferedPickle and entry.segment is not None:
                    self._segments.append(entry.segment)
        self._batch_bytes += size

    def _queue(self, number: int, blob: bytes | None, entries: list[Entry]) -> None:
        if not self._batches:
            self._loop.call_soon(self._write)
        self._batches.append((number, blob, entries))

    def kill(self, detail: str = "") -> None:
        """End the process at once, whatever it is doing; `detail` goes into its exit."""
        if not self._gone and self._pidfd >= 0:
            self._detail = self._detail or detail
            send_signal(self._pidfd, signal.SIGKILL)

    def resume(self) -> None:
        """Let it go on if somebody has stopped it; nothing happens to one that runs."""
        if not self._gone:
            send_signal(self._pidfd, signal.SIGCONT)

    async def stop(self, timeout: float | None = 5.0) -> WorkerDeath:
        """Let it finish what it was given, then end it, by force after `timeout` seconds."""
        if not self._gone:
            self._write()
            self._stopping = True
            if not self._outbox.pending:
                self._shutdown()
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._ended)
        except TimeoutError:
            self.kill()
            return await asyncio.shield(self._ended)

    async def wait_ended(self) -> WorkerDeath:
        """Wait until the process has gone and its death was reported."""
        return await asyncio.shield(self._ended)

    def _shutdown(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def _watch(self) -> None:
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._on_readable)
        self._loop.add_reader(self._pidfd, self._on_gone)

    # Writing

    def _write(self) -> None:
        if not self._batches or self._gone:
            return
        batches, self._batches, self._batch_bytes = self._batches, [], 0
        segments, self._segments = self._segments, []
        self._watch_progress()
        frame = pack_fd_frame(dumps(batches), len(segments), job_frame_limit(self._limit))
        self._outbox.send(frame, segments)

    def _on_room(self) -> None:
        if self._stopping:
            self._shutdown()
        # An empty list of outcomes says that there is room again.
        self._on_outcomes(self, ())

    # Reading

    def _on_readable(self) -> None:
        if self._receive() is False and self._grace is None:
            # Normally its end follows at once. A job may also have closed the socket
            # under us; such a worker cannot be used any more.
            self._loop.remove_reader(self._sock.fileno())
            if not self._stopping:
                self._grace = self._loop.call_later(_CLOSED_GRACE, self.kill, "it had closed its socket")

    def _receive(self) -> bool:
        """Read once; False at the end of the stream or when it makes no sense."""
        try:
            frames = self._reader.receive(self._sock, _RECEIVE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        except WireError as error:
            return self._garbage(error)
        if frames is None:
            return False
        try:
            for payload, descriptors in frames:
                self._take(payload, descriptors)
        except (WireError, MemoryError) as error:  # the latter for a frame that says it is enormous
            return self._garbage(error)
        return True

    def _take(self, payload: memoryview, descriptors: Sequence[Descriptor | None]) -> None:
        first, outcomes = read_outcomes(payload, self._done, self._sent)
        if descriptors:
            attach((each[1] for each in outcomes if each.__class__ is tuple), descriptors)
        self._deliver(first, outcomes)

    def _garbage(self, error: WireError | MemoryError) -> bool:
        self.kill(f"it sent garbage: {error}")
        return False

    def catch_up(self) -> None:
        """Deliver what it has finished and this loop had no time to read."""
        if not self._gone:
            if has_data(self._sock):
                self._receive()
            self._recover()

    def _deliver(self, first: int, outcomes: list[Any]) -> None:
        """Pass on the outcomes of jobs `first`... without those already read from the journal."""
        known = self._done - first
        if known > 0:
            outcomes = outcomes[known:]
        self._done += len(outcomes)
        self._heard = self._loop.time()
        self._watch_progress()
        if outcomes:
            self._on_outcomes(self, outcomes)

    def _watch_progress(self) -> None:
        """Look into the journal soon, if the worker has something to do."""
        if self._peek is None and self._sent > self._done and not self._gone:
            self._peek_delay = _PEEK_AFTER
            self._peek = self._loop.call_later(_PEEK_AFTER, self._peek_journal)

    def _peek_journal(self) -> None:
        """Fetch finished outcomes that wait in the worker behind a slow job.

        After each job that ends ten milliseconds or more after the last flush, the worker
        flushes. So once a job has been seen running at two looks, nothing can be held
        back before that job ends with a flush, which arms the next look. Until then
        this keeps looking, more slowly when nothing moves (a stopped process).
        """
        self._peek = None
        if self._gone or self._sent == self._done:
            return
        soon = self._heard + _PEEK_AFTER - self._loop.time()
        if soon > 0:  # it flushes as it should; a look now would bring a few of what comes together anyway
            # At least a millisecond: some loops count in whole ones, and would come back at once.
            self._peek = self._loop.call_later(max(soon, 0.001), self._peek_journal)
            return
        started = self._journal.state().started
        settled = started == self._seen_started and started > self._done
        self._peek_delay = _PEEK_AFTER if started != self._seen_started else min(0.1, 2 * self._peek_delay)
        self._seen_started = started
        self._recover()
        if settled and started == self._done + 1:
            return
        # Delivering may have armed it already.
        timer: asyncio.TimerHandle | None = self._peek
        if timer is None:
            self._peek = self._loop.call_later(self._peek_delay, self._peek_journal)

    def _recover(self) -> None:
        """Deliver what the journal holds, if it makes sense: a job that crashes may have written into it."""
        try:
            blobs = [] if self._damaged else self._journal.read(self._done, self._sent)
            outcomes = [loads(blob) for blob in blobs]
        except Exception as error:
            self._damaged = True
            self.kill(f"its journal was overwritten: {type(error).__name__}: {error}")
        else:
            if outcomes:
                self._deliver(self._done, outcomes)

    # The end

    def _on_status(self, status: int | None, peak_memory: int | None) -> None:
        """Called by the fork server; `status` is None when the server died before it knew."""
        self._status, self._peak_memory = status, peak_memory
        if status is None:
            self._detail = self._detail or "its fork server died"
            self._status = int(signal.SIGKILL)
        if self._gone:
            self._finish()

    def _on_gone(self) -> None:
        """The process has ended. Its status comes from the fork server, its outcomes from the socket."""
        self._loop.remove_reader(self._pidfd)
        self._gone = True
        if self._status is not None:
            self._finish()
        else:
            if self._grace is not None:
                self._grace.cancel()
            self._wake()
            self._grace = self._loop.call_later(_STATUS_GRACE, self._finish)

    def _finish(self) -> None:
        if self.death is not None:
            return
        for timer in (self._grace, self._peek):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._outbox.close()
        # All that it sent is in our receive buffer: the sender is dead.
        while has_data(self._sock):
            if not self._receive():
                break
        self._recover()
        lines = last_lines(self._journal)
        end = WorkerExit.from_status(self.pid, self._status, self._detail, self._peak_memory, lines)
        death = self._last_words(end)
        self.death = death
        self._sock.close()
        os.close(self._pidfd)
        self._journal.close()
        self._reader.drop()
        self._batches.clear()
        self._segments.clear()
        if not self._ended.done():
            self._ended.set_result(death)
        self._on_death(self, death)

    def _last_words(self, end: WorkerExit) -> WorkerDeath:
        # In a damaged journal nobody can see what had begun; never to run a job twice counts for more.
        begun = self._sent > self._done if self._damaged else self._journal.state().started > self._done
        return WorkerDeath(end, running=begun)
