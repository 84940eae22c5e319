"""`Task`: one function in a process of its own, and its value for the process that started it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, overload

from ..._kernel import _bonds
from ..._kernel._calls import deadline_of
from ..._kernel._cell import DEAD, NO_KWARGS, Cell
from ..._kernel._end import gone
from ..._kernel._errors import ActorExited, CallTimeout, NotInProcess, UsageError
from ..._kernel._message import describe
from ..._kernel._node import Node, this_node
from ..._kernel._process import Process, spawn_cell
from ..._kernel._reasons import KILL, SHUTDOWN, ExitReason, Killed, Shutdown
from ..._kernel._ref import ActorRef
from ._body import run
from ._options import function, seconds_or_none
from ._outcomes import Failed, Ok, Outcome
from ._result import Gathering, Result

P = ParamSpec("P")
T = TypeVar("T")
TT = TypeVar("TT", covariant=True)

GIVEN_UP = Shutdown("its owner has given up waiting for it")


class NotTaskOwner(UsageError):
    """A task was awaited by another process than the one that started it; `task` and `owner` name them."""

    def __init__(self, task: str, owner: str, caller: str) -> None:
        super().__init__(
            f"{task} belongs to {owner} and cannot be waited for by {caller}: its value goes to the process "
            "that started it; wait there, and send the value on as a message"
        )
        self.task = task
        self.owner = owner
        self.caller = caller


class Task(Generic[TT]):
    """One function that runs in a process of its own; made by `task`, `task_nolink` and `tasks(...)`.

    `await task` gives the value, or raises; it is `task.wait()`. Only the process that started it may wait.
    """

    __slots__ = ("_given_up", "_linked", "_owner", "_result")

    def __init__(self, result: Result, owner: Cell | None, *, linked: bool) -> None:
        self._result = result
        self._owner = owner
        self._linked = linked
        self._given_up = False

    @property
    def ref(self) -> ActorRef[Process]:
        """The pid ref of its process."""
        return ActorRef(self._result.target)

    @property
    def outcome(self) -> Outcome[TT] | None:
        """What came of it; None while it runs, and when it was given up."""
        return self._result.verdict

    async def wait(self, timeout: float | None = 5.0) -> TT:
        """Wait for the value. Waiting again gives it again.

        Args:
            timeout: seconds; None waits on. Inside a handler no wait outlasts the caller's deadline.

        Raises:
            ActorExited: it ended without a value; `reason` says how, `__cause__` is its error.
            CallTimeout: no value in time, and the task is given up: a value that comes later goes nowhere,
                and a linked task is shut down.
            NotTaskOwner: this is not the process that started it.
        """
        seconds_or_none("timeout", timeout)
        node = self._check()
        if self._result.verdict is None:
            self._check_wanted()
            until = deadline_in(node, timeout, inherit=True)
            await Gathering((self._result,), 1, fail_fast=False).wait(node, until)
        outcome: Outcome[TT] | None = self._result.verdict
        if outcome is None:
            self._give_up()
            raise self._timed_out(node)
        return outcome.value if isinstance(outcome, Ok) else self._fail(outcome.reason)

    def __await__(self) -> Generator[Any, Any, TT]:
        return self.wait().__await__()

    async def poll(self, timeout: float | None = 5.0) -> Outcome[TT] | None:
        """Wait for an outcome and return it: `Ok` or `Failed`. None after the timeout; then ask again.

        Args:
            timeout: seconds; None waits on, 0 only looks.

        Raises:
            NotTaskOwner: this is not the process that started it.
        """
        seconds_or_none("timeout", timeout)
        node = self._check()
        if self._result.verdict is None:
            self._check_wanted()
            await Gathering((self._result,), 1, fail_fast=False).wait(node, deadline_in(node, timeout))
        return self._result.verdict

    async def shutdown(self, timeout: float | Literal["kill"] | None = 5.0) -> Outcome[TT] | None:
        """End the task and wait until it is gone.

        A value that has arrived, even while this waits, is returned and not lost; so is the reason when it
        ended in another way than asked. None: it was shut down before it had a value.

        Args:
            timeout: seconds that it has to end in; then it is killed. "kill" kills it at once, None waits on.

        Raises:
            NotTaskOwner: this is not the process that started it.
        """
        if timeout != "kill":
            seconds_or_none('timeout, if it is not "kill",', timeout)
        node = self._check()
        result = self._result
        cell = result.target
        if cell.state != DEAD:
            self._unlink()
            node.signal_exit(cell, KILL if timeout == "kill" else SHUTDOWN)
            if await gone(cell, None if timeout == "kill" else timeout) is None:
                node.signal_exit(cell, KILL)
                await gone(cell)
                if isinstance(result.verdict, Failed) and isinstance(result.verdict.reason, Killed):
                    return None
        outcome = result.verdict
        wanted = Killed if timeout == "kill" else Shutdown
        if isinstance(outcome, Failed) and isinstance(outcome.reason, wanted):
            return None
        return outcome

    # -- inside ------------------------------------------------------------------------------

    def _check(self) -> Node:
        """The node, if this is the process that may wait."""
        node = this_node()
        current = node.current
        if current is not self._owner or node is not self._result.target.node:
            owner = "plain asyncio code of its loop" if self._owner is None else self._owner.label()
            caller = "plain asyncio code, or a task that a handler has started"
            raise NotTaskOwner(repr(self), owner, caller if current is None else current.label())
        return node

    def _check_wanted(self) -> None:
        if self._given_up:
            raise UsageError(
                f"{self!r} was given up by a wait that timed out; use poll to look more than once, "
                "or a longer timeout"
            )
        if self._result.listener is not None:
            raise UsageError(f"{self!r} is being waited for already; each task has one wait at a time")

    def _unlink(self) -> None:
        if self._linked and self._owner is not None:
            _bonds.unlink(self._owner, self._result.target)

    def _give_up(self) -> None:
        """What would have ended its owner in Elixir, and a linked task with it, is an error here."""
        if self._result.verdict is not None or self._given_up:
            return
        self._given_up = True
        self._result.give_up()
        cell = self._result.target
        if self._linked and cell.state != DEAD:
            self._unlink()
            cell.node.signal_exit(cell, GIVEN_UP)

    def _timed_out(self, node: Node) -> CallTimeout:
        result = self._result
        elapsed = node.loop.time() - result.began
        return CallTimeout(result.target.label(), describe(result.message), elapsed, maybe_executed=True)

    def _fail(self, reason: ExitReason) -> NoReturn:
        raise ActorExited(
            self._result.target.label(), describe(self._result.message), reason, maybe_executed=True
        )

    def __reduce__(self) -> NoReturn:
        raise UsageError(f"{self!r} cannot be sent anywhere: its value goes to the process that started it")

    def __repr__(self) -> str:
        outcome = self._result.verdict
        if outcome is not None:
            state = "returned" if isinstance(outcome, Ok) else repr(outcome.reason)
        else:
            state = "given up" if self._given_up else "running"
        return f"<Task {describe(self._result.message)} {self._result.target.label()}: {state}>"


def deadline_in(node: Node, timeout: float | None, *, inherit: bool = False) -> float | None:
    """When a wait ends, as a time of the loop; with `inherit` not after the deadline of the call in hand."""
    own = None if timeout is None else node.loop.time() + timeout
    inherited = deadline_of(node.current) if inherit else None
    return min((each for each in (own, inherited) if each is not None), default=None)


@overload
def task(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
@overload
def task(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
def task(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
    """Run `fn(*args, **kwargs)`, async or plain, in a process that is linked to the current one.

    If it crashes, so does the caller, unless that traps exits; if the caller dies, so does it.

    Raises:
        NotInProcess: there is no current process to link to.
    """
    node = this_node()
    if node.current is None:
        function("task", fn)
        raise NotInProcess(
            "otp.task links the task to the current process, and none runs here: this is plain asyncio code, "
            "or a task that a handler has started; use otp.task_nolink, or kb.spawn a process that does it"
        )
    return start(node, fn, args, kwargs, linked=True)


@overload
def task_nolink(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
@overload
def task_nolink(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
def task_nolink(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
    """Like `task` without the link: a crash is seen by whoever waits, and by nobody else.

    Works in plain asyncio code too. Nobody stops such a task; `tasks(...).task_nolink` has a supervisor.
    """
    return start(this_node(), fn, args, kwargs, linked=False)


def start(
    node: Node, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, linked: bool
) -> Task[Any]:
    """Start a task on this node."""
    function("a task", fn)
    owner = node.current
    result = Result.__new__(Result)

    def prepare(cell: Cell) -> None:
        result.__init__(cell, fn, node.loop.time())  # type: ignore[misc]
        if linked and owner is not None:
            _bonds.tie(cell, owner)
        result.watch()

    spawn_cell(node, run, (result, fn, args, kwargs), NO_KWARGS, owner, prepare, shown=fn)
    return Task(result, owner, linked=linked)
