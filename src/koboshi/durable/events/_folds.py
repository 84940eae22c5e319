"""`event`: the pure functions that say what an event makes of a state, and which events a class knows by them."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgspec

from ..._kernel._errors import UsageError
from ..actors._codec import Codec, codec_of
from ..actors._identity import checked_name
from ..actors._state import Upcasters, check_versions

__all__ = ["EventType", "Folds", "event", "folds_of"]

S = TypeVar("S")
E = TypeVar("E")

#: Stands where a turn took a revision and emitted nothing.
TURN = "turn"


class Fold(Generic[S, E]):
    """A pure function of a state and an event, in a class; see `event`."""

    def __init__(self, fn: Any, type: str | None, version: int, upcasters: Upcasters) -> None:
        self.fn: Callable[[S, E], S] = fn.__func__ if isinstance(fn, staticmethod) else fn
        if not inspect.isfunction(self.fn) or inspect.iscoroutinefunction(self.fn):
            raise UsageError(
                f"@kb.event marks a plain function, def name(state: State, event: Event) -> State, got {fn!r}"
            )
        self.type = type
        self.version = version
        self.upcasters = upcasters

    def __get__(self, obj: object, owner: type[Any]) -> Callable[[S, E], S]:
        return self.fn


if TYPE_CHECKING:

    @overload
    def event(fn: Callable[[S, E], S]) -> Fold[S, E]: ...
    @overload
    def event(
        *, type: str | None = None, version: int = 1, upcasters: Upcasters = ...
    ) -> Callable[[Callable[[S, E], S]], Fold[S, E]]: ...
    def event(*args: Any, **kwargs: Any) -> Any: ...

else:

    def event(fn=None, /, *, type=None, version=1, upcasters=None):
        """Mark a function of a `kb.EventSourced` as what an event makes of the state: pure, both in, state out.

        Its annotations say which event it is for. `@staticmethod` below it keeps type checkers content.

        Args:
            type: the name under which events of this class are stored (default the class's name). Rename
                the class, not this.
            version: of the event's class; rows of older ones go through `upcasters`, newer ones are refused.
            upcasters: by version: plain values of that version in, plain values of the next one out.
        """
        if fn is not None:
            return Fold(fn, type, version, upcasters or {})
        return lambda fn: Fold(fn, type, version, upcasters or {})


class EventType:
    """One class of events as it is stored, and what it makes of a state."""

    __slots__ = ("cls", "codec", "encode", "fold", "label", "name", "upcasters", "version")

    def __init__(self, cls: type[Any], name: str, fold: Fold[Any, Any]) -> None:
        self.cls = cls
        self.name = name
        self.label = f"the event {name}"
        self.version = fold.version
        self.upcasters = fold.upcasters
        self.fold = fold.fn
        self.codec: Codec = codec_of(cast("Any", cls), "msgpack")
        self.encode = self.codec.encode


class Folds:
    """All events that a class knows, by their own class and by the name under which they are stored."""

    __slots__ = ("by_class", "by_name")

    def __init__(self) -> None:
        self.by_class: dict[type[Any], EventType] = {}
        self.by_name: dict[str, EventType] = {}

    @property
    def known(self) -> str:
        """Their names, for errors."""
        return ", ".join(sorted(self.by_name)) or "none"


def folds_of(cls: type[Any], state: Any) -> Folds:
    """The folds of a class, checked: each for one event, no event with two.

    Raises:
        UsageError: they are not.
    """
    folds, names = Folds(), set[str]()
    for base in cls.__mro__:
        for name, fold in vars(base).items():
            if name in names:
                continue
            names.add(name)
            if isinstance(fold, Fold):
                _add(folds, cls, cast("Any", fold), state)
    return folds


def _add(folds: Folds, cls: type[Any], fold: Fold[Any, Any], state: Any) -> None:
    where = fold.fn.__qualname__
    found = _event_class(cls, fold, state)
    if type(fold.version) is not int or fold.version < 1:
        raise UsageError(f"version of {where} is a number from 1, got {fold.version!r}")
    check_versions(where, fold.version, fold.upcasters)
    name = checked_name("type of an event", fold.type or found.__name__, 128)
    if name == TURN:
        raise UsageError(f"the type {TURN!r} of {where} is koboshi's own; give it another with type=")
    for other in (folds.by_class.get(found), folds.by_name.get(name)):
        if other is not None:
            raise UsageError(
                f"{where} and {other.fold.__qualname__} are both for the event {name}; keep one, or give one "
                "another type="
            )
    folds.by_class[found] = folds.by_name[name] = EventType(found, name, fold)


def _event_class(cls: type[Any], fold: Fold[Any, Any], state: Any) -> type[Any]:
    """The class of the events that a fold is for."""
    where = fold.fn.__qualname__
    parameters = list(inspect.signature(fold.fn).parameters)
    try:
        hints = typing.get_type_hints(fold.fn, localns=dict(vars(cls)))
    except NameError as error:
        raise UsageError(
            f"the annotations of {where} cannot be resolved ({error}); define the classes of state and events "
            "at the top of a module"
        ) from None
    if len(parameters) != 2 or not all(name in hints for name in (*parameters, "return")):
        raise UsageError(
            f"{where} takes a state and an event and gives a state, all annotated: "
            f"def {fold.fn.__name__}(state: State, event: Event) -> State"
        )
    for name in (parameters[0], "return"):
        if hints[name] != state:
            raise UsageError(
                f"{where} takes and gives {state!r}, the state of {cls.__qualname__}, and its {name} is "
                f"{hints[name]!r}"
            )
    found = hints[parameters[1]]
    if not inspect.isclass(found) or not (
        issubclass(found, msgspec.Struct) or dataclasses.is_dataclass(found)
    ):
        raise UsageError(
            f"{where} is for one class of events, a msgspec.Struct or a dataclass, got {found!r}"
        )
    return found
