"""A kind of saga on one node: a kind of durable actor that wakes those whose program or whose wait has ended.

An instance is put to sleep while it only waits. Before that a turn of its own has it found by its event, which is a
message to it, or by its time, which is a reminder; from then on nobody looks for it until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ..._kernel._errors import KoboshiError
from ..._kernel._reasons import Exit, ExitReason
from ..actors._definition import Definition
from ..actors._kind import Kind
from ..stores import Query, Select, Session
from ._instance import ACTIVE, ALIVE, TAG_NAME, WAITING, Instance

if TYPE_CHECKING:
    from ..actors._activation import Activation

__all__ = ["SagaKind"]

# Seconds between looks for instances that nobody runs, and between two while there are more.
_EVERY = 1.0
_SOON = 0.1
# How many are woken at once.
_PORTION = 500
# Seconds until an instance that has lost its activation here is woken again.
_AGAIN = 0.2
# Seconds between looks for those that may sleep while more are awake than may be.
_TRIM = 0.05

_log = logging.getLogger("koboshi.durable")

_ORPHANS = Select(
    "SELECT t.actor_key FROM kb_tag t JOIN kb_actor a ON a.system_name = t.system_name"
    " AND a.actor_type = t.actor_type AND a.actor_key = t.actor_key"
    " WHERE t.system_name = :system AND t.actor_type = :type AND t.tag_name = :tag AND t.tag_value = :value"
    " AND t.actor_key > :after"
    " AND (a.owner IS NULL OR NOT EXISTS (SELECT 1 FROM kb_host h WHERE h.host_id = a.owner"
    " AND h.lease_until > :now)) ORDER BY t.actor_key LIMIT :most"
)


class _Waking:
    """Whoever is told of an instance that was woken: nobody waits, so one that is held elsewhere is let be."""

    given_up = True

    def __init__(self, key: str, tell: Callable[[Activation], object]) -> None:
        self._key = key
        self._tell = tell

    def __call__(self, activation: Activation | None, error: BaseException | None) -> None:
        if activation is not None:
            self._tell(activation)
        elif error is not None:
            _log.info("the saga %s cannot be woken now: %s", self._key, error)


class SagaKind(Kind):
    """See the module."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._timer: asyncio.TimerHandle | None = None
        self._trimmer: asyncio.TimerHandle | None = None
        # Up to which key those that nobody runs have been looked for.
        self._looked_to = ""
        # Those that are about to sleep.
        self._resting: dict[Activation, asyncio.Task[None]] = {}

    async def on_start(self) -> None:
        await super().on_start()
        self._look()

    async def on_stop(self, reason: ExitReason) -> None:
        for timer in (self._timer, self._trimmer):
            if timer is not None:
                timer.cancel()
        for task in self._resting.values():
            task.cancel()
        await super().on_stop(reason)

    # -- waking ------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many may be woken at once: up to the limit of those that are awake, and some beyond it in any case.

        Those at work cannot be put to sleep, and if that is all of them the others must not wait for ever.
        """
        most = self.definition.max_active
        at_work = len(self._waking) + sum(not self._is_idle(each) for each in self.active.values())
        return min(_PORTION, max(most - at_work, most // 16, 1))

    def _look(self) -> None:
        definition, after, most = self.definition, self._looked_to, self.room

        def read(session: Session) -> list[tuple[Any, ...]]:
            who = definition.system, definition.type
            return session.fetch(_ORPHANS, *who, TAG_NAME, ACTIVE, after, session.lease_now, most)

        def found(rows: list[tuple[Any, ...]], error: Exception | None) -> None:
            self._found(rows or [], error, most)

        try:
            self.store.submit(Query(read), found)
        except Exception as error:
            self._found([], error, most)

    def _found(self, rows: list[tuple[Any, ...]], error: Exception | None, most: int) -> None:
        if self._use is None or self._stopping:
            return
        if error is not None:
            _log.warning("the sagas of %s cannot be looked for: %s", self.definition.type, error)
        for (key,) in rows:
            self._resume(str(key))
        self._looked_to = str(rows[-1][0]) if len(rows) == most else ""
        self._timer = self._loop.call_later(_SOON if self._looked_to else _EVERY, self._look)

    def _resume(self, key: str) -> None:
        if self._use is not None and not self._stopping and key not in self.active:
            self.wake(key, _Waking(key, lambda _: None))

    def wake_due(self, key: str) -> None:
        """The time of an instance at rest has come."""
        if not self._stopping:
            self.wake(key, _Waking(key, lambda activation: activation.ref.cast(Instance.due)))

    def on_exit(self, exit: Exit) -> None:
        """See `Kind.on_exit`; an instance that was under way goes on from its journal."""
        activation = self._by_cell.get(exit.sender._target())
        super().on_exit(exit)
        if activation is None or self._stopping:
            return
        actor = cast("Instance", activation.actor)
        if actor.state.status in ALIVE and not actor.put_to_sleep:
            self._loop.call_later(_AGAIN, self._resume, activation.who.key)

    # -- sleeping ----------------------------------------------------------------------------------

    def _is_idle(self, activation: Activation) -> bool:
        return super()._is_idle(activation) and activation not in self._resting

    def _make_room(self) -> None:
        if self._trimmer is None:
            self._trim()

    def _trim(self) -> None:
        """Put those to sleep that are too many, the ones used the longest ago; again, until enough of them can be."""
        self._trimmer = None
        most = self.definition.max_active
        over = len(self.active) - len(self._resting) - most
        if self._use is None or self._stopping or over <= 0:
            return
        idle = self._idle()
        for activation in idle[: max(over, most // 16)]:
            self.deactivate(activation)
        if len(idle) < over:
            self._trimmer = self._loop.call_later(_TRIM, self._trim)

    def deactivate(self, activation: Activation) -> None:
        """Put an instance to sleep that only waits, or has ended."""
        actor = cast("Instance", activation.actor)
        if actor.is_found:
            actor.put_to_sleep = True
            super().deactivate(activation)
        elif activation not in self._resting:
            context = self._kb_cell.node.context.copy()
            self._resting[activation] = self._loop.create_task(self._rest(activation), context=context)

    async def _rest(self, activation: Activation) -> None:
        """Have it at rest, and put it to sleep then, unless something has come in meanwhile."""
        try:
            await activation.ref.within(None).call(Instance.rest)
        except KoboshiError as error:
            _log.info("the saga %s stays awake: %s", activation.who, error)
        finally:
            del self._resting[activation]
        at_rest = activation.tags.get(TAG_NAME) == WAITING
        if at_rest and activation.is_current and not self._stopping and self._is_idle(activation):
            self.deactivate(activation)
        else:
            self._make_room()
