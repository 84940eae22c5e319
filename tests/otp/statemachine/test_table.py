"""The table of a state machine: drawn, and checked when the class is made."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from tests.otp.statemachine.machines import Door

import koboshi as kb
from koboshi import otp


def test_a_table_is_drawn_as_a_mermaid_state_diagram() -> None:
    assert """stateDiagram-v2
    [*] --> CLOSED
    CLOSED --> OPEN : push
    CLOSED --> LOCKED : lock
    OPEN --> CLOSED : push
    LOCKED --> CLOSED : unlock""" == Door.mermaid()


class State(Enum):
    A = 1
    B = 2
    C = 3


class Other(Enum):
    X = 1


def make(
    *rows: tuple[Any, str, Any], initial: Any = State.A, final: Any = frozenset(), names: str = ""
) -> Any:
    """A class with events `one` and `two`, and rows of (states, event, targets)."""

    def one(self: Any) -> None: ...

    def two(self: Any) -> None: ...

    events = {"one": otp.event(one), "two": otp.event(two)}
    body: dict[str, Any] = {**events, "State": State, "initial": initial, "final": final}
    for number, (states, event, to) in enumerate(rows):

        def handler(self: Any) -> None: ...

        body[f"handler_{number}"] = otp.when(states, events[event], to=to)(handler)
    return type("Made", (otp.StateMachine,), body)


CIRCLE = [(State.A, "one", State.B), (State.B, "one", State.C), (State.C, "one", State.A)]


def test_a_sound_table_is_accepted() -> None:
    assert "A --> B : one" in make(*CIRCLE).mermaid()


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        ([*CIRCLE[:1], (State.B, "one", State.A)], {}, "no row of Made leaves C"),
        (
            [(State.A, "one", State.B), (State.B, "one", State.A), (State.C, "one", State.A)],
            {},
            "no row of Made leads from A to C",
        ),
        (
            CIRCLE[:2],
            {},
            r"no row of Made leaves C: add one, or declare it final with `final = \(State.C,\)`",
        ),
        (CIRCLE, {"final": {State.C}}, "declares C final, and has a row that leaves it"),
        ([*CIRCLE, (State.A, "one", State.C)], {}, "two rows for 'one' in A: handler_0 and handler_3"),
        (CIRCLE, {"initial": Other.X}, "initial is <Other.X: 1>, which is no member of its State"),
        (CIRCLE, {"initial": None}, "has no initial state; add `initial = State.A`"),
        (CIRCLE, {"final": {Other.X}}, "final has <Other.X: 1>"),
        ([*CIRCLE, (Other.X, "two", ())], {}, "names a state that is no member of its State"),
        ([*CIRCLE, (State.A, "two", Other.X)], {}, "goes to <Other.X: 1>, which is no member of its State"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_when_the_class_is_made(
    rows: Any, options: Any, expected: str
) -> None:
    with pytest.raises(kb.UsageError, match=expected):
        make(*rows, **options)


def test_a_row_for_any_state_counts_for_all_that_are_not_final() -> None:
    machine = make((otp.ANY_STATE, "one", State.B), (otp.ANY_STATE, "two", State.C), final={State.C})

    assert ["A --> B : one", "A --> C : two", "B --> B : one", "B --> C : two", "C --> [*]"] == sorted(
        line.strip() for line in machine.mermaid().splitlines()[2:]
    )


def test_handlers_of_one_name_are_refused_since_a_class_keeps_only_the_last() -> None:
    with pytest.raises(kb.UsageError, match=r"two handlers of .*Machine are called 'same'"):

        class Machine(otp.StateMachine):
            class State(Enum):
                A = 1
                B = 2

            initial = State.A

            @otp.event
            def tick(self) -> None: ...

            @otp.when(State.A, tick, to=State.B)
            def same(self) -> None: ...

            @otp.when(State.B, tick, to=State.A)  # type: ignore[no-redef]
            def same(self) -> None: ...  # noqa: F811


@pytest.mark.parametrize(
    ("make_row", "expected"),
    [
        (lambda: otp.when("A", otp.INFO), "members of an Enum"),  # type: ignore[call-overload]
        (lambda: otp.when(State.A, "one"), "what @event has declared"),  # type: ignore[call-overload]
        (lambda: otp.when(State.A, kb.Supervisor.statistics), "what @event has declared"),  # type: ignore[type-var]
        (lambda: otp.when(State.A, otp.INFO, to="B"), "to takes a state"),  # type: ignore[call-overload]
        (lambda: otp.when(State.A, otp.ENTER, to=State.B), "entering a state cannot lead to another one"),
        (lambda: otp.timeout([]), "hashable"),
        (lambda: otp.event(3), "@event declares a method"),  # type: ignore[call-overload]
    ],
)
def test_rows_that_cannot_be_are_refused_where_they_are_written(make_row: Any, expected: str) -> None:
    with pytest.raises(kb.UsageError, match=expected):
        make_row()


def test_a_subclass_has_the_rows_of_its_base_and_may_replace_one() -> None:
    class Quiet(Door):
        @otp.when(Door.State.CLOSED, Door.push, to=Door.State.OPEN)  # type: ignore[arg-type]
        def open_quietly(self) -> str:
            return "opened quietly"

    door = Quiet()

    assert ["opened quietly", "closed"] == [door.push(), door.push()]


def test_a_handler_that_a_subclass_overrides_is_the_one_that_runs() -> None:
    class Loud(Door):
        def open_it(self) -> str:
            return super().open_it().upper()

    assert "OPENED" == Loud().push()
