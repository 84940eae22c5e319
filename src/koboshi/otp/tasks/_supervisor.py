"""`TaskSupervisor`: tasks as its children, on its node, started from any other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, overload

from ..._kernel._actor import Actor
from ..._kernel._errors import ActorExited, CallError, UsageError
from ..._kernel._message import message
from ..._kernel._node import this_node
from ..._kernel._reasons import NOPROC, SHUTDOWN, Crashed, ExitReason
from ..._kernel._ref import ActorRef
from ..._kernel._self import link, named
from ..._supervision._dynamic import DynamicSupervisor
from ..._supervision._options import one_of
from ..._supervision._restart import RESTARTS, Restart
from ..._supervision._root import request
from ..._supervision._spec import ChildSpec, Shutdown
from ._outcome import Failed, Ok, Outcome
from ._stream import Items, OnTimeout, stream_of
from ._task import DEFAULT_TIMEOUT, Task

__all__ = ["TaskSupervisor", "Tasks", "tasks"]

I = TypeVar("I")  # noqa: E741, an item
P = ParamSpec("P")
T = TypeVar("T")


class _Runner(Actor):
    """Runs one function: when it is asked for the value, or by itself when nobody will ask."""

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        owner: ActorRef[Any] | None = None,
        alone: bool = False,
    ) -> None:
        self._work = fn, args, kwargs
        self._owner = owner
        self._alone = alone

    def on_start(self) -> None:
        if self._owner is not None:
            link(self._owner)
        if self._alone:
            self.continue_with()

    @message
    async def value(self) -> Any:
        """The function's value; this ends with it."""
        return await self._run()

    async def on_continue(self, value: Any) -> None:
        await self._run()

    async def _run(self) -> Any:
        fn, args, kwargs = self._work
        value = fn(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = await value
        self.stop()
        return value

    def format_status(self) -> object:
        return getattr(self._work[0], "__qualname__", repr(self._work[0]))


class TaskSupervisor(DynamicSupervisor):
    """Looks after tasks. `tasks(ref)` starts them, from any node; they run on the supervisor's.

    Tasks that somebody waits for are never restarted: a successor would be another task. Those that nobody
    waits for, started with `start_child`, may be. Options are those of `DynamicSupervisor`.
    """

    @request
    async def start_task(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        owner: ActorRef[Any] | None,
        alone: bool,
        restart: Restart,
        shutdown: Shutdown,
    ) -> ActorRef[_Runner]:
        """Start a task; what `tasks` sends. Raises as `start_child`."""
        spec: ChildSpec[_Runner] = ChildSpec(
            _Runner, (fn, args, kwargs, owner, alone), {}, restart=restart, shutdown=shutdown
        )
        ref: ActorRef[_Runner] = await self.start_child(spec)
        return ref


class Tasks:
    """Starts tasks under a supervisor; made by `tasks`. It keeps its address and options, nothing else."""

    __slots__ = ("_ref", "_restart", "_shutdown")

    def __init__(
        self, ref: ActorRef[TaskSupervisor], restart: Restart = "temporary", shutdown: Shutdown = 5.0
    ) -> None:
        self._ref = ref
        self._restart: Restart = restart
        self._shutdown: Shutdown = shutdown

    def options(self, *, restart: Restart | None = None, shutdown: Shutdown | None = None) -> Tasks:
        """The same supervisor with other options for what is started; those not named stay.

        Args:
            restart: of tasks that nobody waits for: "temporary" (default), "transient", "permanent".
            shutdown: seconds that a task has when its supervisor stops, 5 by default, or "kill".

        Raises:
            UsageError: an option has no such value.
        """
        if restart is not None:
            one_of("restart", restart, RESTARTS)
        made = Tasks(
            self._ref,
            self._restart if restart is None else restart,
            self._shutdown if shutdown is None else shutdown,
        )
        ChildSpec(_Runner, shutdown=made._shutdown).check()
        return made

    @overload
    async def start(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[T]: ...
    @overload
    async def start(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
    async def start(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Run `fn(*args)` in a task that is linked to this process.

        For a supervisor on another node the function must be one that can be imported there.

        Raises:
            TooManyChildren: the supervisor has as many tasks as it may.
            NotPicklable: the function or an argument cannot be sent there.
            CallError: the supervisor cannot be asked.
        """
        return await self._begin(fn, args, kwargs, linked=True)

    @overload
    async def start_nolink(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[T]: ...
    @overload
    async def start_nolink(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
    async def start_nolink(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
        """As `start`, not linked: a crash is raised where it is waited for, and ends nobody."""
        return await self._begin(fn, args, kwargs, linked=False)

    async def start_child(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[Any]:
        """Run `fn(*args)` in a task that nobody waits for, and give its ref. Raises as `start`."""
        return await self._ref.call(
            TaskSupervisor.start_task, fn, args, kwargs, None, True, self._restart, self._shutdown
        )

    async def children(self) -> list[ActorRef[Any]]:
        """The tasks that run now."""
        found = await self._ref.call(TaskSupervisor.which_children)
        return [child.ref for child in found if child.ref is not None]

    @overload
    def stream(
        self,
        fn: Callable[[I], Coroutine[Any, Any, T]],
        items: Items[I],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_timeout: OnTimeout = "exit",
        buffer: int | None = None,
        link: bool = False,
    ) -> AsyncGenerator[Outcome[T], None]: ...
    @overload
    def stream(
        self,
        fn: Callable[[I], T],
        items: Items[I],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_timeout: OnTimeout = "exit",
        buffer: int | None = None,
        link: bool = False,
    ) -> AsyncGenerator[Outcome[T], None]: ...
    def stream(
        self,
        fn: Callable[[Any], Any],
        items: Items[Any],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_timeout: OnTimeout = "exit",
        buffer: int | None = None,
        link: bool = False,
    ) -> AsyncGenerator[Outcome[Any], None]:
        """`task_stream` with its tasks under the supervisor, and not linked unless `link` says so."""

        async def start(item: Any) -> Task[Any]:
            return await self._begin(fn, (item,), {}, linked=link)

        return stream_of(start, items, max_concurrency, ordered, timeout, on_timeout, buffer)

    async def _begin(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, linked: bool
    ) -> Task[Any]:
        if not callable(fn):
            raise UsageError(f"a task runs a function, got {fn!r}; pass the function and its arguments")
        owner = this_node().current
        mine = None if owner is None or not linked else ActorRef[Any](owner)
        ref = await self._ref.call(
            TaskSupervisor.start_task, fn, args, kwargs, mine, False, "temporary", self._shutdown
        )
        task: Task[Any] = Task(owner)
        fetching = asyncio.get_running_loop().create_task(_fetch(task, ref))
        task.fetched_by(fetching)
        task.runs_in(ref._target())
        return task

    def __repr__(self) -> str:
        return f"<Tasks of {self._ref!r}>"


async def _fetch(task: Task[Any], ref: ActorRef[_Runner]) -> None:
    """Bring a task its value, or the reason why there is none."""
    try:
        outcome: Outcome[Any] = Ok(await ref.within(None).call(_Runner.value))
    except ActorExited as ended:
        outcome = Failed(ended.reason)
    except CallError:
        outcome = Failed(NOPROC)
    except asyncio.CancelledError:  # the event loop is being closed
        outcome = Failed(SHUTDOWN)
    except Exception as error:  # the value could not be sent
        reason: ExitReason = Crashed(error)
        outcome = Failed(reason)
    task.settle(outcome)


def tasks(supervisor: ActorRef[TaskSupervisor] | Any) -> Tasks:
    """How tasks are started under a supervisor, given by its ref or its registered name."""
    if isinstance(supervisor, ActorRef):
        return Tasks(supervisor)  # pyright: ignore[reportUnknownArgumentType]
    return Tasks(named(TaskSupervisor, supervisor))
