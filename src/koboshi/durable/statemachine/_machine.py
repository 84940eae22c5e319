"""`DurableStateMachine`: a state machine whose turns are those of a durable actor.

The order of events, the table and what handlers may ask for are `koboshi.otp`'s. What differs: one message, with all
that it sets off inside, is one turn; replies leave when it is committed; timeouts are reminders.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar, cast, get_args, get_origin

from ..._kernel._errors import UsageError
from ..._kernel._message import message
from ...otp.statemachine._events import Event
from ...otp.statemachine._machine import StateMachine
from ...otp.statemachine._table import EVENT_TIMEOUT, STATE_TIMEOUT, TimeoutNamed, label_of
from ...otp.statemachine._timeouts import Timeouts, _Setting
from ...otp.statemachine._turn import Inside, UnexpectedEvent
from .._failures import Corrupted, Refused
from ..actors._actor import DurableActor
from ..actors._codec import codec_of

if TYPE_CHECKING:
    from ..actors._activation import Activation
    from ..actors._claim import Claimed

__all__ = ["DurableStateMachine", "EventRefused"]

D = TypeVar("D")

_NAMED = "named "


class EventRefused(Refused, UnexpectedEvent):
    """The machine does not take this event in its state; nothing has changed."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        UnexpectedEvent.__init__(self, machine, state, event)

    def __reduce__(self) -> tuple[Any, ...]:
        return EventRefused, (self.machine, self.state, self.event)


class _Reminder:
    """A timeout that is set, in the place of a timer."""

    def __init__(self, machine: DurableStateMachine[Any], name: Hashable) -> None:
        self._machine = machine
        self._name = name

    def cancel(self) -> None:
        """Take it back with the turn in hand."""
        if self._machine._kb_activation is not None:
            self._machine.forget(f"timeout {_stored(self._name)}")


# Both bases have a `state` and an `initial`: what is meant here is the machine's, and the actor's is `data`.
class DurableStateMachine(StateMachine, DurableActor[D], Generic[D]):
    """A state machine whose state, `data` and timeouts outlive its program; made known with `kb.durable`.

    Subclass it with the type of its data, as `DurableStateMachine[Data]`, and write the table as for
    `otp.StateMachine`. Handlers are plain `def`. The initial state is entered with the first message. The name of a
    named timeout is a string, and payloads are plain values.
    """

    #: What the machine keeps besides its state; replace it or change it in place.
    data: D

    if TYPE_CHECKING:
        initial: ClassVar[Any]

        # mypy points at the decorator, pyright at the name.
        @property  # type: ignore[misc]
        def state(self) -> Any: ...  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]

    _kb_data: ClassVar[Any]
    # What the first event's handler has returned, while others are handled in the same turn.
    _kb_first: tuple[Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            if inspect.isclass(get_origin(base)) and issubclass(get_origin(base), DurableStateMachine):
                found = get_args(base)
                if not isinstance(found[0], TypeVar):
                    data: Any = found[0]
                    cls._kb_data = data
                    # State, data, timeouts by name with number and payload, the last timeout's number.
                    kept: Any = tuple[str, data, dict[str, tuple[int, Any]], int]
                    cls._kb_codec = codec_of(kept)
        table = cls.__dict__.get("_kb_table")
        if table is not None:
            for rows in table._by_state.values():
                for row in rows.values():
                    if row.is_async:
                        raise UsageError(
                            f"{cls.__qualname__}: the handler of {row.label!r} is async; those of a durable machine "
                            "are plain def, since each event is one turn"
                        )

    def first_data(self) -> D:
        """The data of a machine that is new; by default their type, called without arguments."""
        made: D = type(self)._kb_data()
        return made

    # -- what is kept --------------------------------------------------------------------------------

    def _machine(self) -> Inside:
        inside = self._kb_inside
        if inside is None:
            timeouts = Timeouts(cast("Any", self._kb_set_timeout))
            inside = self._kb_inside = Inside(self._kb_table, self.initial, timeouts)
            if "data" not in vars(self):
                self.data = self.first_data()
        return inside

    @classmethod
    def _kb_load(cls, actor: Any, activation: Activation, claimed: Claimed) -> None:
        if claimed.state is None:
            if claimed.revision:
                raise Corrupted(str(activation.who), f"it is at revision {claimed.revision} and has no state")
        else:
            actor._kb_take_back(activation.kind.definition.state_of(activation, claimed))
            activation.tags = json.loads(claimed.tags) if claimed.tags else {}
        activation.blob = actor._kb_encoded()

    def _kb_encoded(self) -> bytes:
        inside = self._machine()
        timeouts = {
            _stored(name): (setting.number, setting.payload) for name, setting in inside.timeouts._set.items()
        }
        # Before the first event the initial state is not entered yet.
        state = inside.state.name if inside.begun else ""
        return type(self)._kb_codec.encode((state, self.data, timeouts, inside.timeouts._numbers))

    def _kb_restore(self, blob: bytes) -> None:
        self._kb_take_back(type(self)._kb_codec.decode(blob))

    def _kb_take_back(self, kept: tuple[str, D, dict[str, tuple[int, Any]], int]) -> None:
        state, self.data, timeouts, numbers = kept
        self._kb_inside = None
        inside = self._machine()
        if state:
            try:
                inside.state = type(self).State[state]
            except KeyError:
                known = ", ".join(each.name for each in type(self).State)
                who = "" if self._kb_activation is None else str(self._kb_activation.who)
                raise Corrupted(who, f"it is in the state {state!r}, and the machine has {known}") from None
            inside.rows = self._kb_table.rows_of(inside.state)
            inside.begun = True
        inside.timeouts._numbers = numbers
        for label, (number, payload) in timeouts.items():
            name = _name_of(label)
            timer: Any = _Reminder(self, name)
            inside.timeouts._set[name] = _Setting(number, payload, timer)

    def on_start(self) -> Any:
        """The initial state is entered with the first message, in its turn."""

    # -- a turn --------------------------------------------------------------------------------------

    def _answered(self, first: Event, event: Event, value: Any) -> Any:
        kept, self._kb_first = self._kb_first, None
        return value if event is first else (kept or (None,))[0]

    def _answer(self, first: Event, event: Event, value: Any) -> None:
        """Other events are handled before this turn is over, and the reply leaves when all is committed."""
        if event is first:
            self._kb_first = (value,)

    def _refuse(self, event: Event) -> Any:
        inside = self._machine()
        if event.kind in ("", "call", "cast"):
            machine, state = type(self).__qualname__, inside.state.name
            inside.event = inside.row = self._kb_first = None
            inside.pending = []
            raise EventRefused(machine, state, label_of(event.key))
        return super()._refuse(event)

    def postpone(self) -> NoReturn:
        """A durable machine has no place for events that wait: keep what they say in `data`.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "a durable machine cannot postpone an event, since its caller would not outlive the program; keep what "
            "it says in self.data and insert an event of your own when the state has changed"
        )

    # -- timeouts ------------------------------------------------------------------------------------

    def _kb_set_timeout(self, seconds: float, name: Hashable, number: int) -> _Reminder | None:
        label = _stored(name)
        if self._kb_activation is not None and seconds != float("inf"):
            ended: Any = DurableStateMachine.timed_out  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            self.remind(f"timeout {label}", ended, label, number, after=seconds)
        return _Reminder(self, name)

    @message
    def timed_out(self, label: str, number: int) -> None:
        """The end of a timeout; the runtime sends it."""
        name = _name_of(label)
        self._take(Event(label_of(name), name, timeout=(name, number)))


def _stored(name: Hashable) -> str:
    if name is STATE_TIMEOUT:
        return "state"
    if name is EVENT_TIMEOUT:
        return "event"
    assert isinstance(name, TimeoutNamed)
    if not isinstance(name.name, str) or len(name.name) > 100:
        raise UsageError(
            f"the name of a durable timeout is a string of up to 100 characters, got {name.name!r}"
        )
    return _NAMED + name.name


def _name_of(label: str) -> Hashable:
    if label == "state":
        return STATE_TIMEOUT
    if label == "event":
        return EVENT_TIMEOUT
    return TimeoutNamed(label.removeprefix(_NAMED))
