"""`Task`: a process that runs one function, and the handle by which its starter gets the value.

The process is an ordinary one: it can be linked, monitored, killed. Its handle is a watch on it, of the
kind that monitors are, so every way to end settles the task, and nobody waits for what cannot come.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, TypeVar, overload

from ..._kernel import _bonds
from ..._kernel._cell import DEAD, Cell
from ..._kernel._errors import ActorExited, CallTimeout, UsageError
from ..._kernel._lifecycle import gone
from ..._kernel._node import this_node
from ..._kernel._process import spawn_cell
from ..._kernel._reasons import KILL, KILLED, NOPROC, SHUTDOWN, ExitReason
from ..._kernel._ref import ActorRef
from ._outcome import Failed, Ok, Outcome

__all__ = ["DEFAULT_TIMEOUT", "Task", "begin", "task", "task_nolink"]

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_TIMEOUT = 5.0


class Task(Generic[T]):
    """A function under way in a process of its own; made by `task`, `task_nolink` and task supervisors.

    `await task` is `await task.wait()`. Only the process that started a task may wait for it.
    """

    __slots__ = ("__weakref__", "_cell", "_done", "_fetching", "_outcome", "_owner", "_waiters")

    def __init__(self, owner: Cell | None) -> None:
        self._owner = owner
        self._cell: Cell | None = None
        # Settled once; a process that ends after its value has come changes nothing.
        self._outcome: Outcome[T] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._done: Callable[[Task[T]], None] | None = None
        # What brings the value from another node.
        self._fetching: asyncio.Task[None] | None = None

    # -- for the process that started it ------------------------------------------------------------

    async def wait(self, timeout: float | None = DEFAULT_TIMEOUT) -> T:
        """The value. A task that has none when the time is over is ended: nobody waits for it any more.

        Args:
            timeout: seconds, 5 by default; None waits for ever.

        Raises:
            ActorExited: it ended without one; `reason` says how, `__cause__` is its error.
            CallTimeout: it took longer.
            UsageError: another process started it.
        """
        self._check_owner("wait for")
        outcome = await self._settled(timeout)
        if outcome is None:
            self._give_up()
            raise CallTimeout(self._label(), "its value", timeout or 0.0, maybe_executed=True)
        return self._value(outcome)

    def __await__(self) -> Generator[Any, Any, T]:
        return self.wait().__await__()

    async def yield_(self, timeout: float | None = DEFAULT_TIMEOUT) -> Outcome[T] | None:
        """How it went, or None if it is not over in `timeout` seconds: it goes on, and can be asked again.

        A task that failed is an outcome here, and no exception. Raises `UsageError` as `wait`.
        """
        self._check_owner("ask for")
        return await self._settled(timeout)

    async def shutdown(self, timeout: float | None = DEFAULT_TIMEOUT) -> Outcome[T] | None:
        """End it, by force after `timeout` seconds. What it had come to by then is not lost.

        Returns None when it was ended without a value; otherwise its value, or its own failure. Raises
        `UsageError` as `wait`.
        """
        self._check_owner("end")
        if self._outcome is not None:
            return self._outcome
        cell = self._untied()
        cell.node.signal_exit(cell, SHUTDOWN)
        if await gone(cell, timeout) is None:
            cell.node.signal_exit(cell, KILL)
            await gone(cell)
        outcome = await self._settled(None)
        asked = isinstance(outcome, Failed) and outcome.reason in (SHUTDOWN, KILLED)
        return None if asked else outcome

    @property
    def ref(self) -> ActorRef[Any]:
        """The process that runs it."""
        assert self._cell is not None
        return ActorRef(self._cell)

    @property
    def done(self) -> bool:
        """Whether it is over: then `wait` and `yield_` wait for nothing."""
        return self._outcome is not None

    def __repr__(self) -> str:
        outcome = self._outcome
        state = "running" if outcome is None else "done" if isinstance(outcome, Ok) else f"{outcome.reason!r}"
        return f"<Task {self._label()} {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise UsageError(
            f"{self!r} is of use to the process that started it alone; send its value, or its ref"
        )

    # -- how it comes to an outcome -----------------------------------------------------------------

    def fire(self, reason: ExitReason) -> None:
        """Its process has ended; see `_bonds.Watch`."""
        if self._fetching is None:  # else the call that fetches the value hears of it, behind the value
            self.settle(Failed(reason))

    def settle(self, outcome: Outcome[T]) -> None:
        """Say how it went; the first word counts."""
        if self._outcome is not None:
            return
        self._outcome = outcome
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._done is not None:
            self._done(self)

    def when_done(self, call: Callable[[Task[T]], None] | None) -> None:
        """Call it once there is an outcome, at once if there is one; None takes that back."""
        self._done = call
        if call is not None and self._outcome is not None:
            call(self)

    async def _settled(self, timeout: float | None) -> Outcome[T] | None:
        """Wait for the outcome; None when the time was over first."""
        if self._outcome is not None:
            return self._outcome
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass  # whatever has arrived in the same moment still counts
        finally:
            self._waiters.remove(waiter)
        return self._outcome

    # -- its process --------------------------------------------------------------------------------

    def runs_in(self, cell: Cell) -> None:
        """Note the process that runs it, whose end settles it."""
        self._cell = cell
        if cell.state == DEAD:
            self.fire(cell.doom or NOPROC)
            return
        bonds = _bonds.bonds_of(cell)
        if bonds.watched_by is None:
            bonds.watched_by = {}
        bonds.watched_by[self] = None

    def fetched_by(self, fetching: asyncio.Task[None]) -> None:
        """Note what brings the value from its process, and settles it."""
        self._fetching = fetching

    def _untied(self) -> Cell:
        """Its process, which its end will not take us with."""
        cell = self._cell
        assert cell is not None
        if self._owner is not None:
            _bonds.unlink(self._owner, cell)
        return cell

    def end(self) -> Cell:
        """Kill its process; what comes of it is nobody's affair any more."""
        cell = self._untied()
        cell.node.signal_exit(cell, KILL)
        return cell

    def _give_up(self) -> None:
        cell = self._untied()
        cell.node.signal_exit(cell, SHUTDOWN)

    def _value(self, outcome: Outcome[T]) -> T:
        if isinstance(outcome, Ok):
            return outcome.value
        raise ActorExited(self._label(), "its value", outcome.reason, maybe_executed=True)

    def _label(self) -> str:
        return "task" if self._cell is None else self._cell.label()

    def _check_owner(self, what: str) -> None:
        current = this_node().current
        # An asyncio task that the owner has started is nobody, and speaks for whom it belongs to.
        if current is not None and current is not self._owner:
            owner = "plain asyncio code" if self._owner is None else self._owner.label()
            raise UsageError(
                f"only the process that started a task can {what} it: {owner} did, and this is "
                f"{current.label()}; have it send the value"
            )


async def _body(
    task: Task[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    value = fn(*args, **kwargs)
    task.settle(Ok(await value if inspect.iscoroutine(value) else value))


def begin(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, link: bool) -> Task[Any]:
    """Start a task on this event loop, linked to the current process if there is one and `link` says so."""
    if not callable(fn):
        raise UsageError(
            f"a task runs a function, got {fn!r}; pass the function and its arguments, not a call"
        )
    node = this_node()
    owner = node.current
    made: Task[Any] = Task(owner)

    def prepare(cell: Cell) -> None:
        if link and owner is not None:
            _bonds.link(cell, owner)
        made.runs_in(cell)

    spawn_cell(node, _body, (made, fn, args, kwargs), {}, owner, prepare, shown=fn)
    return made


@overload
def task(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
@overload
def task(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
def task(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
    """Run `fn(*args)` in a process that is linked to this one: its crash ends us, our end ends it.

    `fn` is an async function, or a plain one that does not block. In plain asyncio code there is nobody to
    link to: then the task's crash is raised where it is waited for, and it ends by itself.

    Raises:
        UsageError: that is no function.
    """
    return begin(fn, args, kwargs, link=True)


@overload
def task_nolink(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
@overload
def task_nolink(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
def task_nolink(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
    """Run `fn(*args)` in a process that is not linked to this one: its crash is raised by `wait` alone.

    Raises:
        UsageError: that is no function.
    """
    return begin(fn, args, kwargs, link=False)
