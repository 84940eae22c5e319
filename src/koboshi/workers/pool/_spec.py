"""`pool`: the child spec of a pool, and the pool class that answers the messages of an actor class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._message import Entry
from ..._kernel._reply import defer
from ..._supervision._spec import ChildSpec
from ...wire import DEFAULT_FRAME_LIMIT
from ._dispatch import Strategy
from ._pool import GRACE, QUEUE, WITHIN, Pool, is_actor, is_spec
from ._terms import QUARANTINE

__all__ = ["pool"]

AA = TypeVar("AA", bound=Actor)


@functools.cache
def _pool_of(cls: type[Actor]) -> type[Pool]:
    """The pool class whose refs answer the messages of `cls`."""
    name = f"{cls.__name__}Pool"
    made: type[Pool] = type(name, (Pool,), {"hosts": cls, "__qualname__": name, "__module__": cls.__module__})
    for fn in cls._kb_info.protocol:
        made._kb_info.protocol[fn] = Entry(fn, _forwarder(fn))
    return made


def _forwarder(fn: Callable[..., Any]) -> Callable[..., Any]:
    name = fn.__name__

    def forward(self: Pool, *args: Any, **kwargs: Any) -> None:
        self.forward(name, args, kwargs, defer())

    forward.__name__, forward.__qualname__ = name, fn.__qualname__
    return forward


@overload
def pool(
    target: ChildSpec[AA],
    /,
    *,
    size: int | None = None,
    queue: int = QUEUE,
    retries: int = 0,
    timeout: float | None = None,
    max_concurrency: int = 1,
    quarantine: int = QUARANTINE,
    max_jobs: int | None = None,
    max_age: float | None = None,
    max_memory: int | None = None,
    spares: int = 0,
    strategy: Strategy = "least_busy",
    key: Callable[..., Any] | None = None,
    min: int | None = None,
    max: int | None = None,
    idle_after: float | None = None,
    max_restarts: int | None = None,
    within: float = WITHIN,
    grace: float = GRACE,
    preload: Sequence[str] = (),
    frame_limit: int = DEFAULT_FRAME_LIMIT,
) -> ChildSpec[AA]: ...
@overload
def pool(
    target: Callable[..., Any] | None = None,
    /,
    *,
    size: int | None = None,
    queue: int = QUEUE,
    retries: int = 0,
    timeout: float | None = None,
    max_concurrency: int = 1,
    quarantine: int = QUARANTINE,
    max_jobs: int | None = None,
    max_age: float | None = None,
    max_memory: int | None = None,
    spares: int = 0,
    strategy: Strategy = "least_busy",
    min: int | None = None,
    max: int | None = None,
    idle_after: float | None = None,
    max_restarts: int | None = None,
    within: float = WITHIN,
    grace: float = GRACE,
    preload: Sequence[str] = (),
    frame_limit: int = DEFAULT_FRAME_LIMIT,
) -> ChildSpec[Pool]: ...
def pool(target: Any = None, /, **options: Any) -> ChildSpec[Any]:
    """A pool of worker processes as a child of a supervisor.

    A worker that dies, by whatever cause, costs the job that it was running and is replaced.

    Args:
        target: None, or a function that each worker imports when it starts: a pool for functions, see
            `jobs`. `kb.child(Name, ...)`: each worker holds such an actor, and a ref to the pool sends
            each message to one of them.
        size: worker processes; one per core by default.
        min, max: the bounds of an elastic pool instead, 1 and one per core by default. It grows when jobs
            wait with nobody free, and shrinks when fewer were busy at once for `idle_after` seconds, 10
            by default.
        strategy: who gets a job: "least_busy" (the default); "round_robin", each worker in turn that has
            room; "by_key", always the same worker for the same key, see `Jobs.by_key`.
        key: makes the key of a message to a pool of actors from its arguments; by default it is the first
            positional one, and a message without any goes to the least busy worker.
        queue: jobs that may wait or run, 65,536 by default; one more is refused with `JobQueueFull`.
        retries: how often a job is started again after a crash of its worker, 0 by default. Only for
            jobs that may safely run more than once.
        timeout: seconds that a job may run before it is killed with its worker and fails with `JobTimeout`;
            None, the default, is any time. It is not started again.
        quarantine: workers that one job may kill, 3 by default; then it fails with `Quarantined`, whatever
            its retries.
        max_concurrency: jobs that one worker may have in hand at once, 1 by default, 1,024 at most. With more
            than 1, coroutines run side by side (messages too, in as many actors), plain functions still one
            at a time. A crash then hits all that had begun in that worker.
        max_jobs, max_age, max_memory: jobs, seconds and resident bytes after which a worker's process is
            replaced; None, the default, is never. It finishes what it has in hand, and no job is lost.
        spares: processes kept ready with the pool's code imported, 0 by default: one takes the place of a
            process that dies.
        max_restarts, within: deaths of workers that are put up with, 25 for each worker within 5 s by
            default. One more, or three failed starts of one worker in a row, and the pool gives up.
        grace: seconds that jobs in hand have when the pool stops, 3 by default; then they are killed.
        preload: modules that new workers have imported already.
        frame_limit: bytes that one argument list or result may take, 64 MB by default; large buffers in it
            travel by shared memory and do not count.

    Raises:
        UsageError: an option has no such value.
    """
    if is_spec(target):
        hosted: Any = target.target
        if not is_actor(hosted) or hasattr(hosted, "_kb_is_supervisor"):
            raise UsageError(f"the workers of a pool hold actors, got kb.child({target.default_id}, ...)")
        made = _pool_of(hosted)
        spec: ChildSpec[Any] = ChildSpec(made, (target,), options, id=target.default_id, name=target.name)
    else:
        spec = ChildSpec(Pool, () if target is None else (target,), options)
    try:
        spec.target(*spec.args, **spec.kwargs)  # a mistake is seen here, and not when the tree starts
    except UsageError:
        raise
    except TypeError as error:
        raise UsageError(f"kb.pool got options that do not fit: {error}") from None
    return spec
