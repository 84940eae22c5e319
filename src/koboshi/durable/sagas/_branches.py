"""The tasks of a saga's `run`: what each of them waits for, and their end, also of those that do not want to end.

Each of their coroutines is driven by a `Branch`, which sees every future that the coroutine hands to its task. While
it has its step, the event loop makes tasks by us, so that whatever `run` starts is a branch as well. That is by what
asyncio has in public, under any event loop. Rejected: to read the loop's list of all tasks, which is as long as all
sagas that are awake have tasks, for each one that may sleep; and a task factory of our own for the whole program.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, ContextVar
from functools import partial
from types import MethodType
from typing import Any, NamedTuple, NoReturn

__all__ = ["Branch", "Branches"]

# Seconds for which the tasks of a `run` that has been ended may take to end.
_GRACE = 5.0

_BRANCHES: ContextVar[Branches | None] = ContextVar("koboshi_saga_branches", default=None)
_Start = Callable[[Coroutine[Any, Any, Any], Context], asyncio.Task[Any]]


_FILE_OF_TASKS = asyncio.sleep.__code__.co_filename
_FILE_OF_GROUPS = asyncio.TaskGroup.__aexit__.__code__.co_filename


class _Stack(NamedTuple):
    """What a coroutine is suspended in, as far as that can be seen."""

    # `asyncio.sleep`, `wait` and `wait_for` have clocks.
    has_clock: bool
    # Whether it waits for the end of a task group.
    is_group: bool
    # Those that it has entered.
    timeouts: tuple[asyncio.Timeout, ...]


def _stack_of(coro: Any) -> _Stack:
    files, timeouts = [""], list[asyncio.Timeout]()
    while hasattr(coro, "cr_await"):
        files.append(coro.cr_code.co_filename)
        # What an `async with` has entered is on the coroutine's stack, and refers to a timeout by a method of it.
        for each in gc.get_referents(coro):
            owner: Any = each.__self__ if type(each) is MethodType else each
            # By its type: what else is there may be a proxy, which does something when it is asked for its class.
            if issubclass(type(owner), asyncio.Timeout):
                timeouts.append(owner)
        coro = coro.cr_await
    return _Stack(_FILE_OF_TASKS in files, files[-1] == _FILE_OF_GROUPS, tuple(timeouts))


class Branch(Coroutine[Any, Any, Any]):
    """Drives one coroutine, and passes for it."""

    def __init__(self, branches: Branches, coro: Coroutine[Any, Any, Any]) -> None:
        self._branches = branches
        self._coro = coro
        # What its task awaits; None while it has not begun, is at work, or has only let others have a turn.
        self.waits_for: Any = None
        self._stack: _Stack | None = None
        # The task factory that the loop has besides, while the coroutine is at work.
        self._outer: Any = None
        # Whether it has begun an operation of the saga.
        self.is_ours = False
        # Whether it is left where it is at its next turn, whatever it wants.
        self.given_up = False

    # These two are all that a traceback shows of us.

    def send(self, value: Any) -> Any:
        """See `Coroutine`."""
        with self:
            if not self.given_up:
                self.waits_for = self._coro.send(value)
            return self._left() if self.given_up else self.waits_for

    def throw(self, *error: Any) -> Any:
        """See `Coroutine`."""
        with self:
            if not self.given_up:
                self.waits_for = self._coro.throw(*error)
            return self._left() if self.given_up else self.waits_for

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._outer = loop.get_task_factory()
        loop.set_task_factory(partial(self._branches.made, self._outer))
        self.waits_for = self._stack = None

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().set_task_factory(self._outer)

    def close(self) -> None:
        """See `Coroutine`."""
        self._coro.close()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:
        # Debuggers and tracebacks of tasks ask for its frame.
        return getattr(self._coro, name)

    def _left(self) -> NoReturn:
        """Let its `finally` blocks run, as far as they do not wait, and end its task."""
        with suppress(Exception, asyncio.CancelledError):  # nobody is left to hear of it
            self._coro.close()
        raise asyncio.CancelledError

    @property
    def stack(self) -> _Stack:
        """What its coroutine is suspended in. It is asked for often, and the same until the next step."""
        if self._stack is None:
            self._stack = _stack_of(self._coro)
        return self._stack


class Branches:
    """Of one runner.

    Args:
        stubborn: told once if some of them do not end.
    """

    def __init__(self, stubborn: Callable[[], None]) -> None:
        self._stubborn = stubborn
        self._tasks: dict[asyncio.Future[Any], Branch] = {}
        # Tasks that were not started by `run`, and have begun operations: what they await is not known.
        self._others: dict[asyncio.Task[Any], bool] = {}
        # What the waits for operations await.
        self._waits: set[asyncio.Future[Any]] = set()
        self._grace: asyncio.TimerHandle | None = None
        self._is_told = False

    def start(self, run: Coroutine[Any, Any, Any], context: Context, start: _Start) -> asyncio.Task[Any]:
        """The first one."""
        context.run(_BRANCHES.set, self)
        branch = Branch(self, run)
        branch.is_ours = True
        task = start(branch, context)
        self._add(task, branch)
        return task

    def made(
        self, outer: Any, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """See `loop.set_task_factory`; `outer` is the one that it has besides."""
        # What is started for the saga by others, such as its steps, has a context of its own.
        context: Context | None = options.get("context")
        owner = _BRANCHES.get() if context is None else context.get(_BRANCHES)
        branch: Branch | None = None
        if owner is self and asyncio.iscoroutine(coro):
            coro = branch = Branch(self, coro)
        task: asyncio.Task[Any]
        task = asyncio.Task(coro, loop=loop, **options) if outer is None else outer(loop, coro, **options)
        if branch is not None and not task.done():
            self._add(task, branch)
        return task

    def _add(self, task: asyncio.Task[Any], branch: Branch) -> None:
        self._tasks[task] = branch
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        self._others.pop(task, None)
        if self._grace is not None and not self._ours:
            self._grace.cancel()

    async def wait(self, future: asyncio.Future[Any]) -> Any:
        """Wait in one of them for the end of an operation."""
        task = asyncio.current_task()
        assert task is not None
        branch = self._tasks.get(task)
        if branch is not None:
            branch.is_ours = True
        elif task not in self._others:
            task.add_done_callback(self._ended)
        wait = asyncio.shield(future)
        self._waits.add(wait)
        try:
            if branch is None:
                self._others[task] = True
            return await wait
        finally:
            self._waits.discard(wait)
            if branch is None and task in self._others:
                self._others[task] = False

    # -- whether they only wait ------------------------------------------------------------------------

    @property
    def all_wait(self) -> bool:
        """Whether no end of anything but operations gives any of them something to do. In doubt it may."""
        return all(self._others.values()) and all(map(self._is_at_rest, self._tasks.values()))

    def _is_at_rest(self, branch: Branch) -> bool:
        stack = branch.stack
        if stack.has_clock or any(each.when() is not None for each in stack.timeouts):
            return False
        # The end of a task group is a future like any other. Its tasks are branches, so they are looked at.
        return self._comes_of_us(branch.waits_for) or (stack.is_group and branch.waits_for is not None)

    def _comes_of_us(self, future: Any) -> bool:
        """Whether a future is the end of an operation or of branches."""
        if future in self._waits or future in self._tasks:
            return True
        gathered: list[asyncio.Future[Any]] = getattr(future, "_children", [])
        return bool(gathered) and all(each.done() or self._comes_of_us(each) for each in gathered)

    # -- their end -------------------------------------------------------------------------------------

    @property
    def _ours(self) -> list[asyncio.Future[Any]]:
        # Of what else `run` has started some may be of use to others too, such as the reader of a connection.
        return [task for task, branch in self._tasks.items() if branch.is_ours]

    def end(self) -> None:
        """End them, those of which `run` has lost hold too."""
        ours = self._ours
        for task in (*ours, *self._others):
            task.cancel()
        if ours:
            self._grace = asyncio.get_running_loop().call_later(_GRACE, self._give_up)

    def _give_up(self) -> None:
        for task in self._ours:
            self._give_up_one(self._tasks[task])
            task.cancel()

    def _give_up_one(self, branch: Branch) -> None:
        branch.given_up = True
        if not self._is_told:
            self._is_told = True
            self._stubborn()

    async def leave(self) -> None:
        """End the one that asks here and now; does not return."""
        task = asyncio.current_task()
        branch = None if task is None else self._tasks.get(task)
        if branch is not None:
            self._give_up_one(branch)
            await asyncio.sleep(0)
        await asyncio.get_running_loop().create_future()
