"""`on`: what a projection does with an event, in the store's transaction or on its own state."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from ..._kernel._errors import UsageError
from ..stores import Row, Session

__all__ = ["Handlers", "Happened", "Source", "Transaction", "handlers_of", "on"]

_MARK = "__koboshi_on__"
F = TypeVar("F", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class Source:
    """Whose event a projection handles: the actor's type and key, its revision by that event, and when it was."""

    type: str
    key: str
    revision: int
    recorded_at: float


class Happened(NamedTuple):
    """One event with its source."""

    source: Source
    event: Any


class Transaction:
    """The transaction in which a projection's tables change: that of the turn, or of the projection's offset."""

    __slots__ = ("_names", "_session", "source")

    def __init__(self, session: Session, names: Mapping[str, str], source: Source) -> None:
        self._session = session
        self._names = names
        #: Whose event this is.
        self.source = source

    def execute(self, text: str, /, **values: Any) -> list[Row]:
        """Run a statement; `:name` stands for a value and `{name}` for a table of the projection.

        Returns:
            The rows that it gives, if it is a query.
        """
        for name, current in self._names.items():
            text = text.replace(f"{{{name}}}", current)
        return self._session.execute(text, values)


if TYPE_CHECKING:

    def on(fn: F) -> F: ...

else:

    def on(fn):
        """Mark what a projection does with one class of events, which its annotations name.

        A static `def name(tx: kb.Transaction, event: Event) -> None` changes tables, in the transaction; it may be
        run again after a rollback, on another thread, so it changes nothing else. A method
        `def name(self, event: Event) -> None` changes `self.state`.
        """
        plain = fn.__func__ if isinstance(fn, staticmethod) else fn
        if not inspect.isfunction(plain) or inspect.iscoroutinefunction(plain):
            raise UsageError(f"@kb.on marks a function written with def, got {fn!r}")
        setattr(plain, _MARK, True)
        return fn


class Handlers:
    """What a projection does, by the class of the event."""

    def __init__(self) -> None:
        self.with_tables: dict[type[Any], Callable[[Transaction, Any], None]] = {}
        self.with_state: dict[type[Any], Callable[[Any, Any], None]] = {}

    @property
    def events(self) -> set[type[Any]]:
        """The classes of events that it handles."""
        return {*self.with_tables, *self.with_state}

    def change_tables(self, session: Session, happened: Sequence[Happened], names: Mapping[str, str]) -> None:
        """Call what changes tables for each event, in order."""
        for source, event in happened:
            handler = self.with_tables.get(cast("Any", type(event)))
            if handler is not None:
                handler(Transaction(session, names, source), event)


def handlers_of(cls: type[Any]) -> Handlers:
    """The handlers of a projection, checked.

    Raises:
        UsageError: one is not annotated, or two are for the same event.
    """
    found, names = Handlers(), set[str]()
    for base in cls.__mro__:
        for name, value in vars(base).items():
            fn = value.__func__ if isinstance(value, staticmethod) else value
            if name in names or not isinstance(fn, FunctionType):
                continue
            names.add(name)
            if getattr(fn, _MARK, False):
                _add(found, cls, fn)
    return found


def _add(found: Handlers, cls: type[Any], fn: FunctionType) -> None:
    where = fn.__qualname__
    parameters = list(inspect.signature(fn).parameters)
    try:
        hints = typing.get_type_hints(fn, localns=dict(vars(cls)))
    except NameError as error:
        raise UsageError(
            f"the annotations of {where} cannot be resolved ({error}); define the events at the top of a module"
        ) from None
    event = hints.get(parameters[-1]) if len(parameters) == 2 else None
    if not inspect.isclass(event):
        raise UsageError(
            f"{where} is either static with (tx: kb.Transaction, event: Event), or a method with "
            "(self, event: Event), where Event is one class of events"
        )
    side: dict[type[Any], Any] = found.with_state
    if hints.get(parameters[0]) is Transaction:
        side = found.with_tables
    if event in side:
        raise UsageError(f"{where} and {side[event].__qualname__} are both for {event.__name__}; keep one")
    side[event] = fn
