"""What an event manager refuses, and what a handler's failure looks like to who asked."""

from __future__ import annotations

from typing import Any

from ..._kernel._errors import KoboshiError


class HandlerError(KoboshiError):
    """Base of what can go wrong with a handler; `manager` is its manager's label, `handler` its id."""

    def __init__(self, text: str, *, manager: str, handler: Any) -> None:
        super().__init__(text)
        self.manager = manager
        self.handler = handler


class HandlerNotFound(HandlerError):
    """There is no such handler now."""

    def __init__(
        self, manager: str, handler: Any, known: tuple[Any, ...], failure: str | None = None
    ) -> None:
        listed = ", ".join(map(repr, known)) or "none"
        super().__init__(
            f"{manager} has no handler {handler!r}"
            + (f": {failure}; `add_handler` adds a new one" if failure else "")
            + f"; its handlers are: {listed}",
            manager=manager,
            handler=handler,
        )


class HandlerPresent(HandlerError):
    """The id is taken by another handler."""

    def __init__(self, manager: str, handler: Any) -> None:
        super().__init__(
            f"{manager} has a handler {handler!r} already; give one another id with .options(id=...)",
            manager=manager,
            handler=handler,
        )


class HandlerFailed(HandlerError):
    """A handler raised, in its constructor or a callback, and is not installed any more; see `__cause__`."""

    def __init__(self, manager: str, handler: Any, callback: str, error: BaseException) -> None:
        super().__init__(
            f"the handler {handler!r} of {manager} failed in {callback} and is gone: "
            f"{type(error).__name__}: {error}",
            manager=manager,
            handler=handler,
        )
        self.callback = callback
        self.__cause__ = error
