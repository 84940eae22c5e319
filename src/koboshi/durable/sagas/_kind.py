"""A kind of saga on one node: a kind of durable actor that wakes those whose program has ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..._kernel._reasons import Exit, ExitReason
from ..actors._definition import Definition
from ..actors._kind import Kind
from ..stores import Query, Select, Session
from ._instance import ACTIVE, ALIVE, TAG_NAME

if TYPE_CHECKING:
    from ..actors._activation import Activation

__all__ = ["SagaKind"]

# Seconds between looks for instances that nobody runs, and how many are taken at once.
_EVERY = 1.0
_PORTION = 500
# Seconds until an instance that has lost its activation here is woken again.
_AGAIN = 0.2

_log = logging.getLogger("koboshi.durable")

_ORPHANS = Select(
    "SELECT t.actor_key FROM kb_tag t JOIN kb_actor a ON a.system_name = t.system_name"
    " AND a.actor_type = t.actor_type AND a.actor_key = t.actor_key"
    " WHERE t.system_name = :system AND t.actor_type = :type AND t.tag_name = :tag AND t.tag_value = :value"
    " AND (a.owner IS NULL OR NOT EXISTS (SELECT 1 FROM kb_host h WHERE h.host_id = a.owner"
    " AND h.lease_until > :now)) ORDER BY t.actor_key LIMIT :most"
)


class _Waking:
    """Whoever is told of an instance that was woken: nobody waits, so one that is held elsewhere is let be."""

    given_up = True

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, activation: Activation | None, error: BaseException | None) -> None:
        if error is not None:
            _log.info("the saga %s cannot be woken now: %s", self._key, error)


class SagaKind(Kind):
    """See the module."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._timer: asyncio.TimerHandle | None = None

    async def on_start(self) -> None:
        await super().on_start()
        self._look()

    async def on_stop(self, reason: ExitReason) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await super().on_stop(reason)

    def _look(self) -> None:
        definition = self.definition

        def read(session: Session) -> list[tuple[Any, ...]]:
            who = definition.system, definition.type
            return session.fetch(_ORPHANS, *who, TAG_NAME, ACTIVE, session.lease_now, _PORTION)

        try:
            self.store.submit(Query(read), self._found)
        except Exception as error:
            self._found([], error)

    def _found(self, rows: list[tuple[Any, ...]], error: Exception | None) -> None:
        if self._use is None or self._stopping:
            return
        if error is not None:
            _log.warning("the sagas of %s cannot be looked for: %s", self.definition.type, error)
        for (key,) in rows or ():
            self._resume(str(key))
        self._timer = self._loop.call_later(_EVERY, self._look)

    def _resume(self, key: str) -> None:
        if self._use is not None and not self._stopping and key not in self.active:
            self.wake(key, _Waking(key))

    def on_exit(self, exit: Exit) -> None:
        """See `Kind.on_exit`; an instance that was under way goes on from its journal."""
        activation = self._by_cell.get(exit.sender._target())
        super().on_exit(exit)
        if activation is not None and activation.actor.state.status in ALIVE and not self._stopping:
            self._loop.call_later(_AGAIN, self._resume, activation.who.key)
