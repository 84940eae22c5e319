"""`Gate`: the forms in which a gate is used, a call, a decorator and a context manager.

A gate itself says only what happens before the body and after it.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from inspect import isawaitable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from ..._kernel._calls import deadline_of
from ..._kernel._errors import UsageError
from ..._kernel._events import Event
from ..._kernel._node import this_node
from ._refusals import Refused, Relieved, Saturated

P = ParamSpec("P")
R = TypeVar("R")

# What `async with gate` holds. The gate is one object for many bodies at once, so it cannot keep this itself.
_entered: ContextVar[tuple[tuple[object, Any], ...]] = ContextVar("koboshi_gates", default=())


class Gate(ABC):
    """Something that a call has to pass.

    `await gate.call(fn, *args)`, `@gate` before an `async def`, or `async with gate:`.
    """

    def __init__(self, name: str) -> None:
        told: object = name
        if not isinstance(told, str) or not told:
            raise UsageError(f"name takes a string that is not empty, got {name!r}")
        self.name = name
        self._refused_in_a_row = 0

    @abstractmethod
    async def _enter(self) -> Any:
        """Let somebody in, or raise a `Refused`; what it returns is given to `_leave`."""

    @abstractmethod
    def _leave(self, ticket: Any, error: BaseException | None) -> None:
        """The body has ended."""

    async def call(self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `await fn(*args, **kwargs)` behind the gate: `await gate.call(ref.call, Shop.buy, 3)`.

        Raises:
            Refused: it was not let through.
        """
        ticket = await self._enter()
        try:
            coming = fn(*args, **kwargs)
            given: object = coming
            if not isawaitable(given):
                raise UsageError(
                    f"{self.name} goes round async functions; {fn!r} is none, and gave {given!r}"
                )
            result = await coming
        except BaseException as error:
            self._leave(ticket, error)
            raise
        self._leave(ticket, None)
        return result

    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]:
        """As a decorator: each call of the function goes through this one gate."""

        @functools.wraps(fn)
        async def behind(*args: P.args, **kwargs: P.kwargs) -> R:
            return await self.call(fn, *args, **kwargs)

        return behind

    async def __aenter__(self) -> Self:
        ticket = await self._enter()
        _entered.set((*_entered.get(), (self, ticket)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = _entered.get()
        for at in range(len(held) - 1, -1, -1):
            if held[at][0] is self:
                _entered.set((*held[:at], *held[at + 1 :]))
                self._leave(held[at][1], error)
                return
        raise UsageError(f"{self!r} is left in another context than it was entered in; use `call` there")

    # -- for the gates ---------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        this_node().instruments.emit(event)

    def _refuse(self, refused: Refused) -> Refused:
        """Count a refusal, and tell of the first of a row."""
        self._refused_in_a_row += 1
        if self._refused_in_a_row == 1:
            self._emit(Saturated(self.name, str(refused)))
        return refused

    def _passed(self) -> None:
        """Somebody was let in: a row of refusals is over."""
        if self._refused_in_a_row:
            count, self._refused_in_a_row = self._refused_in_a_row, 0
            self._emit(Relieved(self.name, count))


def patience(within: float | None) -> float | None:
    """Seconds that the current caller can wait: `within`, or what its own caller leaves it, if less."""
    node = this_node()
    deadline = deadline_of(node.current)
    left = None if deadline is None else max(0.0, deadline - node.loop.time())
    return min((each for each in (within, left) if each is not None), default=None)
