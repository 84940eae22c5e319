"""`jobs`: how functions are run in a pool, from actors and from plain asyncio code alike."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from threading import get_ident
from typing import Any, Literal, ParamSpec, TypeVar, overload

from ..._kernel._calls import check_within, deadline_of
from ..._kernel._cell import DEAD
from ..._kernel._errors import NotRunning, UsageError, WrongThread
from ..._kernel._node import Node
from ..._kernel._ref import ActorRef
from ..._supervision._options import whole
from ...wire._keys import Key, key_number
from ._engine import Engine
from ._pool import Pool
from ._pool_executor import PoolExecutor
from ._stream import Stream, StreamTaker, UnorderedStreamTaker
from ._takers import MapTaker, OrderedTaker, Results

__all__ = ["Jobs", "jobs"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

WhenFull = Literal["raise", "wait"]


class Jobs:
    """Runs functions in the workers of a pool; made by `jobs`.

    It keeps nothing but the pool's address, so it survives the pool's restarts as far as the ref does.
    """

    __slots__ = ("_key", "_ref", "_retries", "_when_full", "_within")

    def __init__(
        self,
        ref: ActorRef[Pool],
        retries: int | None = None,
        within: float | None = None,
        when_full: WhenFull = "raise",
        key: int | None = None,
    ) -> None:
        self._ref = ref
        self._key = key
        self._retries = retries
        self._within = within
        self._when_full: WhenFull = when_full

    def within(self, seconds: float | None) -> Jobs:
        """The same pool with a deadline for each `call`, in seconds; None, the default, is none.

        A job that waits is dropped then; the worker that is still running it is killed and replaced.
        """
        check_within(seconds)
        return Jobs(self._ref, self._retries, seconds, self._when_full, self._key)

    def by_key(self, key: Key) -> Jobs:
        """The same pool with a key for all jobs: those of one key run in one worker, one by one and in order.

        It is always the worker at the same place, also after a restart of it; jobs that it had not begun
        wait for its successor. Keys are numbers, strings, bytes, UUIDs, None and tuples of these. For pools
        with `strategy="by_key"`.
        """
        return Jobs(self._ref, self._retries, self._within, self._when_full, key_number(key))

    def options(self, *, retries: int | None = None, when_full: WhenFull | None = None) -> Jobs:
        """The same pool with other options; those not named stay.

        Args:
            retries: how often a job is started again after a crash of its worker; by default as the
                pool says. Only for jobs that may safely run more than once.
            when_full: what `call` does while the pool's queue is full: "raise" (default) or "wait".
        """
        if retries is not None:
            whole("retries", retries, 0)
        if when_full not in (None, "raise", "wait"):
            raise UsageError(f"when_full is 'raise' or 'wait', got {when_full!r}")
        return Jobs(
            self._ref,
            self._retries if retries is None else retries,
            self._within,
            self._when_full if when_full is None else when_full,
            self._key,
        )

    @overload
    async def call(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(*args, **kwargs)` in a worker and return its result; coroutines need `max_concurrency`.

        A caller that is under a deadline itself, as a handler is, gives up with it.

        Raises:
            Exception: what the function raised, with its remote traceback as `__cause__`.
            WorkerCrashed: the worker died while it ran this; as `JobTimeout` when it was killed for running
                too long, as `Quarantined` when this job has killed too many.
            CallTimeout: it was not done by its deadline.
            NotPicklable, FrameTooLarge, ResultNotPicklable: it cannot be sent there or back.
            JobQueueFull: the pool has as many jobs as it may.
            NotRunning, ActorExited: there is no pool, or it ended first.
        """
        node, pool, engine = self._pool(fn)
        inherited = deadline_of(node.current)
        own = None if self._within is None else node.loop.time() + self._within
        both = [each for each in (own, inherited) if each is not None]
        deadline = min(both) if both else None
        return await engine.call(
            fn,
            args,
            kwargs,
            retries=pool.retries if self._retries is None else self._retries,
            wait=self._when_full == "wait",
            deadline=deadline,
            kill=own is not None and deadline == own,
            key=self._key,
        )

    @overload
    def map_unordered(
        self, fn: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T], /, *, ahead: int | None = None
    ) -> Results[R]: ...
    @overload
    def map_unordered(
        self, fn: Callable[[T], R], items: Iterable[T], /, *, ahead: int | None = None
    ) -> Results[R]: ...
    def map_unordered(
        self, fn: Callable[[T], Any], items: Iterable[T], /, *, ahead: int | None = None
    ) -> Results[Any]:
        """Run `fn(item)` for each item; iterate over the results as they come.

        A failed job raises from the iterator at its place, and iterating on goes on. At most `ahead`
        items are taken and not consumed as results yet, 2,048 per worker by default.
        """
        return Results(self._map(MapTaker, fn, items, ahead))

    @overload
    def map(
        self, fn: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T], /, *, ahead: int | None = None
    ) -> Results[R]: ...
    @overload
    def map(self, fn: Callable[[T], R], items: Iterable[T], /, *, ahead: int | None = None) -> Results[R]: ...
    def map(self, fn: Callable[[T], Any], items: Iterable[T], /, *, ahead: int | None = None) -> Results[Any]:
        """Like `map_unordered`, with the results in the order of the items."""
        return Results(self._map(OrderedTaker, fn, items, ahead))

    @overload
    def stream(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        ahead: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Stream[R]: ...
    @overload
    def stream(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        ahead: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[True],
    ) -> Stream[R | Exception]: ...
    @overload
    def stream(
        self,
        fn: Callable[[T], R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        ahead: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Stream[R]: ...
    @overload
    def stream(
        self,
        fn: Callable[[T], R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        ahead: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[True],
    ) -> Stream[R | Exception]: ...
    def stream(
        self,
        fn: Callable[..., Any],
        items: Any,
        /,
        *,
        ahead: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Stream[Any]:
        """Run `fn(item)` for each item of a source that may be asynchronous, lazy and without end.

        Left early or dropped, it cancels the jobs that no worker has; `async with` and `aclose` do so
        at once. A failure of the source comes last, at its place.

        Args:
            ahead: items that are taken and not consumed as results yet, 2,048 per worker by default:
                in flight, ready, and waiting behind a slow one.
            ordered: results in the order of the items (default), or as they come.
            return_exceptions: yield the error of a failed job in place of its result. By default it is
                raised there, and iterating on goes on.
        """
        kind: type[StreamTaker[Any]] = StreamTaker if ordered else UnorderedStreamTaker
        if not (hasattr(items, "__aiter__") or hasattr(items, "__iter__")):
            raise UsageError(f"a stream takes an iterable or an asynchronous one, got {items!r}")
        engine, retries = self._for_map(fn, ahead)
        taker, halt = engine.stream(kind, fn, items, ahead, retries, self._key)
        return Stream(taker, halt, return_exceptions)

    def as_executor(self) -> PoolExecutor:
        """The same pool as a `concurrent.futures.Executor`, for other threads and for libraries.

        The pool stays its supervisor's: a shutdown of the executor does not end it.
        """
        if self._within is not None:
            raise UsageError("within is for call: an executor's futures have timeouts of their own")
        if self._key is not None:
            raise UsageError("by_key is for call and maps: the jobs of an executor go to any worker")
        node, pool, engine = self._pool(self)
        retries = pool.retries if self._retries is None else self._retries
        return PoolExecutor(
            node,
            lambda what: self._pool(what)[2],
            repr(self._ref),
            retries=retries,
            limit=engine.frame_limit,
        )

    def _map(
        self, kind: type[MapTaker[Any]], fn: Any, items: Iterable[Any], ahead: int | None
    ) -> MapTaker[Any]:
        engine, retries = self._for_map(fn, ahead)
        return engine.map(kind, fn, items, ahead, retries, self._key)

    def _for_map(self, fn: Any, ahead: int | None) -> tuple[Engine, int]:
        if self._within is not None:
            raise UsageError(
                "within is for call: a map has no deadline of its own; use asyncio.timeout around it"
            )
        if ahead is not None:
            whole("ahead", ahead, 1)
        _, pool, engine = self._pool(fn)
        return engine, pool.retries if self._retries is None else self._retries

    def _pool(self, fn: object) -> tuple[Node, Pool, Engine]:
        """The pool that is meant now; jobs go to it directly and cost it no message."""
        cell = self._ref._target()
        node, pool = cell.node, cell.actor
        if get_ident() != node.thread:
            raise WrongThread(
                "jobs are given to a pool on its event loop's thread; hand them to an actor there"
            )
        engine = getattr(pool, "engine", None)
        if cell.state == DEAD or engine is None:
            raise NotRunning(repr(self._ref), getattr(fn, "__qualname__", repr(fn)))
        if self._key is not None and not engine.keyed:
            raise UsageError('by_key is for pools with strategy="by_key": add it to kb.pool(...)')
        return node, pool, engine

    def __repr__(self) -> str:
        return f"<Jobs of {self._ref!r}>"


def jobs(pool: ActorRef[Pool]) -> Jobs:
    """Run functions in a pool: `jobs = kb.jobs(tree.ref(kb.Pool, "pool"))`, then `await jobs.call(fn, 1)`.

    Raises:
        UsageError: the ref is not one to a pool.
    """
    if not isinstance(pool, ActorRef):
        raise UsageError(f'jobs takes a ref to a pool, such as tree.ref(kb.Pool, "pool"), got {pool!r}')
    cls = pool._target().info.cls
    if not (isinstance(cls, type) and issubclass(cls, Pool)):
        raise UsageError(f"jobs takes a ref to a pool, got {pool!r}")
    return Jobs(pool)
