"""Sagas at rest whose time has come: they are woken and told so, which takes their reminder away.

Such a reminder becomes no message of the outbox: its row is there until the turn in which the saga is at rest no
more. Whatever crashes in between, the next look finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..actors._timers import EVERY, Timers
from ..stores import Select, Session

if TYPE_CHECKING:
    from ._kind import SagaKind

__all__ = ["Wakings"]

# Seconds between looks while more are due than may be woken at once.
_SOON = 0.1
_START = (0.0, "")

_DUE = Select(
    "SELECT actor_key, due_at FROM kb_timer WHERE system_name = :system AND actor_type = :type AND due_at <= :until"
    " AND (due_at > :after OR (due_at = :after AND actor_key > :key)) ORDER BY due_at, actor_key LIMIT :most"
)


class Wakings(Timers):
    """Of one kind of saga."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self._sagas = cast("SagaKind", kind)
        # One portion after the other: those that cannot be woken now must not hide those that can.
        self._read_to = _START
        self._most = 0

    def _rows(self, session: Session, system: str, type: str, until: float) -> list[tuple[Any, ...]]:
        return session.fetch(_DUE, system, type, until, *self._read_to, self._most)

    def _look(self) -> None:
        if not self._looking:
            self._most = self._sagas.room
        super()._look()

    def _found(self, found: tuple[float, list[tuple[Any, ...]]]) -> None:
        now, rows = found
        due = [(str(key), float(at)) for key, at in rows if float(at) <= now]
        for key, _ in due:
            self._sagas.wake_due(key)
        if len(due) == self._most:
            self._read_to = due[-1][1], due[-1][0]
            self._looked(_SOON)
            return
        self._read_to = _START
        # What was woken is looked at again: a reminder that is still there then is one that could not be told.
        self._looked(min((float(at) - now for _, at in rows[len(due) :]), default=EVERY))
