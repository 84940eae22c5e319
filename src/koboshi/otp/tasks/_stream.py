"""`task_stream`: a function over many items, a few at a time, each in a task of its own.

A place is free again when its task is over and not when its outcome is taken, so a slow head holds up nobody;
but what has piled up behind it is bounded, and then nothing more is started. Items are taken from their
source when there is a place for them, no sooner.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from typing import Any, Literal, TypeVar, overload

from ..._kernel._errors import CallTimeout, UsageError
from ..._kernel._lifecycle import gone
from ..._kernel._reasons import Exited
from ..._supervision._options import one_of, seconds, whole
from ._outcome import Failed, Outcome
from ._task import DEFAULT_TIMEOUT, Task, begin

__all__ = ["Items", "OnTimeout", "stream_of", "task_stream"]

I = TypeVar("I")  # noqa: E741, an item
T = TypeVar("T")

Items = Iterable[I] | AsyncIterable[I]
OnTimeout = Literal["exit", "kill"]
# Starts the task of one item.
Start = Callable[[Any], Awaitable[Task[Any]]]

# How many outcomes may wait behind a slow head, by default, for each task that may run.
_BUFFER_PER_TASK = 4
_OVER = object()


@overload
def task_stream(
    fn: Callable[[I], Coroutine[Any, Any, T]],
    items: Items[I],
    /,
    *,
    max_concurrency: int | None = None,
    ordered: bool = True,
    timeout: float | None = DEFAULT_TIMEOUT,
    on_timeout: OnTimeout = "exit",
    buffer: int | None = None,
    link: bool = True,
) -> AsyncGenerator[Outcome[T], None]: ...
@overload
def task_stream(
    fn: Callable[[I], T],
    items: Items[I],
    /,
    *,
    max_concurrency: int | None = None,
    ordered: bool = True,
    timeout: float | None = DEFAULT_TIMEOUT,
    on_timeout: OnTimeout = "exit",
    buffer: int | None = None,
    link: bool = True,
) -> AsyncGenerator[Outcome[T], None]: ...
def task_stream(
    fn: Callable[[Any], Any],
    items: Items[Any],
    /,
    *,
    max_concurrency: int | None = None,
    ordered: bool = True,
    timeout: float | None = DEFAULT_TIMEOUT,
    on_timeout: OnTimeout = "exit",
    buffer: int | None = None,
    link: bool = True,
) -> AsyncGenerator[Outcome[Any], None]:
    """`fn(item)` for each item, `max_concurrency` at a time: an async iterator over `Ok` and `Failed`.

    Leaving the loop, or `aclose`, kills what runs. So does the end of the process that has the loop.

    Args:
        fn: an async function, or a plain one that does not block.
        items: any iterable, async ones too; it may be endless, an item is taken when it can be started.
        max_concurrency: tasks at a time; by default as many as this process may use processors.
        ordered: outcomes in the order of their items (default), or as they come.
        timeout: seconds that one item may take from its start, 5 by default; None for ever.
        on_timeout: "exit" (default) raises `CallTimeout` in the loop; "kill" ends that item's task alone,
            whose outcome is `Failed(Exited("timeout"))`.
        buffer: outcomes that may wait to be taken before no further item is started, four for each task
            that may run by default.
        link: whether a crash of a task ends this process; without it, it is an outcome.

    Raises:
        UsageError: an option has no such value.
    """

    async def start(item: Any) -> Task[Any]:
        return begin(fn, (item,), {}, link=link)

    if not callable(fn):
        raise UsageError(f"task_stream takes a function and then the items, got {fn!r}")
    return stream_of(start, items, max_concurrency, ordered, timeout, on_timeout, buffer)


def stream_of(
    start: Start,
    items: Items[Any],
    max_concurrency: int | None,
    ordered: bool,
    timeout: float | None,
    on_timeout: OnTimeout,
    buffer: int | None,
) -> AsyncGenerator[Outcome[Any], None]:
    """The stream of tasks that `start` begins; see `task_stream`."""
    processors = len(os.sched_getaffinity(0))
    most = whole("max_concurrency", processors if max_concurrency is None else max_concurrency, 1)
    behind = whole("buffer", most * _BUFFER_PER_TASK if buffer is None else buffer, 0)
    seconds("timeout", timeout, none=True)
    one_of("on_timeout", on_timeout, ("exit", "kill"))
    kind: type[_Flow] = _InOrder if ordered else _AsTheyCome
    return _run(kind(start, _source(items), most, behind, timeout, on_timeout))


async def _run(flow: _Flow) -> AsyncGenerator[Outcome[Any], None]:
    try:
        while True:
            await flow.fill()
            if flow.error is not None:
                raise flow.error
            if flow.has_next():
                yield flow.take_next()
            elif flow.running or not flow.source.over:
                await flow.change()
            else:
                return
    finally:
        await flow.close()


class _Flow:
    """What runs, what has come, and what is still to be started."""

    def __init__(
        self,
        start: Start,
        source: _Source | _AsyncSource,
        most: int,
        buffer: int,
        timeout: float | None,
        on_timeout: OnTimeout,
    ) -> None:
        self.source = source
        # By the number of its item.
        self.running: dict[int, Task[Any]] = {}
        # Raised to the loop instead of a further outcome.
        self.error: Exception | None = None
        self._start = start
        self._most = most
        self._buffer = buffer
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._items: dict[int, Any] = {}
        self._started = 0
        self._changed: asyncio.Future[None] | None = None
        source.on_item = self._wake

    # How outcomes wait to be taken.

    def keep(self, number: int, outcome: Outcome[Any]) -> None:
        raise NotImplementedError

    def has_next(self) -> bool:
        raise NotImplementedError

    def take_next(self) -> Outcome[Any]:
        raise NotImplementedError

    def waiting(self) -> int:
        raise NotImplementedError

    async def fill(self) -> None:
        """Start tasks while there are places, and items at hand."""
        while (
            len(self.running) < self._most
            and len(self.running) + self.waiting() < self._most + self._buffer
            and self.error is None
        ):
            item = self.source.take()
            if item is _OVER:
                return
            number = self._started
            self._started += 1
            task = await self._start(item)
            self.running[number] = task
            self._items[number] = item
            if self._timeout is not None:
                loop = asyncio.get_running_loop()
                self._timers[number] = loop.call_later(self._timeout, self._expire, number)
            task.when_done(lambda task, number=number: self._came(number, task))  # type: ignore[misc]

    async def change(self) -> None:
        """Wait until a task is over, an item has come, or an error has."""
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _came(self, number: int, task: Task[Any]) -> None:
        if self.running.pop(number, None) is None:
            return
        item = self._items.pop(number)
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()
        outcome = task._outcome
        assert outcome is not None
        self.keep(number, Failed(outcome.reason, item) if isinstance(outcome, Failed) else outcome)
        self._wake()

    def _expire(self, number: int) -> None:
        task = self.running.get(number)
        if task is None:
            return
        task.end()
        if self._on_timeout == "kill":
            task.settle(Failed(Exited("timeout")))
        elif self.error is None:
            assert self._timeout is not None
            what = f"item {number} of the stream"
            self.error = CallTimeout(task._label(), what, self._timeout, maybe_executed=True)
            self._wake()

    async def close(self) -> None:
        """End what runs, and the reading of items; nothing of it runs on return."""
        tasks, self.running = list(self.running.values()), {}
        for timer in self._timers.values():
            timer.cancel()
        ended = [task.end() for task in tasks]
        await self.source.close()
        for cell in ended:
            await gone(cell)


class _InOrder(_Flow):
    """Outcomes wait for those of earlier items."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ready: dict[int, Outcome[Any]] = {}
        self._head = 0

    def keep(self, number: int, outcome: Outcome[Any]) -> None:
        self._ready[number] = outcome

    def has_next(self) -> bool:
        return self._head in self._ready

    def take_next(self) -> Outcome[Any]:
        self._head += 1
        return self._ready.pop(self._head - 1)

    def waiting(self) -> int:
        return len(self._ready)


class _AsTheyCome(_Flow):
    """Outcomes wait for nobody but their taker."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ready: deque[Outcome[Any]] = deque()

    def keep(self, number: int, outcome: Outcome[Any]) -> None:
        self._ready.append(outcome)

    def has_next(self) -> bool:
        return bool(self._ready)

    def take_next(self) -> Outcome[Any]:
        return self._ready.popleft()

    def waiting(self) -> int:
        return len(self._ready)


def _source(items: Items[Any]) -> _Source | _AsyncSource:
    if isinstance(items, AsyncIterable):
        return _AsyncSource(aiter(items))
    if isinstance(items, Iterable):
        return _Source(iter(items))
    raise UsageError(f"task_stream takes an iterable of items, or an async one, got {items!r}")


class _Source:
    """Items of a plain iterable, taken one by one."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.over = False
        self.on_item: Callable[[], object] = int
        self._items = items

    def take(self) -> Any:
        """The next item, or `_OVER` when there is none now; `over` says whether there ever will be."""
        item = next(self._items, _OVER)
        self.over = item is _OVER
        return item

    async def close(self) -> None:
        """Nothing is under way."""


class _AsyncSource:
    """Items of an async iterable, at most one ahead, fetched by one asyncio task from first to last.

    One task, because a generator may hold a cancel scope or a connection over its `yield`.
    """

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self.over = False
        self.on_item: Callable[[], object] = int
        self._items = items
        self._task: asyncio.Task[None] | None = None
        self._item: Any = _OVER
        self._error: BaseException | None = None
        self._wanted = asyncio.Event()

    def take(self) -> Any:
        """As of a plain source. Raises what the iterable raised, in its turn."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._fetch())
        item, self._item = self._item, _OVER
        if item is _OVER and self._error is not None:
            error, self._error = self._error, None
            raise error
        if not self.over:
            self._wanted.set()
        return item

    async def _fetch(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                self._item = await anext(self._items)
                self.on_item()
        except StopAsyncIteration:
            self.over = True
        except Exception as error:  # raised where the items are used, by `take`
            self._error = error
        self.on_item()

    async def close(self) -> None:
        """Stop the fetching, and close a generator."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        aclose = getattr(self._items, "aclose", None)
        if aclose is not None:
            await aclose()
