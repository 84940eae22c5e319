"""What runs in a worker process: read a batch, run each job, send the results.

The order of stores into the journal is the protocol; see `_journal`. Nothing that a
job does to itself may leave the loop in `_Worker.run_jobs`: every exception is the
job's own outcome, and whatever ends the process is sorted out by the root.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from ...wire import (
    DEFAULT_FRAME_LIMIT,
    Descriptor,
    DescriptorFrameReader,
    FrameSender,
    FrameTooLarge,
    pack_fd_frame,
)
from ...wire._buffers import BufferedPickle, attach, unpack
from ...wire._fd_frames import too_many_in_flight
from ...wire._pickle import SMALL_TYPES, dumps, loads
from ._jobs import Entry
from ._journal import BASE, COMMITTED, ENDS, ROOM, SLOTS, STARTED, Journal
from ._last_lines import Tee
from ._limits import job_frame_limit, result_frame_limit
from ._outcomes import encode_error, encode_value

__all__ = [
    "RECEIVE",
    "exit_worker",
    "flush_output",
    "function_of",
    "run_worker",
    "segment_of",
    "send_frame",
    "serve_jobs",
]

# Results wait so long for others, while there is more to do: each frame costs the root a turn of its loop.
_FLUSH_AFTER_NS = 10_000_000
# Larger than what is usually there, and small enough that malloc need not map it anew for each read.
RECEIVE = 1 << 16
# Seconds until the receivers may have taken some of the descriptors that are on their way.
_IN_FLIGHT_WAIT = 0.001


def run_worker(sock: socket.socket, journal: Journal, limit: int = DEFAULT_FRAME_LIMIT) -> None:
    """Serve jobs from `sock`, one at a time, until its other end is closed."""
    serve_jobs(sock, journal, _Worker(sock, journal, limit).serve)


def serve_jobs(sock: socket.socket, journal: Journal, serve: Callable[[], None]) -> None:
    """Run `serve`, then what is to be run at the exit; never returns in a process that a job forked."""
    sock.setblocking(True)
    owner = os.getpid()

    def disown() -> None:
        sock.close()
        journal.close()

    # A job may fork. If its child came back from the job, it would answer in the worker's place, take
    # jobs from its socket and write into its journal; so the child has neither.
    os.register_at_fork(after_in_child=disown)
    sys.stderr = Tee(sys.stderr, journal)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the root is gone: so is the work
            serve()
        atexit._run_exitfuncs()
    except (OSError, ValueError):  # what a closed socket and a closed journal raise
        if os.getpid() == owner:
            raise
        sys.stderr.write("koboshi: a process that a job forked came back from it: end it with os._exit\n")
        exit_worker(1)


class _Worker:
    __slots__ = ("bytes", "count", "functions", "journal", "limit", "results", "sent_at", "sock")

    def __init__(self, sock: socket.socket, journal: Journal, limit: int) -> None:
        self.sock = sock
        self.journal = journal
        self.limit = limit
        self.functions: dict[int, Callable[..., Any] | None] = {}
        self.results: list[object] = []
        # Bytes that `results` take in the journal.
        self.bytes = 0
        # Jobs done since the start. The journal's counters follow it, never lead.
        self.count = 0
        self.sent_at = 0

    def serve(self) -> None:
        reader = DescriptorFrameReader(job_frame_limit(self.limit))
        while (frames := reader.receive(self.sock, RECEIVE)) is not None:
            self.sent_at = time.monotonic_ns()
            for payload, descriptors in frames:
                batches = loads(payload)
                if descriptors:
                    attach((entry for _, _, entries in batches for entry in entries), descriptors)
                for number, blob, entries in batches:
                    self.run_jobs(function_of(self.functions, number, blob), entries)
            self.flush()
            flush_output()

    def run_jobs(self, function: Callable[..., Any], entries: list[Entry]) -> None:
        words, data = self.journal.words, self.journal.data
        clock = time.monotonic_ns
        for entry in entries:
            count = self.count
            words[STARTED] = count + 1
            try:
                if type(entry) is tuple:
                    value = function(*entry)
                else:
                    args, kwargs = unpack(entry)  # type: ignore[arg-type]
                    value = function(*args, **kwargs)
                outcome = value if type(value) in SMALL_TYPES else encode_value(value, self.limit)
            except BaseException as error:
                outcome = encode_error(error, self.limit)
            value = None
            blob = dumps(outcome)
            size = len(blob)
            if segment_of(outcome) is not None:
                size = ROOM + 1  # the journal cannot hold what lies in a segment
            end = self.bytes + size
            slot = len(self.results)
            if end > ROOM or slot >= SLOTS:
                self.flush()
                if len(blob) > result_frame_limit(self.limit) - 4096:
                    outcome = encode_error(FrameTooLarge("a result", len(blob), self.limit), self.limit)
                    blob = dumps(outcome)
                    size = len(blob)
                end, slot = size, 0
            if end <= ROOM:
                data[end - size : end] = blob
                words[ENDS + slot] = end
                self.bytes = end
                self.results.append(outcome)
                self.count = words[COMMITTED] = count + 1
                if clock() - self.sent_at > _FLUSH_AFTER_NS:
                    self.flush()
            else:
                # Too big for the journal: the socket alone is its commit point.
                self.results.append(outcome)
                self.count = count + 1
                self.flush()
            # They may be large; and only now, since what their end sets off must not hold up the outcome.
            args = kwargs = None

    def flush(self) -> None:
        """Send what is finished; empty the journal only once the kernel has all of it."""
        if self.results:
            first = self.count - len(self.results)
            # A result with large buffers is flushed at once, so it is the last.
            segment = segment_of(self.results[-1])
            segments = [] if segment is None else [segment]
            payload = dumps((first, self.results))
            send_frame(
                self.sock, pack_fd_frame(payload, len(segments), result_frame_limit(self.limit)), segments
            )
            self.results = []
            self.bytes = 0
            words = self.journal.words
            # BASE first: a result too big for the journal is not in it, so a reader that saw only the new
            # COMMITTED would take what lies there from earlier for it. BASE above COMMITTED holds nothing.
            words[BASE] = self.count
            words[COMMITTED] = self.count
        self.sent_at = time.monotonic_ns()


def send_frame(sock: socket.socket, frame: bytes, segments: list[Descriptor]) -> None:
    """Send a frame and the segments that it is about; returns when the kernel has all of it."""
    if not segments:
        sock.sendall(frame)
        return
    sender = FrameSender(sock)
    sender.put(frame, segments)
    while sender.pending:
        try:
            sender.flush()
        except OSError as error:
            if not too_many_in_flight(error):
                raise
            time.sleep(_IN_FLIGHT_WAIT)


def segment_of(outcome: Any) -> Descriptor | None:
    """The segment of a result with large buffers."""
    if outcome.__class__ is tuple and type(outcome[1]) is BufferedPickle:
        return outcome[1].segment
    return None


def function_of(
    functions: dict[int, Callable[..., Any] | None], number: int, blob: bytes | None
) -> Callable[..., Any]:
    """Return function `number`, which came with its pickle the first time.

    Unpickling imports the user's module and may fail or end the process, so it is
    left to the first job: `_Unloaded` does it inside that job's own guard.
    """
    if blob is not None:
        return _Unloaded(functions, number, blob)
    found = functions[number]
    assert found is not None
    return found


class _Unloaded:
    """A function that is still a pickle; loaded by its first successful call."""

    __slots__ = ("blob", "functions", "loaded", "number")

    def __init__(self, functions: dict[int, Callable[..., Any] | None], number: int, blob: bytes) -> None:
        self.functions = functions
        self.number = number
        self.blob = blob
        self.loaded: Callable[..., Any] | None = None
        if number >= 0:
            functions[number] = self

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        loaded = self.loaded
        if loaded is None:
            loaded = self.loaded = loads(self.blob)
            if self.number >= 0:
                self.functions[self.number] = loaded
        return loaded(*args, **kwargs)


def exit_worker(code: int) -> None:
    """End the process without unwinding into the fork server's code."""
    flush_output()
    os._exit(code)


def flush_output() -> None:
    """Let what jobs printed appear before the worker waits, and before it can be killed."""
    for stream in (sys.stdout, sys.stderr):
        # A closed, broken or replaced stream is the job's affair: it must not end the worker.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
