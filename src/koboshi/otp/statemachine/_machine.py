"""`StateMachine`: an actor whose handlers depend on its state, after OTP's gen_statem.

What a handler asks for is only noted while it runs; `_turn` says when it takes effect.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, NoReturn, ParamSpec

from ..._kernel._errors import UsageError
from ..._kernel._message import Message, message
from ..._kernel._reply import defer
from ._declare import EVENT, fallbacks_of, rows_of, timeout
from ._events import Event
from ._table import ENTER, EVENT_TIMEOUT, INFO, STATE_TIMEOUT, Table, label_of
from ._turn import CALL, Inside, Turns, Unexpected, timeout_label

__all__ = ["Snapshot", "StateMachine", "StateMachineStatistics"]

P = ParamSpec("P")

# What entering a state cannot ask for: it is no event.
_FOR_EVENTS = ("go", "stay", "repeat", "postpone", "insert", "unexpected")


@dataclass(frozen=True, slots=True)
class StateMachineStatistics:
    """A machine at one moment: its state, what waits inside, and since its start events and transitions."""

    state: str
    queued: int
    postponed: int
    timeouts: tuple[Any, ...]
    events: int
    transitions: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State and data of a machine, to be kept elsewhere; timeouts and waiting events are not in it."""

    state: str
    data: dict[str, Any]


class StateMachine(Turns):
    """An actor with a table: subclasses have an Enum called `State`, an `initial` state, events and rows.

    The class is checked when it is made: a state that cannot be reached, one that cannot be left and is not
    in `final`, two rows for one state and event, and names that do not exist are a `UsageError` there.
    """

    #: The states. Subclasses have one; without it a class is a base for others.
    State: ClassVar[type[Enum]]
    #: Where a machine begins.
    initial: ClassVar[Enum]
    #: States that nothing leaves.
    final: ClassVar[Any] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "State"):
            if not isinstance(getattr(cls, "initial", None), Enum):
                first = next((state.name for state in cls.State), "...")
                raise UsageError(f"{cls.__qualname__} has no initial state; add `initial = State.{first}`")
            rows, fallbacks = rows_of(cls), fallbacks_of(cls)
            cls._kb_table = Table(cls.__qualname__, cls.State, cls.initial, cls.final, rows, fallbacks)

    @classmethod
    def mermaid(cls) -> str:
        """The table as a Mermaid state diagram."""
        return cls._kb_table.mermaid()

    # -- what handlers ask for ----------------------------------------------------------------------

    @property
    def state(self) -> Any:
        """The state that the machine is in, a member of `State`."""
        return self._machine().state

    def go(self, state: Enum) -> None:
        """Go to a state when the handler has returned. To the one it is in: nothing is entered or retried.

        Raises:
            UsageError: the row of this handler does not declare that state in `to`.
        """
        inside = self._handling("go")
        row = inside.row
        if state is not inside.state and (row is None or state not in row.to):
            declared = ", ".join(each.name for each in row.to) if row is not None and row.to else "none"
            assert inside.event is not None
            raise UsageError(
                f"the handler of {label_of(inside.event.key)} in {inside.state.name} goes to {state!r}, "
                f"and its row declares {declared}; add it to to=(...)"
            )
        inside.going = state

    def stay(self) -> None:
        """Do not go where the row would lead by itself."""
        inside = self._handling("stay")
        inside.going = inside.state

    def repeat(self) -> None:
        """Enter the present state again when the handler has returned; postponed events are not retried."""
        inside = self._handling("repeat")
        inside.going, inside.repeats = inside.state, True

    def postpone(self) -> None:
        """Handle this event again after the next real change of state; a caller waits until then.

        A call whose caller has given up by then is not handled again.
        """
        inside = self._handling("postpone")
        event = inside.event
        assert event is not None
        if self._kind(event) == CALL and event.reply is None and self._runs():
            event.reply = defer()
        event.postponed = True

    def insert(self, event: Message[Any, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Handle an event of this machine's own next, before anything that waits."""
        inside = self._handling("insert")
        name = getattr(event, "__name__", "")
        if not hasattr(event, EVENT) or not hasattr(type(self), name):
            raise UsageError(f"insert takes an event of {type(self).__qualname__}, got {event!r}")
        inside.queue.insert(Event("internal", name, args, kwargs))

    def unexpected(self) -> NoReturn:
        """Refuse this event: a caller gets `UnexpectedEvent`; anything else is reported as `Unhandled`."""
        self._handling("unexpected")
        raise Unexpected

    def set_state_timeout(self, seconds: float, payload: Any = None) -> None:
        """Have `STATE_TIMEOUT` handled after so many seconds in this state; leaving it takes that back."""
        self._ask("set", STATE_TIMEOUT, _checked(seconds), payload)

    def set_event_timeout(self, seconds: float, payload: Any = None) -> None:
        """Have `EVENT_TIMEOUT` handled after so many seconds without any event."""
        self._ask("set", EVENT_TIMEOUT, _checked(seconds), payload)

    def set_timeout(self, name: Hashable, seconds: float, payload: Any = None) -> None:
        """Have `timeout(name)` handled after so many seconds, in whatever state; anew if it is set."""
        self._ask("set", timeout(name), _checked(seconds), payload)

    def cancel_state_timeout(self) -> None:
        """Take `set_state_timeout` back."""
        self._ask("cancel", STATE_TIMEOUT)

    def cancel_timeout(self, name: Hashable) -> None:
        """Take `set_timeout` back, even if its end is on its way."""
        self._ask("cancel", timeout(name))

    def update_state_timeout(self, payload: Any) -> None:
        """Give the state timeout another payload and leave its time; if none is set, it ends at once."""
        self._ask("update", STATE_TIMEOUT, 0.0, payload)

    def update_timeout(self, name: Hashable, payload: Any) -> None:
        """Give a named timeout another payload and leave its time; if it is not set, it ends at once."""
        self._ask("update", timeout(name), 0.0, payload)

    @property
    def event_kind(self) -> str:
        """What the event in hand is: call, cast, info, internal, enter, or which timeout."""
        event = self._handling("event_kind").event
        assert event is not None
        return self._kind(event)

    # -- from outside -------------------------------------------------------------------------------

    @message
    def statistics(self) -> StateMachineStatistics:
        """Figures since the start."""
        inside = self._machine()
        return StateMachineStatistics(
            inside.state.name,
            len(inside.queue.items),
            inside.queue.postponed,
            tuple(timeout_label(name) for name in inside.timeouts.names()),
            inside.events,
            inside.transitions,
        )

    def snapshot(self) -> Snapshot:
        """State and data as they are."""
        return Snapshot(self._machine().state.name, self._data())

    def restore(self, snapshot: Snapshot) -> None:
        """Begin in the state and with the data of a snapshot; in `__init__` or before the first event.

        Raises:
            UsageError: the machine has begun, or has no such state.
        """
        inside = self._machine()
        if inside.begun:
            raise UsageError(f"{self!r} has begun, so it cannot be restored; do it in __init__")
        try:
            inside.state = type(self).State[snapshot.state]
            inside.rows = self._kb_table.rows_of(inside.state)
        except KeyError:
            raise UsageError(f"{type(self).__qualname__} has no state {snapshot.state!r}") from None
        vars(self).update(snapshot.data)

    def on_start(self) -> Any:
        """Enters the initial state. An override calls it when its own work is done."""
        return self._begin()

    def on_info(self, message: Any, /) -> Any:
        """Whatever else is sent, ends of monitored processes among it, is the event `INFO`."""
        return self._take(Event("info", INFO, (message,)))

    def code_change_state(self, old_version: Any, name: str) -> Enum:
        """The state of this class that a machine is in once an upgrade has given it this class.

        By default the one of the same name. `code_change` has made the attributes by then.

        Args:
            old_version: as for `code_change`.
            name: of the state that it was in.
        """
        try:
            return type(self).State[name]
        except KeyError:
            raise UsageError(
                f"{type(self).__qualname__} has no state {name!r}; say with code_change_state which it is now"
            ) from None

    def format_status(self) -> object:
        return {"state": self._machine().state.name, "data": self._data()}

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} {self._machine().state.name}>"

    # -- inside -------------------------------------------------------------------------------------

    def _kb_dispatch(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An event was sent, or its method was called on an object without a runtime."""
        inside = self._kb_inside or self._machine()
        if inside.event is not None:
            handled = label_of(inside.event.key)
            raise UsageError(
                f"{name} was called while {handled} is handled; use self.insert({type(self).__name__}.{name})"
            )
        event = Event("", name, args, kwargs)
        return self._run(event) if inside.begun else self._take(event)

    def _kb_class_changed(self, old_version: Any) -> Callable[[], None]:
        inside = self._kb_inside
        if inside is None:  # it was no state machine, and begins as one with its next event
            return super()._kb_class_changed(old_version)
        old, rows = inside.state, inside.rows
        state: object = self.code_change_state(old_version, old.name)
        if not isinstance(state, type(self).State):
            raise UsageError(
                f"code_change_state returns a member of {type(self).__qualname__}.State, got {state!r}"
            )
        inside.state, inside.rows = state, self._kb_table.rows_of(state)

        def undo() -> None:
            inside.state, inside.rows = old, rows

        return undo

    def _ask(self, what: str, name: Hashable, seconds: float = 0.0, payload: Any = None) -> None:
        self._handling("a timeout").pending.append((what, name, seconds, payload))

    def _handling(self, what: str) -> Inside:
        inside = self._machine()
        if inside.event is None:
            raise UsageError(f"{what} is for handlers, and none of {type(self).__qualname__} runs now")
        if inside.event.key is ENTER and what in _FOR_EVENTS:
            raise UsageError(f"entering a state cannot {what}: it is no event; set a timeout of 0 s instead")
        return inside

    def _data(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_kb_")}


def _checked(seconds: Any) -> float:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
        raise UsageError(f"a timeout takes seconds >= 0, got {seconds!r}")
    return seconds
