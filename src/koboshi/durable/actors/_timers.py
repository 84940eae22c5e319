"""Reminders that are due become messages of the outbox: the row of a reminder moves on, or goes, in the very
transaction that adds the message. From there on they are delivered as any message is: once, with retries.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from .._failures import Fenced
from ..stores import Change, Query, Select, Session
from ..stores._tables import OUTBOX, TIMER
from ._reminder import Rule

if TYPE_CHECKING:
    from ._kind import Kind

__all__ = ["EVERY", "TIMERS", "Timers", "timer_source"]

#: Sources of messages that are reminders begin so; type, key and name follow.
TIMERS = "timer/"
#: Seconds between looks for what others have set.
EVERY = 1.0
# How much is taken at once.
_PORTION = 1_000

_log = logging.getLogger("koboshi.durable")

_DUE = Select(
    "SELECT actor_key, timer_name, due_at, rule_text, missed, message, payload, codec, key_id FROM kb_timer"
    " WHERE system_name = :system AND actor_type = :type AND due_at <= :until"
    " ORDER BY due_at, actor_key, timer_name LIMIT :most"
)
_KEY = ("system_name", "actor_type", "actor_key", "timer_name")
_OUTBOX = (
    *("system_name", "source", "seq", "target_type", "target_key", "message", "payload"),
    *("codec", "key_id", "state", "not_before", "attempts"),
)


def timer_source(type: str, key: str, name: str) -> str:
    """The source of the messages that one reminder of an actor gives."""
    return f"{TIMERS}{type}/{key}/{name}"


class Timers:
    """Of one kind: looks for reminders that are due."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looking = False
        self._again = False
        self._ended = False

    def begin(self) -> None:
        """Look for what is due, and from then on again and again."""
        self._look()

    def end(self) -> None:
        """Look no more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def look_soon(self) -> None:
        """A reminder was set: it may be due before the next look."""
        self._again = True
        if not self._looking and not self._ended:
            self._plan(0.0)

    def _plan(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        if self._looking or self._ended:
            return
        self._looking, self._again = True, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        definition = self._kind.definition
        who = definition.system, definition.type

        def read(session: Session) -> tuple[float, list[tuple[Any, ...]]]:
            return session.now, self._rows(session, *who, session.now + EVERY)

        # A reading transaction first: most looks find nothing, and those write nothing.
        self._do(read, self._found, writes=False)

    def _rows(self, session: Session, system: str, type: str, until: float) -> list[tuple[Any, ...]]:
        """Those that are due until a moment, in that order."""
        return session.fetch(_DUE, system, type, until, _PORTION)

    def _do(self, work: Any, done: Any, *, writes: bool) -> None:
        def outcome(value: Any, error: Exception | None) -> None:
            if self._ended:
                return
            if error is None:
                done(value)
            else:
                if not isinstance(error, Fenced):
                    _log.warning("reminders of %s wait: %s", self._kind.definition.type, error)
                self._looked(EVERY)

        try:
            self._kind.store.submit(Change(work) if writes else Query(work), outcome)
        except Exception as error:
            outcome(None, error)

    def _found(self, found: tuple[float, list[tuple[Any, ...]]]) -> None:
        now, rows = found
        due = [row for row in rows if float(row[2]) <= now]
        if due:

            def move(session: Session) -> list[tuple[Any, ...]]:
                return self._moved(session, due)

            self._do(move, self._sent, writes=True)
        else:
            self._looked(max(0.0, min((float(row[2]) for row in rows), default=now + EVERY) - now))

    def _looked(self, delay: float) -> None:
        self._looking = False
        self._plan(0.0 if self._again else delay)

    def _moved(self, session: Session, due: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Have reminders move on, and their messages in the outbox."""
        definition, now = self._kind.definition, session.now
        who = definition.system, definition.type
        outbox: list[tuple[Any, ...]] = []
        gone: list[tuple[Any, ...]] = []
        on: list[tuple[Any, ...]] = []
        for key, name, at, text, missed, message, payload, codec, key_id in sorted(due):
            numbers, following, rule = Rule.read(text).fire(float(at), now, missed)
            source = timer_source(definition.type, key, name)
            outbox += [
                (who[0], source, number, who[1], key, message, payload, codec, key_id, "ready")
                for number in numbers
            ]
            row = (*who, key, name, at)
            if following == float("inf"):
                gone.append(row)
            else:
                on.append((*row, following, rule.text))
        # Of several programs that have read the same rows one is first; the others find them changed.
        found = session.delete(TIMER, (*_KEY, "due_at"), gone)
        found += session.update(TIMER, (*_KEY, "due_at"), ("due_at", "rule_text"), on)
        if found != len(due):
            raise Fenced(f"reminders of {definition.type}")
        session.insert(OUTBOX, _OUTBOX, [(*row, now, 0) for row in outbox])
        return outbox

    def _sent(self, outbox: list[tuple[Any, ...]]) -> None:
        self._kind.share(outbox)
        self._looked(0.0)
