"""`runners`: how functions and actors get to an elastic pool, from wherever they are wanted."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, ParamSpec, TypeVar, cast, overload

from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._node import this_node
from ..._kernel._place import Place
from ..._kernel._ref import ActorRef
from ..._kernel._route import RemoteCell
from ..._kernel._self import named
from ..._supervision._child import expect_start, wait_start
from ..._supervision._options import seconds as check_seconds
from ..._supervision._options import whole
from ..._supervision._placement import Placement
from ..._supervision._spec import ChildSpec, child
from ..nodes._parcel import pack_whole
from ..nodes._placement import Beside
from ._code import refer
from ._flame import BOOT_TIMEOUT, IDLE_AFTER, Flame
from ._runner import Runner

AA = TypeVar("AA", bound=Actor)
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

AHEAD = 64


class Runners:
    """Runs functions, and places actors, on the runners of a pool; made by `runners`."""

    __slots__ = ("_pool", "_timeout")

    def __init__(self, pool: ActorRef[Flame] | str, timeout: float | None = None) -> None:
        self._pool = pool
        self._timeout = timeout

    def within(self, seconds: float | None) -> Runners:
        """The same pool with another time that each function may run, in seconds; None is the pool's own."""
        check_seconds("within", seconds, none=True)
        return Runners(self._pool, seconds)

    @overload
    async def call(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(*args, **kwargs)` on a runner and return its result; it may be plain or `async def`.

        `timeout=` in seconds is the same as `within`, unless the function has a parameter of that name;
        type checkers only know `within`.

        Raises:
            Exception: what the function raised.
            RunnerLost: its runner died while it ran, or none could be started.
            CallTimeout: it ran for too long, and was ended.
            NotPicklable, FrameTooLarge: it or its arguments cannot be sent.
            ExtraMissing: a closure or a lambda, and cloudpickle is not installed.
            CodeMismatch: it has other code in the runner.
            NotRunning, ActorExited: there is no pool, or it ended first.
        """
        timeout = self._timeout
        if "timeout" in kwargs and not _takes_timeout(fn):
            timeout = kwargs.pop("timeout")
            check_seconds("timeout", timeout, none=True)
        code = refer(fn)
        return await self._ref().call(Flame.run, code, pack_whole((args, kwargs), code.name), timeout)

    def cast(self, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a function and wait for nothing. If it fails, that is reported as `CrashReport`."""
        code = refer(fn)
        self._ref().cast(Flame.run_for_nobody, code, pack_whole((args, kwargs), code.name), self._timeout)

    async def map(
        self, fn: Callable[[T], R], items: Iterable[T] | AsyncIterable[T], /, *, ahead: int = AHEAD
    ) -> AsyncGenerator[R, None]:
        """Run `fn(item)` for each item; results come in the order of the items.

        At most `ahead` items, 64 by default, are taken and not yielded as results yet. The first that fails
        raises here; leaving the loop early cancels what has not begun.
        """
        whole("ahead", ahead, 1)
        loop = this_node().loop
        waiting: deque[Any] = deque()
        try:
            async for item in _each(items):
                waiting.append(loop.create_task(self.call(fn, item)))
                if len(waiting) >= ahead:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def place_child(
        self, cls: Callable[P, AA] | ChildSpec[AA], /, *args: P.args, **kwargs: P.kwargs
    ) -> ActorRef[AA]:
        """Start an actor on a runner, linked to the current process; the runner stays up while it lives.

        In plain asyncio code, where there is no process, it is linked to the pool.

        Raises:
            StartError: it did not start.
            RunnerLost: no runner could be started.
        """
        pool = self._ref()
        node = this_node()
        spec = _spec_of(cls, args, kwargs)
        parent = node.current or pool._target()
        if node.current is None and isinstance(parent, RemoteCell):
            raise UsageError(
                "place_child needs a process to link to: call it from an actor, or from the pool's node"
            )
        runner, number = cast("tuple[ActorRef[Runner], int]", await pool.call(Flame.reserve))
        try:
            place = Place(f"{pool._target().label()}/{spec.default_id}#{number}")
            cell = Beside(runner).launch(spec, node, parent, place, spec.args)
            pool.cast(Flame.claim, number, None if node.current is None else ActorRef(parent))
            ready = expect_start(cell)
            assert ready is not None
            await wait_start(cell, ready, spec.start_timeout)
        except BaseException:
            pool.cast(Flame.placed, number, None)
            raise
        ref: ActorRef[AA] = ActorRef(cell)
        pool.cast(Flame.placed, number, ref)
        return ref

    def remote(self, fn: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
        """A decorator: the function then runs on a runner wherever it is awaited."""

        @functools.wraps(fn)
        async def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return await self.call(fn, *args, **kwargs)

        run.__wrapped_for_runners__ = fn  # type: ignore[attr-defined]
        return run

    def _ref(self) -> ActorRef[Flame]:
        pool = named(Flame, self._pool) if isinstance(self._pool, str) else self._pool
        return pool.within(None)

    def __repr__(self) -> str:
        return f"<Runners of {self._pool!r}>"


def _spec_of(given: Any, args: Any, kwargs: Any) -> ChildSpec[Any]:
    if isinstance(given, ChildSpec):
        return given  # pyright: ignore[reportUnknownVariableType]
    made: ChildSpec[Any] = child(given, *args, **kwargs)
    return made


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


@functools.lru_cache(maxsize=1024)
def _takes_timeout(fn: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return False
    return "timeout" in parameters


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def runners(pool: ActorRef[Flame] | str) -> Runners:
    """Run functions on an elastic pool: `pool = kb.runners(tree.ref(kb.Flame, "runners"))`.

    Args:
        pool: a ref, or the name that the pool is registered under, which may come to be later:
            `encoders = kb.runners("encoders")` at the top of a module, and `@encoders.remote` below.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(pool, ActorRef):
        cls = pool._target().info.cls
        if not (isinstance(cls, type) and issubclass(cls, Flame)):
            raise UsageError(f"runners takes a ref to a pool of runners, got {pool!r}")
    elif not _is_name(pool):
        raise UsageError(f'runners takes tree.ref(kb.Flame, "id") or a name, got {pool!r}')
    return Runners(pool)


def flame(
    *,
    min: int = 0,
    max: int = 8,
    max_concurrency: int = 1,
    idle_after: float = IDLE_AFTER,
    warm_spare: int = 1,
    boot_timeout: float = BOOT_TIMEOUT,
    timeout: float | None = None,
    backend: Placement | None = None,
) -> ChildSpec[Flame]:
    """An elastic pool of runners as a child: processes that come with work and go without it.

    Args:
        min, max: how many runners there are, 0 to 8 by default.
        max_concurrency: functions that one runner may have in hand at once, 1 by default.
        idle_after: seconds without work after which a runner that is not needed ends, 30 by default.
        warm_spare: runners kept ready beyond those that are needed, while there is work; 1 by default.
        boot_timeout: seconds that a runner may take to start, 30 by default.
        timeout: seconds that a function may run, once it has begun; None, the default, is any time.
        backend: where runners run: a process each, unless it says otherwise.

    Raises:
        UsageError: an option has no such value.
    """
    options: dict[str, Any] = {
        "min": min,
        "max": max,
        "max_concurrency": max_concurrency,
        "idle_after": idle_after,
        "warm_spare": warm_spare,
        "boot_timeout": boot_timeout,
        "timeout": timeout,
        "backend": backend,
    }
    Flame(**options)  # a mistake is seen here, and not when the tree starts
    return ChildSpec(Flame, (), options, shutdown="forever")
