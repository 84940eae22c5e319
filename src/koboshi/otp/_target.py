"""Who is meant where a ref or a registered name may be given."""

from __future__ import annotations

from typing import Any

from .._kernel._actor import Actor
from .._kernel._errors import UsageError
from .._kernel._ref import ActorRef
from .._kernel._self import named

# Names are strings or tuples by custom.
Target = ActorRef[Any] | str | tuple[Any, ...]


def ref_to(target: Target, cls: type[Actor] = Actor) -> ActorRef[Any]:
    """The ref itself, or one to whoever holds the name.

    Raises:
        UsageError: it is neither, or a ref to an actor that is surely no `cls`.
    """
    given: object = target
    if isinstance(given, ActorRef):
        found: Any = given._target().info.cls  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        # A class that this node cannot import is known as a base of it, or as `Actor`.
        if not (found._kb_answers_for(cls) or issubclass(cls, found)):
            raise UsageError(
                f"{given!r} leads to a {found.__name__}, and this is for actors of {cls.__name__}"
            )
        return given  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(given, str | tuple):
        raise UsageError(f"expected a ref or a registered name, which is a string or a tuple; got {given!r}")
    return named(cls, given)
