"""How the rows of a state machine are written: `@event` declares an event, `@when` what handles it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from ..._kernel._errors import UsageError
from ..._kernel._message import MARK, Message, message
from ..._supervision._options import hashed
from ._table import ANY_STATE, Any_, Row, Special, TimeoutNamed

if TYPE_CHECKING:
    from ._machine import StateMachine

__all__ = ["EVENT", "event", "fallbacks_of", "rows_of", "timeout", "when"]

MM = TypeVar("MM", bound="StateMachine")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

States = Enum | tuple[Enum, ...] | Any_
Targets = Enum | tuple[Enum, ...]

# Where a function keeps the rows that were written over it, and an event the method that it was.
ROWS = "__koboshi_rows__"
EVENT = "__koboshi_event__"
# Where the class of states keeps the handlers that were written for them, to know one that was lost.
HANDLERS = "_koboshi_handlers_"

Written = tuple[tuple[Any, ...], Any, tuple[Enum, ...], bool]


if TYPE_CHECKING:

    @overload
    def event(
        fn: Callable[Concatenate[MM, P], Coroutine[Any, Any, R]],
    ) -> Message[MM, P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def event(fn: Callable[Concatenate[MM, P], R]) -> Message[MM, P, R, R]: ...
    def event(fn: Any) -> Any: ...

else:

    def event(fn):
        """Declare an event that others send: a message whose handler depends on the state.

        The method itself handles it in states that have no row for it, most often with
        `return self.unexpected()`.

        Raises:
            UsageError: it is not a plain method, as for `message`.
        """
        if not inspect.isfunction(fn):
            raise UsageError(f"@event declares a method written with def or async def, got {fn!r}")
        name = fn.__name__

        @functools.wraps(fn)
        def dispatch(self, /, *args, **kwargs):
            return self._kb_dispatch(name, args, kwargs)

        setattr(dispatch, EVENT, fn)
        return message(dispatch)


@overload
def when(
    states: States, event: Message[MM, P, R, Any], /, *, to: Targets = ...
) -> Callable[[Callable[Concatenate[MM, P], R]], Callable[Concatenate[MM, P], R]]: ...
@overload
def when(states: States, event: Special | TimeoutNamed, /, *, to: Targets = ...) -> Callable[[F], F]: ...
def when(states: States, event: Any, /, *, to: Targets = ()) -> Callable[[Any], Any]:
    """Say what handles an event in some states: `@when(State.CLOSED, push, to=State.OPEN)`.

    What the handler returns is the reply. With one state in `to` the machine goes there when the handler
    has returned; with several, in a tuple, the handler says which with `self.go(state)`.

    Args:
        states: a state, a tuple of them, or `ANY_STATE` for all that have no row of their own.
        event: what `@event` has declared, or `ENTER` (called with the old state), `INFO` (with the message),
            `STATE_TIMEOUT`, `EVENT_TIMEOUT` or `timeout(name)` (with their payload).
        to: where it may lead; nowhere by default.

    Raises:
        UsageError: that is no state, or no event.
    """
    several: tuple[Any, ...] = states if isinstance(states, tuple) else (states,)
    for state in several:
        if not isinstance(state, Enum) and state is not ANY_STATE:
            raise UsageError(f"when takes members of an Enum, or ANY_STATE, got {state!r}")
    key = event
    if not isinstance(event, Special | TimeoutNamed):
        if not getattr(event, MARK, False) or not hasattr(event, EVENT):
            raise UsageError(
                f"when takes what @event has declared, or ENTER, INFO or a timeout; got {event!r}"
            )
        key = event.__name__
    targets = to if isinstance(to, tuple) else (to,)
    for target in targets:
        each: object = target
        if not isinstance(each, Enum):
            raise UsageError(f"to takes a state or a tuple of them, got {target!r}")
    if isinstance(event, Special) and event.name == "enter" and targets:
        raise UsageError(
            "entering a state cannot lead to another one; set a timeout of 0 s and go on its end"
        )
    row: Written = several, key, targets, not isinstance(to, tuple)

    def write(fn: Any) -> Any:
        setattr(fn, ROWS, [*getattr(fn, ROWS, []), row])
        for state in several:
            if isinstance(state, Enum):
                kept: list[Any] | None = vars(type(state)).get(HANDLERS)
                if kept is None:
                    kept = []
                    setattr(type(state), HANDLERS, kept)
                kept.append(fn)
        return fn

    return write


def timeout(name: Any) -> TimeoutNamed:
    """The end of the timeout of that name, for `when`."""
    hashed("a timeout's name", name)
    return TimeoutNamed(name)


def rows_of(cls: type[StateMachine]) -> list[Row]:
    """The rows of a class and its bases, those of bases first.

    Raises:
        UsageError: one class body has two rows for one state and event, or two handlers of one name.
    """
    rows: list[Row] = []
    for base in reversed(cls.__mro__):
        written = {
            name: fn for name, fn in vars(base).items() if inspect.isfunction(fn) and hasattr(fn, ROWS)
        }
        seen: dict[tuple[Any, Any], str] = {}
        for name, fn in written.items():
            for states, key, to, goes in getattr(fn, ROWS):
                if isinstance(key, str) and not hasattr(getattr(cls, key, None), EVENT):
                    raise UsageError(f"{cls.__qualname__}.{name} handles {key!r}, which is no event of it")
                handler = getattr(cls, name)
                row = Row(states, key, to, handler, goes, inspect.iscoroutinefunction(handler))
                for state in states:
                    if (state, key) in seen:
                        raise UsageError(
                            f"{cls.__qualname__} has two rows for {row.label!r} in "
                            f"{getattr(state, 'name', state)}: {seen[state, key]} and {name}"
                        )
                    seen[state, key] = name
                rows.append(row)
        _check_names(base, written)
    return rows


def fallbacks_of(cls: type[StateMachine]) -> dict[str, Row]:
    """What handles each event of a class where no row does: the method that declared it."""
    methods = {name: getattr(getattr(cls, name, None), EVENT, None) for name in dir(cls)}
    return {
        name: Row((ANY_STATE,), name, (), fn, False, inspect.iscoroutinefunction(fn))
        for name, fn in methods.items()
        if fn is not None
    }


def _check_names(base: type[Any], written: dict[str, Any]) -> None:
    """Raise `UsageError` for a handler that another one of its name has replaced."""
    states: Any = vars(base).get("State")
    handlers: Any = getattr(states, HANDLERS, ())
    for fn in handlers:
        # A base's states may have handlers of subclasses too: only those of this class body are meant.
        where = fn.__module__, fn.__qualname__.rpartition(".")[0]
        if where == (base.__module__, base.__qualname__) and fn not in written.values():
            raise UsageError(
                f"two handlers of {base.__qualname__} are called {fn.__name__!r}, and a class keeps only the "
                "last; give each a name of its own"
            )
