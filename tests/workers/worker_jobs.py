"""Jobs that the tests of worker processes run, most of them up to no good."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import fcntl
import itertools
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator


def add_one(number: int) -> int:
    return number + 1


def identity(value: object) -> object:
    return value


def pid(_: object = None) -> int:
    return os.getpid()


def parent_pids() -> tuple[int, int]:
    return os.getpid(), os.getppid()


def announce_and_spin(path: str) -> None:
    """Write our pid into a named pipe, then never end: a pure Python loop."""
    with open(path, "w") as pipe:
        pipe.write(f"{os.getpid()}\n")
    while True:
        pass


def announce_and_wait(path: str, release: str) -> int:
    """Write our pid into one named pipe, then wait for a line in another."""
    with open(path, "w") as pipe:
        pipe.write(f"{os.getpid()}\n")
    with open(release) as pipe:
        pipe.read()
    return os.getpid()


def exit_hard(code: int) -> None:
    os._exit(code)


def raise_signal(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(30)


def segfault() -> None:
    ctypes.string_at(0)


def close_every_descriptor() -> None:
    os.closerange(3, 256)
    time.sleep(30)


def unpicklable() -> object:
    return threading.Lock()


class TwoArguments(Exception):
    """Cannot be rebuilt from its `args`, as many real exception classes."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Refused(Exception):
    """Survives the round trip."""


def raise_two_arguments() -> None:
    raise TwoArguments(7, "seven")


def raise_refused(text: str) -> None:
    raise Refused(text)


def raise_system_exit() -> None:
    raise SystemExit(3)


def raise_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def raise_memory_error() -> None:
    raise MemoryError


def raise_stop_iteration() -> None:
    raise StopIteration("done")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def raise_unprintable() -> None:
    raise UnprintableError


class BreaksOnArrival:
    """Packs well; ends the process that unpacks it, in the way that it was told."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[object, ...]:
        return break_now, (self.how,)


def break_now(how: str) -> object:
    if how == "exit":
        os._exit(9)
    if how == "system_exit":
        raise SystemExit(4)
    raise ValueError(f"cannot unpack: {how}")


def return_one_that_breaks(how: str) -> object:
    return BreaksOnArrival(how)


def start_subprocess() -> tuple[int, int]:
    """Leave a process of our own running."""
    child = subprocess.Popen(["sleep", "600"])
    child.returncode = 0  # nobody will wait for it: it outlives this function on purpose
    return os.getpid(), child.pid


def ignore_sigterm_and_spin(path: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    announce_and_spin(path)


SHARED: list[int] = []


def append_to_shared(number: int) -> list[int]:
    """Return the same list every time, changed since."""
    SHARED.append(number)
    return SHARED


def extend_argument(values: list[int]) -> list[int]:
    values.append(len(values))
    return values


def crash_sometimes(number: int) -> int:
    """Kill the worker for every number that ends in 500."""
    if number % 1000 == 500:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def break_stdout() -> None:
    """Leave something to flush into a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    sys.stdout = os.fdopen(writer, "w")
    print("hello")


def busy_for(seconds: float) -> float:
    """Hold the thread, in Python code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


def allocate_and_die(size: int) -> None:
    """Touch that many bytes, then be killed as the kernel would."""
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    os.kill(os.getpid(), signal.SIGKILL)


def crash_at_500(number: int) -> int:
    if number == 500:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


KEPT: list[bytearray] = []


def keep(size: int) -> None:
    """Hold on to so many bytes, as a leak does."""
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    KEPT.append(held)


def has_imported(module: str) -> bool:
    return module in sys.modules


def raise_memory_error_for_real() -> None:
    """Ask for more than the address space may have."""
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**26, hard))
    try:
        bytearray(2**30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def spin_in_python() -> None:
    while True:
        pass


def spin_in_c() -> None:
    """No byte code is run any more, so no signal handler and no other thread either."""
    deque(itertools.repeat(None), maxlen=0)


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def stop_self() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)
    spin_in_python()


def swallow_cancellation() -> None:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(3600)

    asyncio.run(stubborn())


def hang_at_exit() -> int:
    """Return our pid; the process will not end by itself."""
    atexit.register(spin_in_python)
    return os.getpid()


def log_number(what: tuple[str, int]) -> int:
    """Append a number to a file."""
    path, number = what
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return number


def log_slowly(what: tuple[str, int]) -> int:
    """Append a number to a file and take a moment over it."""
    busy_for(0.005)
    return log_number(what)


def announce_and_lock(announce: str, lock: str) -> int:
    """Write our pid into a named pipe, then wait until nobody holds a file's lock alone."""
    with open(announce, "w") as pipe:
        pipe.write(f"{os.getpid()}\n")
    with open(lock) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return os.getpid()


def slow_identity(value: int) -> int:
    busy_for(0.005)
    return value


def wait_if_told(pipes: tuple[str, str] | None) -> None:
    """Announce ourselves and wait, or return at once."""
    if pipes is not None:
        announce_and_wait(*pipes)


def log_and_die(count: int) -> None:
    """Writes much to standard error, the last line through logging, and is killed."""
    sys.stderr = _Quiet(sys.stderr)
    for number in range(count):
        print(f"line {number} " + "x" * 30, file=sys.stderr)
    logging.getLogger("worker_jobs").addHandler(logging.StreamHandler())
    logging.getLogger("worker_jobs").error("worker_jobs: about to die")
    os.kill(os.getpid(), signal.SIGKILL)


class _Quiet:
    """Lets a test write much without showing it: what is under the worker's own stream is a null device."""

    def __init__(self, stream: object) -> None:
        stream._stream = None  # type: ignore[attr-defined]
        self.stream = stream

    def write(self, text: str) -> int:
        return int(self.stream.write(text))  # type: ignore[attr-defined]

    def flush(self) -> None:
        """Nothing is held back."""
