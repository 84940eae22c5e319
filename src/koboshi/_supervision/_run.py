"""`run`: a program with a supervision tree, from signals to exit status.

| how it ended | exit status |
|---|---|
| `main` returned, or a signal asked for an orderly stop and got it | 0 |
| `main` raised | 1 |
| a supervisor gave up at the root | 70 |
| the orderly stop took longer than `shutdown_timeout` | 124 |
| a second signal came during the orderly stop | 128 + its number |
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import functools
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from .._kernel._errors import SupervisorGaveUp, UsageError
from .._kernel._events import Instrument
from .._kernel._node import this_node
from .._kernel._watchdog import BLOCKED_AFTER, watch

T = TypeVar("T")

EXIT_FAILURE = 1
EXIT_GAVE_UP = 70
EXIT_DEADLINE = 124

# Some programs send one request to us and to our process group: the same signal again within so many
# seconds is the same request. Nobody presses a key twice in that time.
SAME_REQUEST = 0.02


def run(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    shutdown_timeout: float = 30.0,
    watchdog: float | None = BLOCKED_AFTER,
    log_level: int | None = logging.INFO,
    instruments: tuple[Instrument, ...] = (),
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    gc_threshold: int | None = 50_000,
) -> T | None:
    """Run `main()` to its end; returns what it returned, or None after an orderly stop by a signal.

    SIGTERM and SIGINT cancel `main`, so its supervisors stop their children in reverse order.

    Args:
        shutdown_timeout: seconds that an orderly stop may take.
        watchdog: seconds after which a handler that holds the loop is reported; None turns it off.
        log_level: for `logging.basicConfig`, which leaves existing handlers alone; None leaves all alone.
        instruments: receive all events of this node.
        loop_factory: makes the event loop; by default uvloop's, if it is installed.
        gc_threshold: allocations between two runs of the young garbage collector. Messages make
            many short-lived objects that die without it; CPython's 700 would cost a cast a quarter
            of its time. None leaves it alone.

    Raises:
        SystemExit: with one of the statuses above, other than 0.
    """
    if not callable(main):
        raise UsageError(f"kb.run takes an async function, got {main!r}; pass main, not main()")
    if asyncio._get_running_loop() is not None:
        raise UsageError(
            "kb.run starts an event loop, but one is running. If that is a worker node, which imports "
            'the program for its actors, put the call of kb.run under `if __name__ == "__main__":`'
        )
    if log_level is not None:
        logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if gc_threshold is not None:
        gc.set_threshold(gc_threshold, *gc.get_threshold()[1:])
    stop = _Stop(shutdown_timeout)
    try:
        with asyncio.Runner(loop_factory=loop_factory or _default_loop()) as runner:
            return runner.run(_main(main, stop, watchdog, instruments))
    except asyncio.CancelledError:
        if stop.signal is None:
            raise
        return None
    except SupervisorGaveUp as error:
        sys.stderr.write(f"koboshi: gave up: {error}\n")
        traceback.print_exception(error.__cause__ or error)
        raise SystemExit(EXIT_GAVE_UP) from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(EXIT_FAILURE) from None
    finally:
        stop.over()


async def _main(
    main: Callable[[], Coroutine[Any, Any, T]],
    stop: _Stop,
    watchdog: float | None,
    instruments: tuple[Instrument, ...],
) -> T:
    node = this_node()
    for instrument in instruments:
        node.instruments.add(instrument)
    task = asyncio.current_task()
    assert task is not None
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # A loop puts Python's default back, and not what was there before: a handler of the
                # program's own, or SIG_IGN, which a shell gives to what it starts in the background.
                before = signal.getsignal(number)
                if before is not None:  # else it is not Python's, and cannot be put back from here
                    stack.callback(signal.signal, number, before)
                # The loop's handler only makes the signal wake the loop. Python's own is called
                # between two instructions, even of a handler that never gives the loop back.
                node.loop.add_signal_handler(number, _woken)
                signal.signal(number, functools.partial(stop.ask, task))
                stack.callback(node.loop.remove_signal_handler, number)
        if watchdog is not None:
            stack.callback(watch(node, watchdog))
        return await main()


def _woken() -> None:
    """The loop was woken by a signal, which has been dealt with."""


class _Stop:
    """An orderly stop: asked for once, with a deadline that no blocked loop can outlast."""

    def __init__(self, timeout: float) -> None:
        self.signal: int | None = None
        self._timeout = timeout
        self._asked = 0.0
        # Held from the start; free when the program has ended in time.
        self._running = _thread.allocate_lock()
        self._running.acquire()

    def ask(self, task: asyncio.Task[Any], number: int, frame: object) -> None:
        """A signal has come: the first stops in order, the second at once."""
        now = time.monotonic()
        if self.signal == number and now - self._asked < SAME_REQUEST:
            return
        if self.signal is not None:
            _leave(128 + number, f"{signal.Signals(number).name} came during the orderly stop")
        self.signal = number
        self._asked = now
        # A thread of the lowest level: this may run in the middle of anything that `threading` does.
        _thread.start_new_thread(self._keep_deadline, ())
        task.get_loop().call_soon_threadsafe(task.cancel)

    def _keep_deadline(self) -> None:
        if not self._running.acquire(timeout=self._timeout):
            _leave(EXIT_DEADLINE, f"the orderly stop took longer than {self._timeout:g} s")

    def over(self) -> None:
        """The program has ended in time."""
        self._running.release()


def _leave(status: int, why: str) -> NoReturn:
    """End the process now; it writes past `sys.stderr`, whose lock somebody may hold."""
    os.write(2, f"koboshi: {why}\n".encode())
    os._exit(status)


def _default_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
