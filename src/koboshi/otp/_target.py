"""Who is meant where a ref or a registered name may be given."""

from __future__ import annotations

from typing import Any

from .._kernel._errors import UsageError
from .._kernel._ref import ActorRef
from .._kernel._self import named

# Names are strings or tuples by custom.
Target = ActorRef[Any] | str | tuple[Any, ...]


def ref_to(target: Target) -> ActorRef[Any]:
    """The ref itself, or one to whoever holds the name.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(target, ActorRef):
        return target
    given: object = target
    if not isinstance(given, str | tuple):
        raise UsageError(f"expected a ref or a registered name, which is a string or a tuple; got {given!r}")
    return named(target)
