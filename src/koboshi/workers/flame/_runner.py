"""`Runner`: the actor that runs functions in a process of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..._kernel._actor import Actor
from ..._kernel._end import Stop
from ..._kernel._message import message
from ..._kernel._reasons import ExitReason
from ..._kernel._ref import ActorRef
from ..._kernel._reply import defer
from ...wire._pickle import loads
from ._code import CodeRef, resolve

if TYPE_CHECKING:
    from ._flame import Flame


class Runner(Actor):
    """Runs functions: plain ones on threads, coroutines on its event loop."""

    def __init__(self, flame: ActorRef[Flame], id: int, max_concurrency: int) -> None:
        self._flame = flame
        self._id = id
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="koboshi-runner")
        self._tasks: set[asyncio.Task[None]] = set()
        # Of these, the ones that run a coroutine, which can be cancelled.
        self._coroutines: dict[int, asyncio.Task[None]] = {}

    @message
    def run(self, number: int, code: CodeRef, packed: bytes) -> Any:
        """Run a function; the reply is its result."""
        reply = defer()
        task = asyncio.get_running_loop().create_task(self._run(number, code, packed, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, number: int, code: CodeRef, packed: bytes, reply: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        from ._flame import Flame

        try:
            # The pool has it before anything of the function runs, its unpickling included: if this
            # process dies and the pool has not heard of it, the function surely did not run.
            await self._flame.send(Flame.began, number)
            function = resolve(code)
            args, kwargs = loads(packed)
            if inspect.iscoroutinefunction(function):
                self._coroutines[number] = task
                value = await function(*args, **kwargs)
            else:
                value = await self._on_thread(function, args, kwargs)
        except asyncio.CancelledError:
            reply.fail(TimeoutError(f"{code.name} was cancelled"))
        except BaseException as error:
            reply.fail(RuntimeError(f"{code.name} raised {error!r}") if isinstance(error, Stop) else error)
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            reply.send(value)
        finally:
            self._coroutines.pop(number, None)

    async def _on_thread(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        loop, context = asyncio.get_running_loop(), copy_context()

        def work() -> Any:
            try:
                return context.run(function, *args, **kwargs)
            except StopIteration as error:  # no future can carry one
                raise RuntimeError(f"{function.__qualname__} raised {error!r}") from error

        return await loop.run_in_executor(self._threads, work)

    @message
    def cancel(self, number: int) -> None:
        """Cancel a coroutine; a plain function goes on, and its process has to be ended."""
        task = self._coroutines.get(number)
        if task is not None:
            task.cancel()

    def on_stop(self, reason: ExitReason) -> None:
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
