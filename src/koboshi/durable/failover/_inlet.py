"""The durable end of a failover: an actor whose state is the cursor, and whose turns send the items on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..._kernel._errors import UsageError
from ..._kernel._message import message
from .._failures import Refused
from ..actors._actor import DurableActor
from ..actors._query import query
from ..actors._ref import DurableRef
from ..stores import StoreURL

__all__ = ["CursorMoved", "Inlet", "Place"]


class CursorMoved(Refused):
    """Somebody else has brought items meanwhile; `now` is where to go on."""

    def __init__(self, since: Any, now: Any) -> None:
        super().__init__(f"items since {since!r} were brought, and the cursor is at {now!r}")
        self.since = since
        self.now = now


class Place(msgspec.Struct):
    """Where a failover is."""

    cursor: Any = None


class Inlet(DurableActor[Place]):
    """Takes items in portions. A portion is one turn: the cursor moves, and each item is sent on, or nothing."""

    def __init__(
        self, to: DurableRef[Any] | Callable[[Any], DurableRef[Any]], what: Any, store: StoreURL
    ) -> None:
        given: Any = to
        self._of: Callable[[Any], DurableRef[Any]] = (
            (lambda item: given) if isinstance(to, DurableRef) else given
        )
        self._what = what
        self._store = store

    @query
    def cursor(self) -> Any:
        """Behind the last item that was taken; None at first."""
        return self.state.cursor

    @message
    def take(self, since: Any, items: list[Any], cursor: Any) -> None:
        """Take what came after `since`, up to `cursor`. The same portion once more is nothing new.

        Raises:
            CursorMoved: the cursor is at neither of them.
        """
        if self.state.cursor == cursor and since != cursor:
            return
        if self.state.cursor != since:
            raise CursorMoved(since, self.state.cursor)
        for item in items:
            target: DurableRef[Any] = self._of(item)
            if target._definition.store != self._store:
                raise UsageError(
                    f"the cursor is in {self._store!r} and {target!r} in {target._definition.store!r}; both are "
                    "changed in one transaction, so they are in one store"
                )
            self.send(target, self._what, item)
        self.state.cursor = cursor
