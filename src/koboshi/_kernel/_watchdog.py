"""What stands in for preemption: a thread that sees a handler hold the loop, and may end it.

The thread looks at the node's tick a few times per threshold. The same tick with a process running
means that one turn or step has been going on since the last look. Pure Python code can also be
interrupted: an actor class with `max_handler_time` has `HandlerTimeout` raised in its handler. What
blocks in C cannot be interrupted from inside a process; it is only named.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from ._errors import HandlerTimeout
from ._events import LoopBlocked
from ._message import Entry, describe

if TYPE_CHECKING:
    from ._node import Node

BLOCKED_AFTER = 0.1
LOOKS_PER_THRESHOLD = 4


class Guard:
    """One run of a handler that may be interrupted.

    The lock makes "it is over" and "interrupt it" exclude each other, so that an interruption never
    hits what runs after the handler.
    """

    __slots__ = ("due", "fired", "limit", "lock", "over")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.due = time.monotonic() + limit
        self.lock = threading.Lock()
        self.over = self.fired = False

    def finish(self) -> None:
        """The handler is over. Should the interruption be on its way, it arrives in here."""
        with self.lock:
            self.over = True
        if self.fired:
            # The interpreter delivers at the next call or jump; give it some.
            for _ in range(100):
                time.monotonic()


class Watchdog:
    """The thread of one node. It runs while somebody has asked for it."""

    def __init__(self, node: Node, threshold: float) -> None:
        self.threshold = threshold
        self.users = 0
        self.blocked = 0
        self._node = node
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.guard: Guard | None = None

    def start(self) -> None:
        """Start looking."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._look, name="koboshi-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until the thread is gone."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _look(self) -> None:
        # One turn may handle many messages, so one long message is the same tick and the same item.
        seen: tuple[int, Any] = -1, None
        since, reported = 0.0, False
        while not self._stop.wait(self.threshold / LOOKS_PER_THRESHOLD):
            now = time.monotonic()
            guard = self.guard
            if guard is not None and now >= guard.due:
                self._interrupt(guard)
            tick, item = self._node.tick, self._node.item
            if self._node.current is None or tick != seen[0] or item is not seen[1]:
                seen = tick, item
                since, reported = now, False
            elif not reported and now - since >= self.threshold:
                reported = True
                self._report(now - since)

    def _report(self, seconds: float) -> None:
        node = self._node
        cell, item = node.current, node.item
        frame = sys._current_frames().get(node.thread)
        if cell is None or item is None or frame is None:
            return
        stack = "".join(traceback.format_stack(frame))
        task = cell.task  # after a call on its stack, `node.item` is still the callee's
        message: Any = item[0] if task is None else task.item[0]
        shown = message.name if isinstance(message, Entry) else describe(message)
        self.blocked += 1
        node.instruments.emit(LoopBlocked(cell.label(), shown, seconds, stack))

    def _interrupt(self, guard: Guard) -> None:
        with guard.lock:
            if guard.over:
                return
            guard.fired = True
            # Code that catches every `Exception` in a loop is interrupted again, and again.
            guard.due += guard.limit
            set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
            set_error(ctypes.c_ulong(self._node.thread), ctypes.py_object(HandlerTimeout))


def watchdog_of(node: Node) -> Watchdog:
    """The node's watchdog, running or not."""
    dog: Watchdog | None = node.services.get("watchdog")
    if dog is None:
        dog = node.services["watchdog"] = Watchdog(node, BLOCKED_AFTER)
    return dog


def watch(node: Node, threshold: float | None = None) -> Callable[[], None]:
    """Have the node watched; the function returned ends this request."""
    dog = watchdog_of(node)
    if threshold is not None:
        dog.threshold = threshold
    dog.users += 1
    if dog.users == 1:
        dog.start()
    done = False

    def unwatch() -> None:
        nonlocal done
        if not done:
            done = True
            dog.users -= 1
            if dog.users == 0:
                dog.stop()

    return unwatch


def guarded(run: Callable[..., Any], limit: float, node_of: Callable[[], Node]) -> Callable[..., Any]:
    """A handler that is interrupted when it holds the loop for more than `limit` seconds at a stretch."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        result = stretch(run, *args, **kwargs)
        if result.__class__ is types.CoroutineType:
            return steps(result)
        return result

    def stretch(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            dog = watchdog_of(node_of())
        except RuntimeError:  # called as an ordinary object, without a loop
            return fn(*args, **kwargs)
        # A handler may call another on its own stack: the outer one's time runs on, and it is looked
        # at again when the inner one is over.
        outer = dog.guard
        guard = dog.guard = Guard(limit)
        try:
            return fn(*args, **kwargs)
        finally:
            try:
                guard.finish()
            finally:
                dog.guard = outer

    async def steps(coro: Coroutine[Any, Any, Any]) -> Any:
        return await _each(coro)

    @types.coroutine
    def _each(coro: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            yielded = stretch(coro.send, None)
            while True:
                try:
                    value = yield yielded
                except GeneratorExit:
                    coro.close()
                    raise
                except BaseException as error:
                    yielded = stretch(coro.throw, error)
                else:
                    yielded = stretch(coro.send, value)
        except StopIteration as end:
            return end.value

    handler.__name__ = run.__name__
    handler.__qualname__ = run.__qualname__
    return handler
