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

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._errors import SupervisorGaveUp, UsageError
from ._events import Instrument
from ._node import this_node
from ._watchdog import BLOCKED_AFTER, watch

T = TypeVar("T")

EXIT_FAILURE = 1
EXIT_GAVE_UP = 70
EXIT_DEADLINE = 124


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
                node.loop.add_signal_handler(number, stop.ask, number, task)
                stack.callback(node.loop.remove_signal_handler, number)
        if watchdog is not None:
            stack.callback(watch(node, watchdog))
        return await main()


class _Stop:
    """An orderly stop: asked for once, with a deadline that no blocked loop can outlast."""

    def __init__(self, timeout: float) -> None:
        self.signal: int | None = None
        self._timeout = timeout
        self._deadline: threading.Timer | None = None

    def ask(self, number: int, task: asyncio.Task[Any]) -> None:
        """The first signal stops in order, the second at once."""
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        self._deadline = threading.Timer(self._timeout, os._exit, (EXIT_DEADLINE,))
        self._deadline.daemon = True
        self._deadline.start()
        task.cancel()

    def over(self) -> None:
        """The program has ended in time."""
        if self._deadline is not None:
            self._deadline.cancel()


def _default_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
