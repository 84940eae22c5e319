"""Virtual time: an event loop whose clock jumps to the next timer when nothing else is left to do.

Whatever waits for timers and messages costs no time at all, and happens in the order of its deadlines on
every machine. What is really outside of the loop (a socket, a subprocess, a job of an executor) takes as
long as it takes: while the loop knows of such a thing its clock runs with the real one and never jumps.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from time import CLOCK_BOOTTIME, clock_gettime, monotonic, time
from typing import Any, Literal, ParamSpec, TypeVar

from .._kernel._errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

# What the clock shows at first: a number that nobody takes for a duration.
START = 1000.0


class _Selector(selectors.DefaultSelector):
    """Polls, and moves the loop's clock by what would have been waited."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        loop = self.loop
        if loop.real_operations and loop.autojump:
            return self._wait(timeout)
        room = None if loop.autojump else loop.until - loop.now
        if timeout is None or (room is not None and room <= 0):
            # Nothing may move the clock: only what is outside of the loop could go on.
            loop.refuse_to_hang(timers=timeout is not None)
            return super().select(None)
        loop.now += timeout if room is None else min(timeout, room)
        return ready

    def _wait(self, timeout: float | None) -> Any:
        """Wait as any loop does, with the clock running."""
        began = monotonic()
        ready = super().select(timeout)
        self.loop.now += monotonic() - began
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop whose `time()` is virtual and starts at 1,000 s.

    Args:
        autojump: the clock jumps by itself; without, only `advance` moves it.
        real: `"wait"` for sockets, subprocesses and executors, or `"refuse"` them with a `UsageError`.
    """

    # Until `__init__` has made it one to close: a refused option leaves nothing behind.
    _closed = True

    def __init__(self, *, autojump: bool = True, real: Literal["wait", "refuse"] = "wait") -> None:
        if not isinstance(autojump, bool):
            raise UsageError(f"autojump must be True or False, got {autojump!r}")
        if real not in ("wait", "refuse"):
            raise UsageError(f'real must be "wait" or "refuse", got {real!r}')
        self.now = START
        # The clocks of the machine when this one showed 0.
        self._wall = time() - START
        self._boot = clock_gettime(CLOCK_BOOTTIME) - START
        self.autojump = autojump
        # How far `advance` lets the clock go.
        self.until = START
        self.real = real
        self._outside = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        # The loop's own: how threads wake it.
        self._watching = selector
        self._own_files = len(selector.get_map())

    def time(self) -> float:
        return self.now

    def wall_time(self) -> float:
        """Seconds since the epoch: from now on in the pace of this loop's clock. Stores on this machine go by it."""
        return self._wall + self.now

    def lease_time(self) -> float:
        """The clock of such a store's leases, in the same pace."""
        return self._boot + self.now

    @property
    def real_operations(self) -> int:
        """Things in progress that take real time: watched files, executor jobs, subprocesses."""
        files = len(self._watching.get_map() or ())
        return self._outside + max(0, files - self._own_files)

    @contextmanager
    def real_operation(self) -> Generator[None]:
        """Something that the loop cannot see, such as a thread of one's own, is in progress meanwhile."""
        self._begin("a real operation")
        try:
            yield
        finally:
            self._outside -= 1

    def refuse_to_hang(self, *, timers: bool) -> None:
        """Raise `UsageError` where nobody is left who could wake this loop: no other thread, no signal."""
        if self.real_operations or threading.active_count() > 1 or vars(self)["_signal_handlers"]:
            return
        raise UsageError(
            "the test waits for a timer, and autojump=False leaves the clock to `await clock().advance(...)`"
            if timers
            else "the test waits for something that nobody is left to do: there is no timer, no mail and no "
            "other thread, so it would wait for ever"
        )

    async def advance(self, seconds: float) -> None:
        """Move the clock, timer by timer; each one's consequences are over before the next is due.

        Raises:
            UsageError: `seconds` is negative, or the clock jumps by itself.
        """
        if not seconds >= 0:
            raise UsageError(f"advance takes seconds >= 0, got {seconds!r}")
        if self.autojump:
            raise UsageError("advance needs a loop with autojump=False; this one's clock jumps by itself")
        target = self.now + seconds
        self.until = max(self.until, target)
        reached: asyncio.Future[None] = self.create_future()
        self.call_at(target, reached.set_result, None)
        await reached
        from ._idle import wait_idle

        await wait_idle()

    def _begin(self, what: str) -> None:
        if self.real == "refuse":
            raise UsageError(f'{what} takes real time, and this loop was made with real="refuse"')
        self._outside += 1

    def _end(self) -> None:
        self._outside -= 1

    # -- what takes real time ----------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        self._begin("run_in_executor")
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self._end()
            raise
        future.add_done_callback(lambda _: self._end())
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        # From Python 3.12 on it has a limit, which a clock that jumps would reach at once.
        self._outside += 1
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._end()

    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        self._see_file(fd)
        return super()._add_reader(fd, callback, *args)  # type: ignore[misc]

    def _add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:
        self._see_file(fd)
        return super()._add_writer(fd, callback, *args)  # type: ignore[misc]

    def _see_file(self, fd: Any) -> None:
        # While the loop is being made it adds its own.
        if self.real == "refuse" and hasattr(self, "_own_files"):
            raise UsageError(f'waiting for {fd!r} takes real time, and this loop was made with real="refuse"')

    async def _make_subprocess_transport(self, *args: Any, **kwargs: Any) -> Any:
        self._begin("a subprocess")
        try:
            return await super()._make_subprocess_transport(*args, **kwargs)  # type: ignore[misc]
        except BaseException:
            self._end()
            raise

    def _child_watcher_callback(self, pid: int, returncode: int, transp: Any) -> None:
        super()._child_watcher_callback(pid, returncode, transp)  # type: ignore[misc]
        self.call_soon_threadsafe(self._end)


def run_virtual(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    autojump: bool = True,
    real: Literal["wait", "refuse"] = "wait",
) -> T:
    """Run `main()` to its end in virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(autojump=autojump, real=real)) as runner:
        return runner.run(main())


def virtual_time(
    *, autojump: bool = True, real: Literal["wait", "refuse"] = "wait"
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]:
    """Make a plain test of an async one: it runs in virtual time, whatever plugin runs the others."""

    def decorate(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
        if not inspect.iscoroutinefunction(test):
            raise UsageError(f"virtual_time() decorates an async def test, got {test!r}")

        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            return run_virtual(lambda: test(*args, **kwargs), autojump=autojump, real=real)

        return run

    return decorate


def clock() -> VirtualLoop:
    """The virtual loop that runs here: `clock().time()`, `await clock().advance(3)`.

    Raises:
        UsageError: time is real here.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        return loop
    raise UsageError(f"time is real on {loop!r}; decorate the test with @virtual_time()")
