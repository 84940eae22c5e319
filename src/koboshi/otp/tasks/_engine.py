"""What drives a stream: it takes items as there is room, starts their tasks, and keeps the outcomes.

Everything happens on the loop, in three kinds of places: in the consumer's `__anext__`, which alone
takes items and starts tasks; where a task settles; and in one timer. The tasks are not tied to the
consumer by links, which would fill its mailbox if it traps exits; the engine passes on what a link
would, in both directions.

An item is *taken* until its outcome is *delivered*. Its task is `running` until it has settled. In
between its outcome waits: in `_line` behind slower ones, or in `_ready`. No item is taken while
`running` is at `max_concurrency`, or while `max_concurrency + buffer` are taken and not delivered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..._kernel import _bonds
from ..._kernel._calls import own_task  # pyright: ignore[reportPrivateUsage]
from ..._kernel._cell import DEAD, Cell
from ..._kernel._end import gone
from ..._kernel._errors import ActorExited, CallTimeout, UsageError
from ..._kernel._message import describe
from ..._kernel._node import Node, this_node
from ..._kernel._reasons import KILL, ExitReason, Killed, Normal
from ..._kernel._wait import Wait
from ._outcomes import Failed, Outcome
from ._result import Result
from ._source import END, PENDING, Source, source_of
from ._task import NotTaskOwner

OnTimeout = Literal["exit", "kill"]


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """The options of a stream, read."""

    max_concurrency: int
    ordered: bool
    timeout: float | None
    on_timeout: OnTimeout
    buffer: int
    linked: bool


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """A stream at one moment.

    Attributes:
        taken: items that it has taken from its source.
        running: tasks that run now.
        waiting: outcomes that are there and not delivered yet.
        delivered: outcomes that the consumer has got; `failed` of them were failures.
    """

    taken: int
    running: int
    waiting: int
    delivered: int
    failed: int


class Entry(Result):
    """The result of one item."""

    __slots__ = ("due", "expired", "item", "limit")

    def __init__(self, target: Cell, fn: Any, began: float, item: Any) -> None:
        Result.__init__(self, target, fn, began)
        self.item = item
        self.due: float | None = None
        # Whether it is being killed for having run too long, and how long that is.
        self.expired = False
        self.limit = 0.0

    def fire(self, reason: ExitReason) -> None:
        if self.done:
            return
        if self.expired and isinstance(reason, Killed):
            reason = Killed(f"it took longer than {self.limit:g} s")
        self._settle(Failed(reason, self.item))


# Starts the task of one item for an owner; a coroutine when that has to be waited for.
Start = Callable[[Node, "Cell | None", Callable[[Any], Any], Any], "Entry | Awaitable[Entry]"]


class Engine:
    """One run through a stream."""

    def __init__(self, items: Any, fn: Callable[[Any], Any], options: StreamOptions, start: Start) -> None:
        self._items = items
        self._fn = fn
        self._options = options
        self._start = start
        # Set by the first step: whose stream it is.
        self.node: Node | None = None
        self._owner: Cell | None = None
        self._source: Source | None = None
        # In the order of their starts, so the first one is due first.
        self._running: dict[Entry, None] = {}
        # Taken and not delivered: in the order of the items, and, if that does not matter, of their ends.
        self._line: deque[Entry] = deque()
        self._ready: deque[Entry] = deque()
        # The item whose task is being started, or whose start was interrupted; nothing or one.
        self._held: list[Any] = []
        self._exhausted = False
        # What the consumer is to see instead of more outcomes.
        self._failure: Exception | None = None
        self.over = False
        self._wait: Wait | None = None
        self._stepping = False
        self._timer: asyncio.TimerHandle | None = None
        self._dying: list[Cell] = []
        self._reader: asyncio.Task[None] | None = None
        self._taken = self._delivered = self._failed = 0

    # -- the consumer's side -----------------------------------------------------------------

    async def step(self, stream: object) -> Outcome[Any]:
        """The next outcome. Meanwhile the stream itself is kept, with the end of which all this would end.

        Raises:
            StopAsyncIteration: there are no more.
            ActorExited, CallTimeout: see `task_stream`.
        """
        node = self.node
        if node is None or node.current is not self._owner or asyncio.get_running_loop() is not node.loop:
            node = self._begin()
        if self._stepping:
            raise UsageError("a stream is iterated by one at a time, and a step of this one is under way")
        self._stepping = True
        try:
            while True:
                while not self.over and (starting := self._fill(node)) is not None:
                    await self._wait_start(node, starting)
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                if self.over:
                    raise StopAsyncIteration
                verdict = self._next()
                if verdict is not None:
                    self._delivered += 1
                    self._failed += verdict.__class__ is Failed
                    return verdict
                if self._exhausted and not self._running:
                    self._finish()
                    continue
                await self._pause(node)
        finally:
            self._stepping = False

    def _begin(self) -> Node:
        node = this_node()
        current = node.current
        if self.node is None:
            self.node, self._owner = node, current
            self._source = source_of(self._items, self.notify)
            self._items = None
            if current is not None:
                bonds = _bonds.bonds_of(current)
                if bonds.watched_by is None:
                    bonds.watched_by = {}
                bonds.watched_by[self] = None
        elif node is not self.node or current is not self._owner:
            owner = "plain asyncio code of its loop" if self._owner is None else self._owner.label()
            caller = "plain asyncio code" if current is None else current.label()
            raise NotTaskOwner(f"the stream of {describe(self._fn)}", owner, caller)
        return node

    def _fill(self, node: Node) -> Awaitable[Entry] | None:
        """Take items and start their tasks, as far as there is room. Gives a start that has to be waited for."""
        most, window = self._options.max_concurrency, self._options.max_concurrency + self._options.buffer
        running, held = self._running, self._held
        # What is running too, and what only waits.
        line, ready = (self._line, ()) if self._options.ordered else (running, self._ready)
        while (
            not self._exhausted and not self.over and len(running) < most and len(line) + len(ready) < window
        ):
            if held:
                item = held.pop()
            else:
                assert self._source is not None
                item = self._source.pull()
                if item is PENDING:
                    return None
                if item is END:
                    self._exhausted = True
                    return None
                self._taken += 1
            try:
                started = self._start(node, self._owner, self._fn, item)
            except Exception as error:  # the supervisor is full, or the item cannot be sent
                self._not_started(error)
                return None
            if not isinstance(started, Entry):
                held.append(item)
                return started
            self._watch(node, started)
        return None

    async def _wait_start(self, node: Node, starting: Awaitable[Entry]) -> None:
        try:
            entry = await starting
        except Exception as error:
            self._not_started(error)
        else:
            self._held.clear()
            self._watch(node, entry)

    def _not_started(self, error: Exception) -> None:
        if not self.over:
            self._fail(error)

    def _watch(self, node: Node, entry: Entry) -> None:
        if self.over:  # ended while the task was being started
            entry.give_up()
            self._kill(entry.target)
            return
        self._running[entry] = None
        if self._options.ordered:
            self._line.append(entry)
        entry.listener = self
        timeout = self._options.timeout
        if timeout is not None:
            entry.limit = timeout
            entry.due = node.loop.time() + timeout
            if self._timer is None:
                self._timer = node.loop.call_at(entry.due, self._overdue, context=node.context)
        if entry.verdict is not None:
            self.heard(entry)
        elif entry.target.held is None:
            entry.watch()

    def _next(self) -> Outcome[Any] | None:
        """Take out the outcome that is due, if it is there."""
        if not self._options.ordered:
            return self._ready.popleft().verdict if self._ready else None
        if self._line and self._line[0].verdict is not None:
            return self._line.popleft().verdict
        return None

    async def _pause(self, node: Node) -> None:
        wait = self._wait = Wait()
        try:
            await wait.outcome(own_task(node.current, node), node.loop)
        finally:
            wait.done = True
            self._wait = None

    # -- what happens meanwhile ----------------------------------------------------------------

    def notify(self) -> None:
        """There may be something to go on with."""
        if self._wait is not None:
            self._wait.wake(None, None)

    def heard(self, result: Result) -> None:
        """A task has its outcome; its place is free."""
        entry = cast("Entry", result)
        self._running.pop(entry, None)
        verdict = entry.verdict
        if isinstance(verdict, Failed) and self._spreads(entry, verdict.reason):
            return
        if not self._options.ordered:
            self._ready.append(entry)
            self.notify()
        elif self._line[0] is entry or not self._exhausted:
            self.notify()

    def _spreads(self, entry: Entry, reason: ExitReason) -> bool:
        """Do to the owner what a link would; False when it is to get the outcome, as one that traps exits."""
        if isinstance(reason, Normal) or not self._options.linked or entry.expired:
            return False
        owner, cell = self._owner, entry.target
        if owner is None:
            self._fail(ActorExited(cell.label(), describe(self._fn), reason, maybe_executed=True))
            return True
        if owner.bonds is not None and owner.bonds.traps:
            return False
        self.halt()
        _bonds.signal_exit(owner, cell, reason, by_link=True)
        return True

    def _overdue(self) -> None:
        """The oldest task may have run for too long."""
        self._timer = None
        node, timeout = self.node, self._options.timeout
        assert node is not None
        assert timeout is not None
        now = node.loop.time()
        for entry in tuple(self._running):
            assert entry.due is not None
            if entry.expired:
                continue
            if entry.due > now + 1e-6:  # a timer may fire early by up to the clock's resolution
                self._timer = node.loop.call_at(entry.due, self._overdue, context=node.context)
                return
            cell = entry.target
            if self._options.on_timeout == "exit":
                self._fail(CallTimeout(cell.label(), describe(self._fn), timeout, maybe_executed=True))
                return
            entry.expired = True
            _bonds.signal_exit(cell, None, KILL, by_link=False)

    # -- the end -----------------------------------------------------------------------------

    def fire(self, reason: ExitReason) -> None:
        """The owner has ended, in whatever way: nobody will come for the rest."""
        self.halt()

    def _fail(self, failure: Exception) -> None:
        """End the stream with an error that the consumer's next step raises."""
        self.halt()
        self._failure = failure
        self.notify()

    def _finish(self) -> None:
        """All is delivered; an error of the source comes last, at its place."""
        assert self._source is not None
        self._failure = self._source.error
        self.halt()

    def halt(self) -> None:
        """Take nothing more, kill what runs, forget what waits."""
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._source is not None:
            self._reader = self._source.stop()
        for entry in tuple(self._running):
            entry.give_up()
            self._kill(entry.target)
        self._running.clear()
        self._line.clear()
        self._ready.clear()
        self._held.clear()
        self._items = None
        owner = self._owner
        if owner is not None and owner.bonds is not None and owner.bonds.watched_by is not None:
            owner.bonds.watched_by.pop(self, None)
        self.notify()

    def _kill(self, cell: Cell) -> None:
        if cell.state != DEAD:
            self._dying.append(cell)
            _bonds.signal_exit(cell, None, KILL, by_link=False)

    async def wait_gone(self) -> None:
        """Wait until nothing of a halted stream runs any more."""
        while self._dying:
            await gone(self._dying[-1])
            self._dying.pop()
        if self._reader is not None and not self._reader.done():
            await asyncio.wait((self._reader,))

    # -- looking -----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Outcomes that are there and not delivered."""
        if not self._options.ordered:
            return len(self._ready)
        return len(self._line) - len(self._running)

    def statistics(self) -> StreamStatistics:
        """The figures now."""
        return StreamStatistics(self._taken, len(self._running), self.waiting, self._delivered, self._failed)

    def __repr__(self) -> str:
        state = "over" if self.over else f"{len(self._running)} running, {self.waiting} waiting"
        return f"{describe(self._fn)}: {state}, {self._delivered} delivered"
