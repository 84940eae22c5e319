"""What a machine has still to handle, in the order of gen_statem; and its timeouts. No clock of its own.

Inserted events come first, in the order of their insertion; then postponed ones, the oldest first, once the
state has really changed; then the ends of zero timeouts; and only then new mail.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from ..._kernel._reply import ReplyTo

__all__ = ["Event", "EventQueue"]


@dataclass(slots=True, eq=False)
class Event:
    """Something to be handled. `kind` is call, cast, info, internal, a timeout, or "" while not known."""

    kind: str
    key: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    # Where the answer goes, once it cannot be the return value of the handler in hand.
    reply: ReplyTo[Any] | None = None
    # Which timeout it ends, and which setting of it: one that was set anew or cancelled since is not meant.
    timeout: tuple[Hashable, int] | None = None
    # False for the end of a timeout that did not count any more.
    handled: bool = True
    # Whether it is to be handled again after the next change of state, instead of being answered.
    postponed: bool = False


class EventQueue:
    """The events that wait inside the machine."""

    __slots__ = ("_inserted", "_zero", "items", "kept", "unsettled")

    def __init__(self) -> None:
        # In the order in which they are to be handled.
        self.items: deque[Event] = deque()
        # Those that are postponed.
        self.kept: list[Event] = []
        self._inserted: list[Event] = []
        self._zero: list[Event] = []
        # Whether the handler in hand has left anything to bring into its order.
        self.unsettled = False

    @property
    def postponed(self) -> int:
        """Events that wait for another state."""
        return len(self.kept)

    def postpone(self, event: Event) -> None:
        """Keep an event until the state has changed."""
        self.kept.append(event)

    def insert(self, event: Event) -> None:
        """Handle an event next, behind those inserted by the same handler before."""
        self._inserted.append(event)
        self.unsettled = True

    def end_at_once(self, event: Event) -> None:
        """Handle the end of a zero timeout, behind all that waits here."""
        self._zero.append(event)
        self.unsettled = True

    def forget_inserted(self) -> None:
        """The handler in hand has refused its event: what it has inserted is not meant."""
        self._inserted.clear()

    def settle(self, *, changed: bool) -> None:
        """A handler has returned: bring what it has left into its order."""
        if changed and self.kept:
            self.items.extendleft(reversed(self.kept))
            self.kept.clear()
        if not self.unsettled:
            return
        self.unsettled = False
        if self._inserted:
            self.items.extendleft(reversed(self._inserted))
            self._inserted.clear()
        if self._zero:
            self.items.extend(self._zero)
            self._zero.clear()

    def next(self) -> Event | None:
        """The event to be handled now."""
        return self.items.popleft() if self.items else None
