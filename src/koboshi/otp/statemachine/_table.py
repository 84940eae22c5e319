"""The table of a state machine: its rows, what is wrong with them, and how it is drawn. Values alone.

A row says what handles an event in some states, and to which states that may lead. It is found by state and
event; one for a single state goes before one for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..._kernel._errors import UsageError

__all__ = [
    "ANY_STATE",
    "ENTER",
    "EVENT_TIMEOUT",
    "INFO",
    "STATE_TIMEOUT",
    "Row",
    "Rows",
    "Special",
    "Table",
    "TimeoutNamed",
]


@dataclass(frozen=True, slots=True)
class Special:
    """A kind of event that is no message."""

    name: str

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class TimeoutNamed:
    """The end of the timeout that `set_timeout` has given this name."""

    name: Hashable

    def __repr__(self) -> str:
        return f"timeout {self.name}"


ENTER = Special("enter")
INFO = Special("info")
STATE_TIMEOUT = Special("state timeout")
EVENT_TIMEOUT = Special("event timeout")


class Any_:
    """Stands for every state that has no row of its own."""

    def __repr__(self) -> str:
        return "any state"


ANY_STATE = Any_()

State = Enum
# What rows are looked up by: the message's function, or what stands for another kind of event.
Key = Any


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What handles `key` in `states`; `to` are the states that it may go to."""

    states: tuple[Any, ...]
    key: Key
    to: tuple[State, ...]
    handler: Callable[..., Any]
    # Whether the machine goes to the one target by itself.
    goes: bool
    # Whether the handler is a coroutine function.
    is_async: bool

    @property
    def label(self) -> str:
        """What the event is called."""
        return label_of(self.key)


class Rows(dict[Key, Row]):
    """What handles each event in one state. That of entering it is also apart: it is asked for at each change."""

    __slots__ = ("enter",)

    def __init__(self, rows: dict[Key, Row]) -> None:
        super().__init__(rows)
        self.enter = rows.get(ENTER)


def label_of(key: Key) -> str:
    """How an event prints."""
    return str(getattr(key, "__name__", key))


class Table:
    """All rows of one class.

    Args:
        name: of the class, for what is said about it.
        states: all states.
        rows: of base classes first; a later one for the same state and event replaces an earlier one.
        fallbacks: what handles each event where no row does.

    Raises:
        UsageError: a state cannot be reached, or cannot be left and is not final, and more of that kind.
    """

    def __init__(
        self,
        name: str,
        states: type[State],
        initial: State,
        final: Iterable[State],
        rows: Iterable[Row],
        fallbacks: dict[Key, Row],
    ) -> None:
        self.name = name
        self.states = tuple(states)
        self.initial = initial
        self.final = frozenset(final)
        self._fallbacks = fallbacks
        self._rows: dict[tuple[Any, Key], Row] = {}
        for row in rows:
            for state in row.states:
                self._rows[state, row.key] = row
        self._check_members()
        self._check_ends()
        self._check_reachable()
        # What is looked up at each event: the members of an Enum are slow to hash, strings are not.
        keys = {key for _, key in self._rows} | set(fallbacks)
        found = {state.name: {key: self.row(state, key) for key in keys} for state in self.states}
        self._by_state = {
            name: Rows({key: row for key, row in rows.items() if row is not None})
            for name, rows in found.items()
        }

    def row(self, state: State, key: Key) -> Row | None:
        """What handles an event in a state."""
        found = self._rows.get((state, key))
        if found is not None:
            return found
        general = self._rows.get((ANY_STATE, key))
        # What leads somewhere is not meant for a state that nothing leaves.
        if general is None or (general.to and state in self.final):
            return self._fallbacks.get(key)
        return general

    def rows_of(self, state: State) -> Rows:
        """What handles each event in a state."""
        return self._by_state[state._name_]

    def edges(self) -> Iterator[tuple[State, State, str]]:
        """Every transition that some row declares: from, to, event."""
        keys = dict.fromkeys(key for _, key in self._rows)
        for state in self.states:
            for key in keys:
                row = self.row(state, key)
                if row is not None:
                    for target in row.to:
                        yield state, target, row.label

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial.name}"]
        drawn = dict.fromkeys(self.edges())
        lines += [f"    {source.name} --> {target.name} : {label}" for source, target, label in drawn]
        lines += [f"    {state.name} --> [*]" for state in self.states if state in self.final]
        return "\n".join(lines)

    # -- what may be wrong ---------------------------------------------------------------------------

    def _check_members(self) -> None:
        if self.initial not in self.states:
            raise UsageError(f"{self.name}.initial is {self.initial!r}, which is no member of its State")
        for state in self.final:
            if state not in self.states:
                raise UsageError(f"{self.name}.final has {state!r}, which is no member of its State")
        for (state, _), row in self._rows.items():
            where = f"the row of {self.name} for {row.label!r} in {_shown(state)}"
            if state is not ANY_STATE and state not in self.states:
                raise UsageError(f"{where} names a state that is no member of its State")
            for target in row.to:
                if target not in self.states:
                    raise UsageError(f"{where} goes to {target!r}, which is no member of its State")

    def _check_ends(self) -> None:
        left = {source for source, target, _ in self.edges() if source is not target}
        for state in self.states:
            if state in self.final and state in left:
                raise UsageError(f"{self.name} declares {state.name} final, and has a row that leaves it")
            if state not in self.final and state not in left:
                raise UsageError(
                    f"no row of {self.name} leaves {state.name}: add one, or declare it final with "
                    f"`final = (State.{state.name},)`"
                )

    def _check_reachable(self) -> None:
        reached, todo = {self.initial}, [self.initial]
        targets: dict[State, list[State]] = {}
        for source, target, _ in self.edges():
            targets.setdefault(source, []).append(target)
        while todo:
            for target in targets.get(todo.pop(), ()):
                if target not in reached:
                    reached.add(target)
                    todo.append(target)
        lost = [state.name for state in self.states if state not in reached]
        if lost:
            raise UsageError(
                f"no row of {self.name} leads from {self.initial.name} to {', '.join(lost)}: add one with "
                f"to=State.{lost[0]}, or take the state away"
            )


def _shown(state: Any) -> str:
    return getattr(state, "name", repr(state))
