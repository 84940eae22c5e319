"""Jobs that leave their worker, or the way back, in a bad state; each is run behind every face of a pool."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import resource
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from tests.workers import worker_jobs

import koboshi as kb
from koboshi.workers.process._journal import BASE, COMMITTED, ENDS, STARTED, Journal


class Hostile(kb.Actor):
    """Does in a handler what it is given."""

    @kb.message
    def do(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return function(*args)


def one() -> int:
    return 1


# --- what it leaves in its worker ----------------------------------------------------------------------


def fork_a_child_that_comes_back() -> int:
    """The child returns as if it were the worker."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return 1


def fork_a_child_that_stays() -> int:
    if os.fork() == 0:
        signal.pause()
    return 1


def leave_a_thread() -> int:
    threading.Thread(target=threading.Event().wait).start()
    return 1


def leave_a_daemon_thread_that_prints() -> int:
    def chatter() -> NoReturn:
        while True:
            sys.stdout.write("")

    threading.Thread(target=chatter, daemon=True).start()
    return 1


def close_standard_streams() -> int:
    for fd in (0, 1, 2):
        os.close(fd)
    return 1


def drop_standard_streams() -> int:
    sys.stdin = sys.stdout = sys.stderr = None
    return 1


def stand_in_a_folder_that_is_gone() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
    return 1


def ignore_every_signal() -> int:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return 1


def mask_every_permission() -> int:
    os.umask(0o777)
    return 1


def stop_the_clock() -> int:
    """As libraries that freeze time do."""
    time.monotonic_ns = time.time_ns = lambda: 0
    return 1


def leave_an_atexit_that_exits() -> int:
    atexit.register(exit_now)
    return 1


# --- what it raises ------------------------------------------------------------------------------------


def exit_now() -> NoReturn:
    sys.exit(5)


def exit_with_an_object() -> NoReturn:
    sys.exit(threading.Lock())  # type: ignore[arg-type]


class Base(BaseException):
    """Not an `Exception`."""


class Ends(StopIteration):
    """Cannot be put into a future as it is."""


class EndsAsync(StopAsyncIteration):
    """Nor can this."""


def raise_kind(kind: type[BaseException]) -> NoReturn:
    raise kind("from a job")


class WithHugeArguments(Exception):
    """Big, and fine otherwise."""


def raise_huge() -> NoReturn:
    raise WithHugeArguments("a" * (20 << 20))


def raise_with_a_cause_that_cannot_be_sent() -> NoReturn:
    cause = ValueError(threading.Lock())
    error = LookupError("with a cause")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error from cause


def raise_with_odd_notes() -> NoReturn:
    error = LookupError("with notes")
    error.__notes__ = [threading.Lock(), 7]  # type: ignore[list-item]
    raise error


class NeedsTwo(Exception):
    """Cannot be rebuilt."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


def raise_group() -> NoReturn:
    raise ExceptionGroup("two", [NeedsTwo(1, 2), ValueError(threading.Lock())])


def raise_base_group() -> NoReturn:
    raise BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError("v")])


class FailsWhilePacked(Exception):
    """Its own packing ends the process, hangs, or raises what is no `Exception`."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how

    def __reduce__(self) -> Any:
        return break_(self.how)

    def __str__(self) -> str:
        if self.how == "unprintable":
            raise SystemExit("no text")
        return self.how


class FailsWhileUnpacked(Exception):
    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how

    def __reduce__(self) -> Any:
        return break_, (self.how,)


def break_(how: str) -> Any:
    if how == "hang":
        while True:
            pass
    if how == "exit":
        os._exit(11)
    if how == "interrupt":
        raise KeyboardInterrupt
    raise SystemExit(how)


def raise_breaking(kind: type[Exception], how: str) -> NoReturn:
    raise kind(how)


class Breaks:
    """A result that fails where it is packed."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return break_(self.how)


def give_breaking(how: str) -> Breaks:
    return Breaks(how)


def recurse() -> NoReturn:
    recurse()
    raise AssertionError


def recurse_in_c() -> object:
    """Until the C stack is used up, or the interpreter says no."""
    sys.setrecursionlimit(1 << 30)

    def deeper(_: object) -> object:
        return list(map(deeper, (None,)))

    return deeper(None)


def give_deep() -> object:
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    return value


def give_huge() -> bytes:
    return bytes(40 << 20)


# --- how it breaks its worker's ties -------------------------------------------------------------------


def kill_own_group() -> None:
    os.killpg(0, signal.SIGKILL)


def use_up_processor_time() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    while True:
        pass


def write_to_every_socket() -> None:
    """Bytes on the worker's way back that it did not send."""
    for fd in sockets():
        os.write(fd, b"\x00\x00\x00\x03abc" * 30)
    signal.pause()


def sockets() -> list[int]:
    """Nothing else: the journal too has a descriptor, and to write there is another crash."""
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if is_socket(fd)]


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False  # it was the listing's own


def send_a_frame_of_our_own(content: object) -> None:
    """A well-formed frame that says what is not so."""
    from koboshi.wire import pack_frame
    from koboshi.wire._pickle import dumps

    frame = pack_frame(content if isinstance(content, bytes) else dumps(content), 1 << 20)
    for fd in sockets():
        os.write(fd, frame)
    signal.pause()


def overwrite_the_journal(how: str, then: Callable[[], None]) -> None:
    """As a wild pointer does, before the crash that follows."""
    for each in gc.get_objects():
        if type(each) is Journal:
            spoil(each, how)
    then()


def spoil(journal: Journal, how: str) -> None:
    words = journal.words
    done = words[STARTED] - 1
    if how in ("zeros", "ones"):
        byte = b"\0" if how == "zeros" else b"\xff"
        words.cast("B")[:] = byte * words.nbytes
        journal.data[:] = byte * len(journal.data)
    elif how == "too many":
        words[STARTED] = words[COMMITTED] = done + 1000
    else:
        # What it says of itself is right, and the result that it holds is not.
        words[BASE], words[COMMITTED] = done, done + 1
        words[ENDS] = 10 if how == "no pickle" else 1 << 40
        journal.data[:10] = b"no pickle."


def raise_cancelled() -> NoReturn:
    raise asyncio.CancelledError("cancelled in there")


def swallow_cancellation() -> None:
    """On an event loop of its own, in a thread, since an actor's has one already."""
    thread = threading.Thread(target=worker_jobs.swallow_cancellation)
    thread.start()
    thread.join()


def exit_by_signal(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pause()


def run_an_executor_inside(crash: bool) -> list[int]:
    """Nested workers, with a crash among them."""
    with kb.Executor(1) as inner:
        if crash:
            error = inner.submit(os._exit, 4).exception(timeout=30)
            assert isinstance(error, kb.WorkerCrashed), error
        return list(inner.map(abs, [-1, -2], timeout=30))


def leave_an_executor_inside() -> int:
    inner = kb.Executor(1)
    INNER.append(inner)
    return inner.submit(abs, -1).result(timeout=30)


INNER: list[kb.Executor] = []
