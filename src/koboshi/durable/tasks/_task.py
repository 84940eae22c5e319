"""`task`: a function that can be put into queues, by its name."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from ..._kernel._errors import UsageError
from ..._supervision._options import seconds, whole
from ..._supervision._restart import Backoff, backoff_of
from .._retry import RETRY
from ._codec import Codec
from ._options import text

__all__ = ["AsyncTask", "PlainTask", "Task", "TaskOptions", "registered", "task"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
X = TypeVar("X")

_NAME_LIMIT = 255

_tasks: dict[str, Task[..., Any]] = {}


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task is run; see `task`."""

    retries: int
    timeout: float | None
    backoff: Backoff
    max_interruptions: int

    def __post_init__(self) -> None:
        whole("retries", self.retries, 0)
        seconds("timeout", self.timeout, none=True)
        whole("max_interruptions", self.max_interruptions, 0)


class Task(Generic[P, R]):
    """A function with a name under which stores know it; made by `kb.task`. Calling it runs it here and now."""

    is_async = False

    def __init__(self, function: Callable[..., Any], name: str, options: TaskOptions) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.__module__ = function.__module__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    @functools.cached_property
    def codec(self) -> Codec:
        """Its arguments and result in stores. Made late: annotations may name what comes further down."""
        return Codec(self.function, self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        # To a worker process it goes by the place where it is defined.
        return find, (self.function.__module__, self.function.__qualname__, self.name)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class PlainTask(Task[P, R]):
    """A task that is a `def` function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here, without any queue."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


class AsyncTask(Task[P, R]):
    """A task that is an `async def` function."""

    is_async = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the function here, without any queue."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


def find(module: str, qualname: str, name: str) -> Task[..., Any]:
    """The task that is defined in a module, imported if it is not yet."""
    known = _tasks.get(name)
    if known is not None:
        return known
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, Task):
        raise UsageError(
            f"{module}.{qualname} is no task here; it must be what @kb.task makes of the function"
        )
    return cast("Task[..., Any]", found)


def registered(name: str) -> Task[..., Any] | None:
    """The task of that name, if this program has one."""
    return _tasks.get(name)


class _Decorator:
    def __init__(self, name: str | None, options: TaskOptions) -> None:
        self._name = name
        self._options = options

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, X]], /) -> AsyncTask[P, X]: ...  # type: ignore[overload-overlap]  # a coroutine function is the narrower case
    @overload
    def __call__(self, fn: Callable[P, X], /) -> PlainTask[P, X]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Task[..., Any]:
        return _made(fn, self._name, self._options)


@overload
def task(fn: Callable[P, Coroutine[Any, Any, X]], /) -> AsyncTask[P, X]: ...  # type: ignore[overload-overlap]  # a coroutine function is the narrower case
@overload
def task(fn: Callable[P, X], /) -> PlainTask[P, X]: ...
@overload
def task(
    *,
    name: str | None = None,
    retries: int = 3,
    timeout: float | None = None,
    backoff: Backoff | tuple[float, ...] | None = None,
    max_interruptions: int = 3,
) -> _Decorator: ...
def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retries: int = 3,
    timeout: float | None = None,
    backoff: Backoff | tuple[float, ...] | None = None,
    max_interruptions: int = 3,
) -> Any:
    """Make a function one that can be put into queues: `@kb.task` or `@kb.task(retries=5)`.

    A `def` function runs in a worker process, an `async def` function on the event loop. It may run more than
    once, after a crash; what it stores through `kb.transact` happens once.

    Args:
        name: under which stores know it; by default its module and qualified name. Give one before moving it.
        retries: how often it is tried again after it has raised or timed out (default 3).
        timeout: seconds that one attempt may run before its worker is killed (default None: any time).
        backoff: how long it waits before it is tried again (default 1 s, doubling, up to 300 s, half random).
        max_interruptions: how often its worker may die under it (default 3); those are no attempts, and after
            one more it is a dead letter, because it is probably what kills them.

    Raises:
        UsageError: an option has no such value, or the name is taken by another function.
    """
    options = TaskOptions(retries, timeout, backoff_of(backoff) or RETRY, max_interruptions)
    if fn is None:
        return _Decorator(name, options)
    return _made(fn, name, options)


def _made(fn: Callable[..., Any], name: str | None, options: TaskOptions) -> Task[..., Any]:
    if not inspect.isfunction(fn):
        raise UsageError(f"kb.task takes a function, got {fn!r}")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise UsageError(
            f"kb.task takes a function that returns its result, and {fn.__qualname__} is a generator"
        )
    chosen = f"{fn.__module__}.{fn.__qualname__}" if name is None else name
    text("name", chosen, _NAME_LIMIT)
    known = _tasks.get(chosen)
    if known is not None and not _same_place(known.function, fn):
        raise UsageError(
            f"the name {chosen!r} is that of {known.function.__module__}.{known.function.__qualname__} already; "
            "give one of them another: @kb.task(name=...)"
        )
    made: Task[..., Any]
    made = (AsyncTask if inspect.iscoroutinefunction(fn) else PlainTask)(fn, chosen, options)
    _tasks[chosen] = made
    return made


def _same_place(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """A module that is loaded again defines its tasks again."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)
