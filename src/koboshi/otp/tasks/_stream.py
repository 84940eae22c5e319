"""`task_stream`: a function over a stream of items, each in a task of its own."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from threading import get_ident
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, overload

from ..._kernel._cell import NO_KWARGS, Cell
from ..._kernel._errors import UsageError
from ..._kernel._node import Node
from ..._kernel._process import begin, class_of
from ..._kernel._processors import processors
from ..._supervision._options import whole
from ._body import run_item
from ._engine import Engine, Entry, OnTimeout, Start, StreamOptions, StreamStatistics
from ._options import function, seconds_or_none
from ._outcomes import Outcome
from ._source import kind_of

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741, an item
TT = TypeVar("TT", covariant=True)


class TaskStream(Generic[TT]):
    """An asynchronous iterator over outcomes; made by `task_stream` and by `tasks(...).stream`.

    Leaving the loop kills what still runs. `aclose`, and the end of an `async with`, also wait until
    it is gone.
    """

    __slots__ = ("__weakref__", "_engine")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Outcome[TT]]:
        return self._engine.step(self)

    async def aclose(self) -> None:
        """Take no more items, kill what runs, and wait until it is gone. Twice is the same as once."""
        self._engine.halt()
        await self._engine.wait_gone()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> StreamStatistics:
        """Its figures now."""
        return self._engine.statistics()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None or engine.over or engine.node is None or engine.node.loop.is_closed():
            return
        if get_ident() == engine.node.thread:
            engine.halt()
        else:
            engine.node.loop.call_soon_threadsafe(engine.halt)

    def __repr__(self) -> str:
        return f"<TaskStream {self._engine!r}>"


@overload
def task_stream(
    items: Iterable[I] | AsyncIterable[I],
    fn: Callable[[I], Coroutine[Any, Any, T]],
    /,
    *,
    max_concurrency: int | None = None,
    ordered: bool = True,
    timeout: float | None = 5.0,
    on_timeout: OnTimeout = "exit",
    buffer: int | None = None,
) -> TaskStream[T]: ...
@overload
def task_stream(
    items: Iterable[I] | AsyncIterable[I],
    fn: Callable[[I], T],
    /,
    *,
    max_concurrency: int | None = None,
    ordered: bool = True,
    timeout: float | None = 5.0,
    on_timeout: OnTimeout = "exit",
    buffer: int | None = None,
) -> TaskStream[T]: ...
def task_stream(
    items: Any,
    fn: Callable[[Any], Any],
    /,
    *,
    max_concurrency: int | None = None,
    ordered: bool = True,
    timeout: float | None = 5.0,
    on_timeout: OnTimeout = "exit",
    buffer: int | None = None,
) -> TaskStream[Any]:
    """Run `fn(item)`, async or plain, for each item in a task of its own; iterate over the outcomes.

    The tasks are as if linked to whoever iterates: the crash of one ends a process that does not trap
    exits, is an outcome in its place in one that does, and is raised from the iterator in plain asyncio
    code. Items are taken, and tasks started, by the iteration alone.

    Args:
        items: an iterable, or an asynchronous one; it may be without end. Its own failure comes last.
        max_concurrency: tasks that run at the same time; by default the processors that this process may use.
        ordered: outcomes in the order of the items (default), or as they come.
        timeout: seconds for each item from the start of its task, 5 by default; None is none.
        on_timeout: "exit" (default) raises `CallTimeout` from the iterator and ends the stream; "kill"
            kills that task alone, and its outcome is `Failed(Killed(...), item)` in its place.
        buffer: items that may be taken beyond `max_concurrency` while their outcomes wait behind a
            slower one; twice `max_concurrency` by default.

    Raises:
        UsageError: an option has no such value. By iterating:
        CallTimeout: an item took longer than `timeout`.
        ActorExited: an item failed, in plain asyncio code.
        NotTaskOwner: another process has begun to iterate.
    """
    options = read_options(max_concurrency, ordered, timeout, on_timeout, buffer, linked=True)
    return stream_of(items, fn, options, start_here)


def start_here(node: Node, owner: Cell | None, fn: Callable[[Any], Any], item: Any) -> Entry:
    """Start the task of an item on this node."""
    cell = Cell(node, class_of(fn), owner)
    entry = Entry(cell, fn, 0.0, item)
    entry.hear_last()
    begin(cell, run_item(entry, fn, item), fn, (item,), NO_KWARGS)
    return entry


def stream_of(items: Any, fn: Any, options: StreamOptions, start: Start) -> TaskStream[Any]:
    """A stream that has not begun."""
    function("a stream", fn)
    kind_of(items)
    return TaskStream(Engine(items, fn, options, start))


def read_options(
    max_concurrency: int | None,
    ordered: bool,
    timeout: float | None,
    on_timeout: Literal["exit", "kill"],
    buffer: int | None,
    *,
    linked: bool,
) -> StreamOptions:
    """Check the options and fill in their defaults."""
    if max_concurrency is None:
        max_concurrency = processors()
    whole("max_concurrency", max_concurrency, 1)
    if buffer is None:
        buffer = 2 * max_concurrency
    whole("buffer", buffer, 0)
    given: object = ordered
    if not isinstance(given, bool):
        raise UsageError(f"ordered takes True or False, got {ordered!r}")
    seconds_or_none("timeout", timeout)
    if on_timeout not in ("exit", "kill"):
        raise UsageError(f"on_timeout is 'exit' or 'kill', got {on_timeout!r}")
    return StreamOptions(max_concurrency, ordered, timeout, on_timeout, buffer, linked)
