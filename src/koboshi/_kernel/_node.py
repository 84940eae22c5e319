"""The node: one event loop's run queue, deadlines, names and cells.

`Node._drain` is the run loop. asyncio calls it once when the first cell has work; it gives turns
until the queue is empty or its budget is spent, and then goes back to asyncio, so that sockets and
timers are never starved however busy the actors are.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from time import monotonic
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol, cast

from . import _bonds, _end, _turn
from ._cell import (
    DOOMED,
    IDLE,
    NO_KWARGS,
    QUEUED,
    REMOTE,
    RESTING,
    RUNNING,
    SUSPENDED,
    Cell,
    Item,
    Shortcut,
    Traits,
)
from ._deadlines import Deadlines
from ._events import Instruments
from ._reasons import ExitReason
from ._task import HANDLER, INLINE_CALLS, CellTask
from ._wait import Request

if TYPE_CHECKING:
    from ._route import RemoteCell, Route

# Messages that one cell may handle before the next cell has its turn.
MESSAGES_PER_TURN = 32
TURN = range(1, MESSAGES_PER_TURN + 1)
# Seconds after which no further turn begins in this tick of asyncio's loop. It is time and not a
# number of turns that sockets and timers wait for.
TICK_SECONDS = 0.005

_local = threading.local()
_serial = itertools.count(1)


class RunQueue(Protocol):
    """Cells that wait for their turn; which of them is next is the queue's affair."""

    def append(self, cell: Cell, /) -> None:
        """Take a cell in, once."""
        ...

    def popleft(self) -> Cell:
        """Give out whose turn it is."""
        ...

    def __len__(self) -> int: ...


class Node:
    """Everything that belongs to one event loop. There is one per loop, made on first use."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.id = f"{os.getpid()}.{next(_serial)}"
        # What is running now, None between turns; read by every ref and by the watchdog.
        self.current: Cell | None = None
        self.item: Item | Shortcut | None = None
        # Counts turns and steps, so that the watchdog can tell one long one from many short ones.
        self.tick = 0
        self.inline_left = INLINE_CALLS
        self.last_id = 0
        self.cells: dict[int, Cell] = {}
        self.names: dict[Any, Cell] = {}
        self.instruments = Instruments(loop.call_soon)
        self.deadlines = Deadlines(loop)
        self.services: dict[str, Any] = {}
        # Supervision trees that are up, and what is awaited when the last of them has ended.
        self.trees = 0
        self.closers: list[Callable[[], Awaitable[None]]] = []
        # What cells that have ended have left to threads, such as a last save: this node's OS process must
        # not end before it.
        self.unfinished: set[asyncio.Future[Any]] = set()
        # The way to other nodes, once there are any.
        self.route: Route | None = None
        # Called when a tick's turns are over: what they have sent to other nodes leaves together.
        self.flush: Callable[[], None] | None = None
        # What decides on the order of turns and their size; `koboshi.testing` puts its own in their place.
        self._queue: RunQueue = deque()
        self._clock: Callable[[], float] = monotonic
        self._turn = TURN
        self.inline_calls = INLINE_CALLS
        self._scheduled = False
        # Callbacks of ours run in an empty context: what is current when one is scheduled belongs
        # to whoever happened to be first.
        self.context = Context()

    def enqueue(self, cell: Cell) -> None:
        """Put a cell that is QUEUED or DOOMED at the end of the run queue."""
        self._queue.append(cell)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._drain, context=self.context)

    def schedule_by(
        self, queue: RunQueue, clock: Callable[[], float], *, messages_per_turn: int, inline_calls: int
    ) -> None:
        """Have turns given in another order, of another size, with another clock for a tick's end.

        For schedulers of tests. Nothing may be on the stack that is a turn; cells that wait keep waiting.
        """
        for _ in range(len(self._queue)):
            queue.append(self._queue.popleft())
        self._queue, self._clock = queue, clock
        self._turn = range(1, messages_per_turn + 1)
        self.inline_calls = self.inline_left = inline_calls

    @property
    def queued(self) -> int:
        """Cells that wait for their turn."""
        return len(self._queue)

    def _drain(self) -> None:
        """Give turns: the run loop."""
        queue, clock, turn = self._queue, self._clock, self._turn
        until = clock() + TICK_SECONDS
        self.inline_left = self.inline_calls
        try:
            while queue and clock() < until:
                cell = queue.popleft()
                if cell.state != QUEUED:
                    if cell.state == DOOMED:
                        _end.die(cell)
                    continue  # else: suspended or ended since it was queued
                cell.state = RUNNING
                if cell.task is not None:
                    if cell.task.step():
                        cell.rest()
                    continue

                mailbox = cell.mailbox
                if not mailbox:  # its mail was taken away meanwhile
                    cell.rest()
                    continue
                actor = cell.actor
                take = mailbox.popleft
                handled = 0
                self.current = cell
                self.tick += 1
                for handled in turn:  # noqa: B007, one count for all messages of the turn
                    self.item = item = take()
                    fn, args, kwargs, context, request = item
                    try:
                        # Unpacking `*args` costs more than the rest of a message, so the common
                        # counts are spelled out.
                        if kwargs is None:
                            result = context.run(fn, actor, args)
                        elif request is not None and (request.done or request.overdue(self.loop)):
                            result = None  # the caller has given up, or would have but for a busy loop
                        else:
                            if request is not None:
                                request.started = True
                            if kwargs:
                                result = context.run(fn, actor, *args, **kwargs)
                            elif (count := len(args)) == 1:
                                result = context.run(fn, actor, args[0])
                            elif not count:
                                result = context.run(fn, actor)
                            elif count == 2:
                                result = context.run(fn, actor, args[0], args[1])
                            else:
                                result = context.run(fn, actor, *args)
                    except BaseException as error:
                        self._failed(cell, error, item)
                        break
                    if request is not None or cell.state != RUNNING or result.__class__ is CoroutineType:
                        if not _turn.completed(cell, item, result):
                            break
                        self.current = cell  # a coroutine's step may have been in between
                    if not mailbox:
                        break
                cell.handled += handled
                if cell.state == RUNNING:  # else it waits, is suspended, or has ended
                    if mailbox or cell.traits is not None:
                        cell.rest()
                    else:
                        cell.mailbox = None
                        cell.state = IDLE
        finally:
            self.current = self.item = None
            if self.flush is not None:
                self.flush()
            self._scheduled = bool(queue)
            if queue:
                self.loop.call_soon(self._drain, context=self.context)

    def hold_turns(self) -> None:
        """Mail is about to be put in, and `give_turns` follows at once.

        Only for what asyncio itself calls, such as a socket's reader: nothing of ours may be on the stack.
        """
        self._scheduled = True

    def give_turns(self) -> None:
        """Give turns now and not in the next tick."""
        self._drain()

    @property
    def will_flush(self) -> bool:
        """Whether `flush` will be called without being asked for: turns are on, or scheduled."""
        return self._scheduled

    async def tree_ended(self) -> None:
        """One of the node's supervision trees is over; with the last, all that served them is."""
        self.trees -= 1
        while self.trees == 0 and self.closers:
            await self.closers.pop()()
        while self.trees == 0 and self.unfinished:
            await asyncio.wait(self.unfinished)

    def _failed(self, cell: Cell, error: BaseException, item: Item) -> None:
        """A plain handler raised."""
        self.current = None
        _end.crash(cell, error, item)
        _turn.leave(cell)
        if isinstance(error, KeyboardInterrupt):
            raise error

    def crash(self, cell: Cell, error: BaseException, item: Item) -> None:
        """End a cell for an error that its own code did not raise; see `_end.crash`."""
        _end.crash(cell, error, item)

    # A coroutine is over: for tasks, which cannot import it.
    task_ended = staticmethod(_turn.task_ended)

    def drive(self, cell: Cell, coro: Coroutine[Any, Any, Any], item: Item) -> None:
        """Give a cell the coroutine that its handler returned; it begins at the cell's next turn."""
        cell.task = CellTask(cell, coro, item, HANDLER)
        cell.state = DOOMED if cell.state == DOOMED else QUEUED
        self.enqueue(cell)

    def owe(self, cell: Cell, request: Request) -> None:
        """Remember that only this cell's reply, or its end, settles the call."""
        bonds = _bonds.bonds_of(cell)
        if bonds.owed is None:
            bonds.owed = {}
        bonds.owed[request] = None
        if len(bonds.owed) & 63 == 0:  # calls that were given up are not taken out by anybody else
            bonds.owed = {each: None for each in bonds.owed if not each.done}

    def signal_exit(self, target: Cell, reason: ExitReason) -> None:
        """Send an exit signal on behalf of whatever process runs now."""
        _bonds.signal_exit(target, self.current, reason, by_link=False)

    def signal_from(self, target: Cell, sender: Cell, reason: ExitReason) -> None:
        """Send an exit signal on behalf of `sender`."""
        _bonds.signal_exit(target, sender, reason, by_link=False)

    def suspend(self, cell: Cell) -> None:
        """Stop a cell from handling mail, after the message in hand."""
        if cell.state == REMOTE:
            cast("RemoteCell", cell).route.suspend(cast("RemoteCell", cell), True)
            return
        cell.own_traits().suspended = True
        # A task goes on until it is over; `rest` sees to it then.
        if cell.task is None and cell.state in (IDLE, RESTING, QUEUED, RUNNING):
            on_stack = cell.state == RUNNING
            cell.state = SUSPENDED
            if not on_stack:
                cell.look_for_orders()

    def resume(self, cell: Cell) -> None:
        """Take the suspension back."""
        if cell.state == REMOTE:
            cast("RemoteCell", cell).route.suspend(cast("RemoteCell", cell), False)
            return
        if cell.traits is not None and cell.traits.suspended:
            cell.traits.suspended = False
            if cell.state == SUSPENDED:
                if self.current is cell:  # by its own handler, which is not over
                    cell.state = RUNNING
                else:
                    cell.rest()

    def arm_idle(self, cell: Cell, traits: Traits) -> None:
        """Start the idle timer of a cell that has just become RESTING."""

        def idle() -> None:
            traits.idle_timer = None
            if cell.state == RESTING:  # any message that came meanwhile has put the timer off
                cell.post((cell.info.on_idle, (), NO_KWARGS, self.context.copy(), None))

        if traits.idle_timer is not None:
            traits.idle_timer.cancel()
        assert traits.idle_after is not None
        traits.idle_timer = self.loop.call_later(traits.idle_after, idle, context=self.context)


def this_node() -> Node:
    """The node of the running event loop.

    Raises:
        RuntimeError: no event loop runs on this thread.
    """
    loop = asyncio.get_running_loop()
    try:
        node: Node | None = _local.node
        if node is not None and node.loop is loop:
            return node
    except AttributeError:
        pass
    node = getattr(loop, "_koboshi_node", None)
    if node is None:
        node = Node(loop)
        # The loop owns its node: a registry of ours would keep closed loops alive.
        loop._koboshi_node = node  # type: ignore[attr-defined]
    _local.node = node
    return node
