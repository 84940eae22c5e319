"""`fallback`: the next best answer when there is no better one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from ..._kernel._errors import CallError, UsageError
from ..._kernel._message import describe
from ..._kernel._node import this_node
from ._refusals import FellBack, Refused

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FallbackStatistics:
    """How often each of the functions was the one that answered, in their order, and how often none did."""

    answered: tuple[int, ...]
    failed: int


class Fallback(Generic[P, R]):
    """Several async functions as one; made by `fallback`."""

    def __init__(
        self,
        functions: tuple[Callable[P, Coroutine[Any, Any, R]], ...],
        on: tuple[type[BaseException], ...],
        name: str,
    ) -> None:
        self._functions = functions
        self._on = on
        self._name = name
        self._answered = [0] * len(functions)
        self._failed = 0

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of the first function that does not fail with one of the errors that fall through.

        Raises:
            Exception: what the last one raised, or any error that does not fall through.
        """
        last = len(self._functions) - 1
        for at, fn in enumerate(self._functions):
            try:
                result = await fn(*args, **kwargs)
            except self._on as error:
                if at == last:
                    self._failed += 1
                    raise
                fell = FellBack(self._name, describe(fn), describe(self._functions[at + 1]), error)
                this_node().instruments.emit(fell)
            except BaseException:
                self._failed += 1
                raise
            else:
                self._answered[at] += 1
                return result
        raise AssertionError("the last function has returned or raised")

    def statistics(self) -> FallbackStatistics:
        """The figures now."""
        return FallbackStatistics(tuple(self._answered), self._failed)

    def __repr__(self) -> str:
        return f"<Fallback {self._name} of {len(self._functions)} functions>"


def fallback(
    primary: Callable[P, Coroutine[Any, Any, R]],
    /,
    *others: Callable[P, Coroutine[Any, Any, R]],
    on: type[BaseException] | tuple[type[BaseException], ...] = (CallError, Refused),
    name: str | None = None,
) -> Fallback[P, R]:
    """One async function out of several: each is asked only when the one before it has failed.

    Args:
        on: errors that fall through to the next one; by default that a call brought no reply, or was
            refused. Anything else is raised at once.
        name: what events call it; the primary's by default.

    Raises:
        UsageError: there is nothing to fall back to, or `on` has something that is no exception.
    """
    functions = (primary, *others)
    if not others:
        raise UsageError("fallback takes a primary and at least one other function")
    for fn in functions:
        if not callable(fn):
            raise UsageError(f"fallback takes async functions, got {fn!r}")
    errors: tuple[Any, ...] = on if isinstance(on, tuple) else (on,)
    for each in errors:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise UsageError(f"on takes exception classes, got {each!r}")
    return Fallback(functions, errors, describe(primary) if name is None else name)
