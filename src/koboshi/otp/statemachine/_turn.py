"""One turn of a state machine: an event from outside, and all that it sets off inside.

Each event goes the same way: its handler runs; the state changes; timeouts that were asked for are set; the
new state is entered; what was inserted, postponed or is due at once is brought into its order; the reply
leaves. Then comes the next event that waits inside, and when there is none, the mailbox.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from contextvars import copy_context
from enum import Enum
from typing import Any, ClassVar

from ..._kernel._actor import Actor
from ..._kernel._cell import NO_KWARGS
from ..._kernel._errors import KoboshiError
from ..._kernel._events import Unhandled
from ..._kernel._ref import ActorRef
from ..._kernel._reply import defer, in_hand
from ..._kernel._timers import Timer
from ._events import Event, EventQueue
from ._inner_reply import InHand
from ._table import ENTER, EVENT_TIMEOUT, INFO, STATE_TIMEOUT, Row, Table, label_of
from ._timeouts import Timeouts

__all__ = ["CALL", "CAST", "Inside", "Turns", "Unexpected", "UnexpectedEvent", "timeout_label"]

CALL, CAST = "call", "cast"


class UnexpectedEvent(KoboshiError):
    """The machine does not take this event in its state. It goes on; only the caller is told."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine} does not take {event!r} in state {state}")
        self.machine = machine
        self.state = state
        self.event = event

    def __reduce__(self) -> tuple[Any, ...]:
        return UnexpectedEvent, (self.machine, self.state, self.event)


class Unexpected(BaseException):
    """Leaves a handler that does not take its event; no `except Exception` in between keeps it."""


class Inside:
    """What the runtime keeps of one machine, apart from its user's data."""

    __slots__ = (
        "begun",
        "event",
        "events",
        "going",
        "in_hand",
        "pending",
        "queue",
        "repeats",
        "row",
        "rows",
        "state",
        "timeouts",
        "transitions",
    )

    def __init__(self, table: Table, state: Enum, timeouts: Timeouts) -> None:
        self.state = state
        # What handles each event in this state.
        self.rows = table.rows_of(state)
        self.timeouts = timeouts
        self.queue = EventQueue()
        # The event whose handler runs, and its row; None between events.
        self.event: Event | None = None
        self.row: Row | None = None
        # That event is not the message which the actor was sent, and stands in its place.
        self.in_hand: InHand | None = None
        # Where the handler wants to go, and whether it wants to enter its state again.
        self.going: Enum | None = None
        self.repeats = False
        # Timeouts that the handler has set or taken back; done after the change of state.
        self.pending: list[tuple[str, Hashable, float, Any]] = []
        # Whether the initial state has been entered.
        self.begun = False
        self.events = 0
        self.transitions = 0


class Turns(Actor):
    """What runs a machine; what a handler may ask for is in `StateMachine`."""

    initial: ClassVar[Enum]
    _kb_table: ClassVar[Table]
    _kb_inside: Inside | None = None

    def _machine(self) -> Inside:
        inside = self._kb_inside
        if inside is None:
            inside = self._kb_inside = Inside(self._kb_table, self.initial, Timeouts(self._start_timer))
        return inside

    def _take(self, event: Event) -> Any:
        """Handle an event from outside and all that it sets off; the value for its caller."""
        if self._machine().begun:
            return self._run(event)
        begun = self._begin()
        return self._run(event) if begun is None else self._begin_and_run(begun, event)

    async def _begin_and_run(self, begun: Any, event: Event) -> Any:
        await begun
        value = self._run(event)
        return await value if inspect.iscoroutine(value) else value

    # -- the way of an event ------------------------------------------------------------------------

    def _run(self, first: Event) -> Any:
        inside = self._kb_inside or self._machine()
        event = first
        while True:
            row = inside.rows.get(event.key)
            if row is not None and row.is_async:
                return self._run_async(first, event)
            if event is first:
                value = self._handle(inside, event, row)
            else:
                value = self._handle_inner(inside, event, row)
            old = self._change(inside)
            if old is None or (enter := inside.rows.enter) is None:
                inside.event = inside.row = None  # `_change` has settled the rest
            elif enter.is_async:
                return self._run_async(first, event, (value, old))
            else:
                self._enter(old)
                self._settle(inside)
            following = self._next() if inside.queue.items else None
            if following is None:
                return self._answered(first, event, value)
            self._answer(first, event, value)
            event = following

    async def _run_async(self, first: Event, event: Event, handled: tuple[Any, Enum] | None = None) -> Any:
        """The same from an event on whose handler waits for something, or the entering of whose state."""
        inside = self._machine()
        while True:
            old: Enum | None
            if handled is not None:
                (value, old), handled = handled, None
            else:
                row = inside.rows.get(event.key)
                if event is not first:
                    self._put_in_hand(event, row)
                try:
                    value = self._handle(inside, event, row)
                    if inspect.iscoroutine(value):
                        value = await value
                except Unexpected:
                    value = self._refuse(event)
                finally:
                    self._over()
                old = self._change(inside)
            if old is not None:
                entering = self._enter(old)
                if inspect.iscoroutine(entering):
                    await entering
            self._settle(inside)
            following = self._next()
            if following is None:
                return self._answered(first, event, value)
            self._answer(first, event, value)
            event = following

    def _handle(self, inside: Inside, event: Event, row: Row | None) -> Any:
        """Run the handler of an event; its value, or its coroutine."""
        args = event.args
        if event.timeout is not None:
            ended = inside.timeouts.ends(*event.timeout)
            if ended is None:  # set anew, cancelled, or put off by an event, since it ended
                event.handled = False
                return None
            args = ended
        if inside.timeouts._set:
            inside.timeouts.cancel(EVENT_TIMEOUT)
        inside.events += 1
        inside.event, inside.row, inside.going, inside.repeats = event, row, None, False
        event.postponed = False
        try:
            if row is None:
                raise Unexpected
            return row.handler(self, *args, **event.kwargs) if event.kwargs else row.handler(self, *args)
        except Unexpected:
            return self._refuse(event)

    def _handle_inner(self, inside: Inside, event: Event, row: Row | None) -> Any:
        """The same for an event that waited inside, whose caller is not that of the message in hand."""
        self._put_in_hand(event, row)
        try:
            return self._handle(inside, event, row)
        finally:
            self._over()

    def _put_in_hand(self, event: Event, row: Row | None) -> None:
        if self._runs():
            handler = event.key if row is None else row.handler
            self._machine().in_hand = InHand(self._kb_cell, event, handler)

    def _over(self) -> None:
        """A handler is over; what was put in hand for it is no more."""
        inside = self._machine()
        if inside.in_hand is not None:
            inside.in_hand.give_back()
            inside.in_hand = None

    def _refuse(self, event: Event) -> Any:
        """The event is not taken in this state."""
        inside = self._machine()
        inside.going, inside.row, inside.pending = inside.state, None, []
        inside.queue.forget_inserted()
        event.postponed = False
        error = UnexpectedEvent(type(self).__qualname__, inside.state.name, label_of(event.key))
        if not self._runs():
            inside.event = None
            raise error
        self._over()
        if self._kind(event) == CALL:
            if event.reply is None:
                event.reply = defer()
            event.reply.fail(error)
        else:
            where = f"{label_of(event.key)} in {inside.state.name}"
            shown = repr(event.args[0]) if event.key is INFO else where
            self._kb_cell.node.instruments.emit(Unhandled(self._kb_cell.label(), shown))
        return None

    def _change(self, inside: Inside) -> Enum | None:
        """The handler has returned: change the state. The old one, if a state is to be entered now."""
        event = inside.event
        if event is None:
            return None  # nothing was handled
        row, old = inside.row, inside.state
        target = inside.going
        if target is None:
            target = row.to[0] if row is not None and row.goes else old
        changed = target is not old
        if changed:
            inside.state = target
            inside.rows = self._kb_table.rows_of(target)
            inside.transitions += 1
            if inside.timeouts._set:
                inside.timeouts.cancel(STATE_TIMEOUT)
        if inside.pending:
            self._settle_timeouts()
        queue = inside.queue
        if event.postponed:
            queue.postpone(event)
        if queue.unsettled or (changed and queue.kept):
            queue.settle(changed=changed)
        return old if changed or inside.repeats else None

    def _enter(self, old: Enum) -> Any:
        inside = self._machine()
        row = inside.rows.enter
        if row is None:
            return None
        inside.event, inside.row, inside.going, inside.repeats = Event("enter", ENTER), row, None, False
        return row.handler(self, old)

    def _settle(self, inside: Inside) -> None:
        """The event is over."""
        if inside.event is not None:
            if inside.pending:
                self._settle_timeouts()
            inside.queue.settle(changed=False)
            inside.event = inside.row = None

    def _next(self) -> Event | None:
        """The event to be handled now; none once the machine has been told to stop."""
        if self._runs() and self._kb_cell.doom is not None:
            return None
        queue = self._machine().queue
        while (event := queue.next()) is not None:
            if not event.postponed or event.reply is None or event.reply.wanted:
                return event
        return None  # nobody waits any more for the calls that were postponed

    # -- the beginning ------------------------------------------------------------------------------

    def _begin(self) -> Any:
        """Enter the initial state, once; a coroutine if that waits for something."""
        inside = self._machine()
        if inside.begun:
            return None
        inside.begun = True
        row = inside.rows.enter
        if row is not None and row.is_async:
            return self._begin_async()
        self._enter(inside.state)
        self._settle(inside)
        event = self._next()  # a timeout of no seconds
        return None if event is None else self._run(event)

    async def _begin_async(self) -> None:
        inside = self._machine()
        entering = self._enter(inside.state)
        if inspect.iscoroutine(entering):
            await entering
        self._settle(inside)
        event = self._next()
        if event is not None:
            await self._run_async(event, event)

    # -- replies ------------------------------------------------------------------------------------

    def _answered(self, first: Event, event: Event, value: Any) -> Any:
        """All is handled: the value of the event that came from outside is what its handler returns."""
        if event is first and event.reply is None:
            return value
        self._answer(first, event, value)
        return None

    def _answer(self, first: Event, event: Event, value: Any) -> None:
        """Send a reply now, since other events are handled before this turn is over."""
        if self._kind(event) != CALL or not event.handled or event.postponed:
            return
        if event is first and event.reply is None and self._runs():
            item = in_hand()[1]
            if len(item) == 5 and item[4] is not None and not item[4].due_from(self._kb_cell):
                return  # its handler has deferred or forwarded it
            event.reply = defer()
        if event.reply is not None:
            event.reply.send(value)

    def _kind(self, event: Event) -> str:
        """What an event is. Of one that was sent it is found out when it is asked for, in its own turn."""
        if not event.kind:
            event.kind = CAST if self._is_cast() else CALL
        return event.kind

    def _is_cast(self) -> bool:
        if not self._runs():
            return False
        item = in_hand()[1]
        return len(item) == 5 and item[4] is None

    # -- timeouts -----------------------------------------------------------------------------------

    def _kb_timeout(self, name: Hashable, number: int) -> Any:
        """A timer of ours has ended."""
        return self._take(Event(timeout_label(name), name, timeout=(name, number)))

    def _settle_timeouts(self) -> None:
        inside = self._machine()
        pending, inside.pending = inside.pending, []
        for what, name, seconds, payload in pending:
            if what == "cancel":
                inside.timeouts.cancel(name)
            elif what == "set" or not inside.timeouts.update(name, payload):
                number = inside.timeouts.set(name, seconds, payload)
                if seconds == 0:
                    ended = Event(timeout_label(name), name, timeout=(name, number))
                    inside.queue.end_at_once(ended)

    def _start_timer(self, seconds: float, name: Hashable, number: int) -> Timer | None:
        if not self._runs() or seconds == float("inf"):
            return None
        cell = self._kb_cell

        def end() -> None:
            cell.post((Turns._kb_timeout, (name, number), NO_KWARGS, copy_context(), None))

        return Timer(cell.node, seconds, end, ActorRef(cell), repeat=False)

    def _runs(self) -> bool:
        return getattr(self, "_kb_cell", None) is not None


def timeout_label(name: Hashable) -> str:
    """How a timeout prints."""
    return label_of(name)
