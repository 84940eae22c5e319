"""Who is meant where a ref or a registered name may be given."""

from __future__ import annotations

from typing import Any, TypeVar

from .._kernel._actor import Actor
from .._kernel._errors import UsageError
from .._kernel._ref import ActorRef
from .._kernel._self import named

AA = TypeVar("AA", bound=Actor)

# Names are strings or tuples by custom, and may be anything that can be hashed.
Target = ActorRef[Any] | str | tuple[Any, ...]


def ref_to(target: ActorRef[Any] | Any, cls: type[AA]) -> ActorRef[AA]:
    """The ref itself, or one to whoever holds the name.

    Raises:
        UsageError: it is neither, or a ref to an actor that is surely no `cls`.
    """
    given: object = target
    if not isinstance(given, ActorRef):
        if not _may_be_name(given):
            raise UsageError(
                f"expected a ref or a registered name of a {cls.__name__}, such as a string or a tuple; "
                f"got {given!r}"
            )
        return named(cls, given)
    found: Any = given._target().info.cls  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    # A class that this node cannot import is known as a base of it, or as `Actor`.
    if not (found._kb_answers_for(cls) or issubclass(cls, found)):
        raise UsageError(f"{given!r} leads to a {found.__name__}, and this is for actors of {cls.__name__}")
    return given  # pyright: ignore[reportUnknownVariableType]


def _may_be_name(value: object) -> bool:
    """Whether it may be meant as a name. A class or an actor can be hashed, and is given by mistake."""
    if value is None or isinstance(value, type | Actor):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return True
