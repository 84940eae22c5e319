"""`tasks`: how tasks are started under a `TaskSupervisor`, here or on another node."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, ParamSpec, TypeVar, cast, overload

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._cell import DEAD, REMOTE, Cell
from ..._kernel._errors import NotInProcess, UsageError
from ..._kernel._node import Node, this_node
from ..._kernel._process import Process
from ..._kernel._reasons import KILL
from ..._kernel._ref import ActorRef
from ..._kernel._reply import ReplyTo
from ..._kernel._self import named
from ..._supervision._placement import Placement
from ..._supervision._restart import Restart
from ..._supervision._spec import ChildSpec, Shutdown, child
from ...wire import NotPicklable
from ...wire._pickle import dumps
from .._answering import expect
from ._body import Order, Work, run_alone, run_ordered
from ._engine import Entry, OnTimeout
from ._options import function
from ._result import Result
from ._stream import TaskStream, read_options, stream_of
from ._supervisor import TaskSupervisor, TaskSupervisorStatistics
from ._task import Task

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741, an item


class Tasks:
    """Starts tasks under a supervisor; made by `tasks`.

    It is small and may be sent to other processes. It keeps nothing but the supervisor's address.
    """

    __slots__ = ("_options", "_ref")

    def __init__(self, ref: ActorRef[TaskSupervisor], options: dict[str, Any] | None = None) -> None:
        self._ref = ref
        self._options = options or {}

    def options(
        self,
        *,
        on: str | Placement | None = ...,  # type: ignore[assignment]
        shutdown: Shutdown = ...,  # type: ignore[assignment]
        restart: Restart = ...,  # type: ignore[assignment]
    ) -> Tasks:
        """The same supervisor with other options for what is started; those not named stay.

        Args:
            on: where it runs, as for a child; None, the default, is the supervisor's own node. The function
                and its arguments are pickled when that is another node than the caller's.
            shutdown: seconds that it has to end in when the supervisor stops, 5 by default; "kill".
            restart: "temporary" (default), "transient" or "permanent"; for `start_child` alone, because a
                task whose value somebody waits for is never started twice.

        Raises:
            UsageError: an option has no such value.
        """
        given = {name: value for name, value in locals().items() if value is not ... and name != "self"}
        child(run_ordered, None).options(**given)  # refuses what a child refuses
        return Tasks(self._ref, {**self._options, **given})

    @overload
    async def task(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[T]: ...
    @overload
    async def task(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
    async def task(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Start a task that is linked to the current process, as `otp.task` does.

        Raises:
            NotInProcess: there is no current process to link to.
            TooManyChildren: the supervisor has as many as it may.
            NotPicklable: the function, or an argument, cannot be sent to the task's node.
            CallTimeout, NotRunning, ActorExited: the supervisor could not be asked.
        """
        if this_node().current is None:
            function("task", fn)
            raise NotInProcess(
                "this links the task to the current process, and none runs here; use task_nolink in plain "
                "asyncio code"
            )
        return await self._start(fn, args, kwargs, linked=True)

    @overload
    async def task_nolink(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[T]: ...
    @overload
    async def task_nolink(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
    async def task_nolink(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Start a task whose crash is seen by whoever waits for it, and by nobody else; raises as `task`."""
        return await self._start(fn, args, kwargs, linked=False)

    async def start_child(
        self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> ActorRef[Process]:
        """Start a function whose value nobody waits for; returns its pid ref.

        Raises:
            TooManyChildren, NotPicklable, CallTimeout, NotRunning, ActorExited: as `task`.
            StartError: it cannot be started on its node.
        """
        function("start_child", fn)
        options: dict[str, Any] = {"restart": "temporary", **self._options}
        return await self._ask(child(run_alone, fn, args, kwargs).options(id=_id_of(fn), **options))

    async def children(self) -> list[ActorRef[Process]]:
        """The pid refs of all tasks that run, the newest first."""
        infos = await self._known().call(TaskSupervisor.which_children)
        return [info.ref for info in infos if info.ref is not None]

    async def statistics(self) -> TaskSupervisorStatistics:
        """Figures of the supervisor since its start."""
        return await self._ref.call(TaskSupervisor.statistics)

    async def terminate_child(self, task: ActorRef[Any]) -> None:
        """Stop a task in its time and forget it. Raises `ChildNotFound` when it is none of these."""
        await self._known().call(TaskSupervisor.terminate_child, task)

    @overload
    def stream(
        self,
        items: Iterable[I] | AsyncIterable[I],
        fn: Callable[[I], Coroutine[Any, Any, T]],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
        buffer: int | None = None,
        link: bool = True,
    ) -> TaskStream[T]: ...
    @overload
    def stream(
        self,
        items: Iterable[I] | AsyncIterable[I],
        fn: Callable[[I], T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
        buffer: int | None = None,
        link: bool = True,
    ) -> TaskStream[T]: ...
    def stream(
        self,
        items: Any,
        fn: Callable[[Any], Any],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
        buffer: int | None = None,
        link: bool = True,
    ) -> TaskStream[Any]:
        """`otp.task_stream` with its tasks under this supervisor, and on any node.

        Args:
            link: with False a failure of an item is an outcome in its place, whoever iterates.
        """
        given: object = link
        if not isinstance(given, bool):
            raise UsageError(f"link takes True or False, got {link!r}")
        options = read_options(max_concurrency, ordered, timeout, on_timeout, buffer, linked=link)
        return stream_of(items, fn, options, self._start_item)

    def __repr__(self) -> str:
        return f"<Tasks of {self._ref!r}>"

    # -- inside ------------------------------------------------------------------------------

    def _known(self) -> ActorRef[TaskSupervisor]:
        """The supervisor's ref, when that is what it leads to."""
        expect(self._ref, TaskSupervisor)
        return self._ref

    async def _ask(self, spec: ChildSpec[Process]) -> ActorRef[Process]:
        return cast("ActorRef[Process]", await self._known().call(TaskSupervisor.start_child, spec))

    async def _start(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, linked: bool
    ) -> Task[Any]:
        function("a task", fn)
        node = this_node()
        owner = node.current
        cell = await self._place(node, owner, fn)
        result = Result(cell, fn, node.loop.time())
        if linked and owner is not None and cell.state != DEAD:
            _bonds.link(owner, cell)
        result.watch()
        _order(result, (fn, args, kwargs))
        return Task(result, owner, linked=linked)

    async def _start_item(self, node: Node, owner: Cell | None, fn: Callable[[Any], Any], item: Any) -> Entry:
        """Start the task of one item of a stream; who starts it watches it."""
        cell = await self._place(node, owner, fn)
        entry = Entry(cell, fn, node.loop.time(), item)
        _order(entry, (fn, (item,), {}))
        return entry

    async def _place(self, node: Node, owner: Cell | None, fn: Callable[..., Any]) -> Cell:
        """Have a process started that waits to be told what to do."""
        spec = child(run_ordered, None if owner is None else ActorRef(owner))
        options: dict[str, Any] = {**self._options, "restart": "temporary"}
        ref = await self._ask(spec.options(id=_id_of(fn), **options))
        return ref._target()


def _order(result: Result, work: Work) -> None:
    """Tell a task what to do, now that all that is to hear of its end is tied to it.

    Raises:
        NotPicklable: it runs on another node, and the function or an argument cannot be sent there.
    """
    cell = result.target
    if cell.state == DEAD:
        return
    ref: ActorRef[Any] = ActorRef(cell)
    try:
        if cell.state == REMOTE:
            order = Order(ReplyTo(result), None, _packed(work))
        else:
            order = Order(ReplyTo(result), work)
        ref.tell(order)
    except BaseException:
        owner = cell.node.current
        result.give_up()
        if owner is not None:
            _bonds.unlink(owner, cell)
        ref.exit(KILL)
        raise


def _id_of(fn: Any) -> str | None:
    """How the supervisor knows a task: by its function, and by a number if that is not enough."""
    name = getattr(fn, "__qualname__", None)
    return name.rpartition("<locals>.")[2] if isinstance(name, str) else None


def _packed(work: Work) -> bytes:
    fn, args, kwargs = work
    name = getattr(fn, "__qualname__", repr(fn))
    parts = [(None, fn), *((f"argument {i}", arg) for i, arg in enumerate(args)), *kwargs.items()]
    try:
        return dumps(work)
    except Exception as error:
        for argument, part in parts:
            try:
                dumps(part)
            except Exception as problem:
                raise NotPicklable(name, argument, f"{type(problem).__name__}: {problem}") from problem
        raise NotPicklable(name, "a shared part", f"{type(error).__name__}: {error}") from error


def tasks(supervisor: ActorRef[TaskSupervisor] | TaskSupervisor | str | tuple[Any, ...]) -> Tasks:
    """How tasks are started under a supervisor: `tasks = otp.tasks(tree.ref(otp.TaskSupervisor, "tasks"))`.

    Args:
        supervisor: its ref, the name under which it is registered, or what `async with` gave.

    Raises:
        UsageError: it is none of these.
    """
    given: Any = supervisor
    if isinstance(given, TaskSupervisor):
        return Tasks(given.me)
    if isinstance(given, ActorRef):
        cls = given._target().info.cls
        by_name = given._place is not None and given._place.by_name
        if (isinstance(cls, type) and issubclass(cls, TaskSupervisor)) or (by_name and cls is Actor):
            return Tasks(cast("ActorRef[TaskSupervisor]", given))
    elif isinstance(given, str | tuple):
        return Tasks(named(TaskSupervisor, given))
    raise UsageError(
        "tasks takes a task supervisor: a ref such as tree.ref(otp.TaskSupervisor, id), its registered name, "
        f"or the object of its `async with`; got {given!r}"
    )
