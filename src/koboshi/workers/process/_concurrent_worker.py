"""The worker that has several jobs in hand: coroutines side by side, plain functions one at a time.

An asyncio loop runs the coroutines. Whatever is ours happens between its runs: to read, to begin a job, to
send. So a plain function finds no loop running, as in any worker, an error of ours ends the process, and
nothing of ours has to be thought of as interleaved with jobs. Each outcome carries the number of its job;
see `_in_hand` for what the root learns of a worker that dies.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ...wire import Descriptor, DescriptorFrameReader, FrameTooLarge, pack_fd_frame
from ...wire._buffers import attach, unpack
from ...wire._pickle import SMALL_TYPES, dumps, loads
from ._in_hand import clear, mark, mark_cancellable
from ._jobs import Entry
from ._journal import Journal
from ._limits import job_frame_limit, result_frame_limit
from ._outcomes import encode_error, encode_value
from ._worker import RECEIVE, flush_output, function_of, segment_of, send_frame, serve_jobs

__all__ = ["CANCEL", "run_concurrent_worker"]

CANCEL = -2
"""In place of a function's number: the entries are the numbers of jobs to be cancelled."""

_BEGIN_FOR_NS = 1_000_000


def run_concurrent_worker(sock: socket.socket, journal: Journal, limit: int, most: int) -> None:
    """Serve jobs from `sock`, `most` at a time, until its other end is closed."""
    worker = _ConcurrentWorker(sock, journal, limit, most)
    # Handlers run from the last to the first: what jobs registered still has its loop as it was.
    atexit.register(worker.end)
    serve_jobs(sock, journal, worker.serve)


@dataclass(slots=True, eq=False)
class _Job:
    """A job that has not begun."""

    number: int
    function: Callable[..., Any]
    entry: Entry


class _ConcurrentWorker:
    def __init__(self, sock: socket.socket, journal: Journal, limit: int, most: int) -> None:
        self.sock = sock
        self.journal = journal
        self.limit = limit
        self.functions: dict[int, Callable[..., Any] | None] = {}
        self.free = list(range(most))
        self.waiting: deque[_Job] = deque()
        # Coroutines in hand, by the number of the job.
        self.tasks: dict[int, asyncio.Task[None]] = {}
        # Frames with outcomes that are not sent yet, and the places of their jobs.
        self.outbox: list[tuple[bytes, list[Descriptor]]] = []
        self.done: list[int] = []
        # Jobs so far: the root counts the same way, so numbers need not be sent.
        self.received = 0
        self.readable = False
        self.loop = asyncio.new_event_loop()

    def serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        reader = DescriptorFrameReader(job_frame_limit(self.limit))
        self.loop.add_reader(self.sock, self.on_readable)
        closed = False
        while not closed or self.waiting or self.tasks:
            if (self.waiting and self.free) or (closed and not self.tasks):
                self.loop.call_soon(self.loop.stop)  # coroutines have a turn between two jobs
            self.loop.run_forever()
            self.flush()
            if self.readable and not closed:
                self.readable = False
                closed = not self.read(reader)
            self.begin_some()
            if not self.waiting:
                flush_output()

    def on_readable(self) -> None:
        self.readable = True
        self.loop.stop()

    def read(self, reader: DescriptorFrameReader) -> bool:
        """Take in what has come; False at the end of the stream."""
        frames = reader.receive(self.sock, RECEIVE)
        if frames is None:
            self.loop.remove_reader(self.sock)
            return False
        for payload, descriptors in frames:
            batches = loads(payload)
            if descriptors:
                attach((entry for _, _, entries in batches for entry in entries), descriptors)
            for number, blob, entries in batches:
                if number == CANCEL:
                    self.cancel({each for (each,) in entries})
                    continue
                function = function_of(self.functions, number, blob)
                for entry in entries:
                    self.waiting.append(_Job(self.received, function, entry))
                    self.received += 1
        return True

    def cancel(self, numbers: set[int]) -> None:
        """Cancel coroutines in hand, and drop jobs that have not begun."""
        for number in numbers & self.tasks.keys():
            self.tasks[number].cancel()
        for job in [job for job in self.waiting if job.number in numbers]:
            self.waiting.remove(job)
            self.send(job.number, encode_error(asyncio.CancelledError("before it had begun"), self.limit))

    def begin_some(self) -> None:
        """Begin what there is, for a millisecond at most: then coroutines and the socket have their turn."""
        until = time.monotonic_ns() + _BEGIN_FOR_NS
        while self.waiting and self.free and time.monotonic_ns() < until:
            self.begin(self.waiting.popleft())
            # At once: an outcome that waits would count as begun if the next job ends the process.
            self.flush()

    def begin(self, job: _Job) -> None:
        """Run a plain function to its end, or start a coroutine."""
        place = self.free.pop()
        mark(self.journal.words, place, job.number, time.monotonic_ns())
        try:
            entry = job.entry
            args, kwargs = (entry, {}) if type(entry) is tuple else unpack(entry)  # type: ignore[arg-type]
            value = job.function(*args, **kwargs)
            args = kwargs = None  # they may be large
            if inspect.iscoroutine(value):
                mark_cancellable(self.journal.words, place)
                self.tasks[job.number] = self.loop.create_task(self.finish(job.number, place, value))
                return
            outcome = self.encode(value)
        except BaseException as error:
            outcome = encode_error(error, self.limit)
        self.send(job.number, outcome, place)

    async def finish(self, number: int, place: int, running: Coroutine[Any, Any, Any]) -> None:
        """See a coroutine to its end: whatever that is, it is the job's own outcome."""
        try:
            outcome = self.encode(await running)
        except BaseException as error:
            outcome = encode_error(error, self.limit)
        del self.tasks[number]
        self.send(number, outcome, place)
        self.loop.stop()

    def encode(self, value: Any) -> Any:
        return value if type(value) in SMALL_TYPES else encode_value(value, self.limit)

    def send(self, number: int, outcome: Any, place: int | None = None) -> None:
        """Have an outcome sent by the next `flush`, and its place freed."""
        blob = dumps((number, outcome))
        if len(blob) > result_frame_limit(self.limit) - 4096:
            outcome = encode_error(FrameTooLarge("a result", len(blob), self.limit), self.limit)
            blob = dumps((number, outcome))
        segment = segment_of(outcome)
        segments: list[Descriptor] = [] if segment is None else [segment]
        self.outbox.append((pack_fd_frame(blob, len(segments), result_frame_limit(self.limit)), segments))
        if place is not None:
            self.done.append(place)

    def flush(self) -> None:
        """Send what is finished; free its places only once the kernel has all of it."""
        outbox, self.outbox = self.outbox, []
        for carries, group in groupby(outbox, lambda each: bool(each[1])):
            if carries:
                for frame, segments in group:
                    send_frame(self.sock, frame, segments)
            else:
                send_frame(self.sock, b"".join(frame for frame, _ in group), [])
        for place in self.done:
            clear(self.journal.words, place)
            self.free.append(place)
        self.done.clear()

    def end(self) -> None:
        """Cancel what jobs have left running on the loop, and wait for it."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
