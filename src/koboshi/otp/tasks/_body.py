"""What runs in the process of a task."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, cast

from ..._kernel._process import receive
from ..._kernel._reasons import Down, Timeout
from ..._kernel._ref import ActorRef
from ..._kernel._reply import ReplyTo
from ..._kernel._self import monitor
from ...wire._pickle import loads
from ._result import Result

# Seconds that a supervised task waits for what it is to do. Its owner sends that as soon as it knows the
# task, so one that waits longer has an owner that was interrupted just then.
ORDER_WITHIN = 60.0

Work = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Order:
    """What a supervised task is to do. `packed` is the pickled `Work` when it comes from another node.

    It is pickled apart from its order: a function that cannot be imported is then an error of the task,
    which its owner hears of, and not a message that is lost.
    """

    reply_to: ReplyTo[Any]
    work: Work | None
    packed: bytes = b""


async def apply(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function, plain or async."""
    value = fn(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value  # pyright: ignore[reportUnknownVariableType]


async def run(result: Result, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A task on its owner's node."""
    value = fn(*args, **kwargs)
    result.wake(await value if inspect.isawaitable(value) else value, None)


async def run_item(result: Result, fn: Callable[[Any], Any], item: Any) -> None:
    """A task of a stream on its owner's node."""
    value = fn(item)
    # The first is what nearly all of them are, and the other takes several times as long to find out.
    if value.__class__ is CoroutineType or inspect.isawaitable(value):
        value = await value
    result.wake(value, None)


async def run_ordered(owner: ActorRef[Any] | None) -> None:
    """A supervised task: it is tied to its owner before it is told what to do."""
    watch = None if owner is None else monitor(owner)
    order = await receive(Order, Down, timeout=ORDER_WITHIN)
    if isinstance(order, Down | Timeout):
        return
    if watch is not None:
        watch.cancel(flush=True)
    fn, args, kwargs = cast("Work", loads(order.packed)) if order.work is None else order.work
    order.reply_to.send(await apply(fn, args, kwargs))


async def run_alone(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A supervised task whose value nobody waits for."""
    await apply(fn, args, kwargs)
