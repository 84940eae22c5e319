"""One kind of durable actor on one node: which of them are awake, waking and putting to sleep.

The kind is an actor under the user's supervisor. The actors that are awake are its children by link: it outlives
the crash of any of them, and its own end is theirs. Nobody restarts one that has crashed: the next message for it
loads what was committed, so no failure can make a restart loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..._kernel import _bonds
from ..._kernel._cell import DEAD, IDLE, NO_KWARGS, Cell
from ..._kernel._errors import NotRunning
from ..._kernel._place import Place
from ..._kernel._reasons import Exit, ExitReason, Shutdown
from ..._kernel._ref import ActorRef
from ..._kernel._start import launch
from .._failures import DurableError, OwnedElsewhere
from ..stores import Store, StoreUse
from ._activation import Activation, first_number
from ._claim import Claimed, Release, release_all
from ._definition import Definition
from ._delivery import Deliveries
from ._ends import Starting, stopped
from ._forward import Relays
from ._identity import Identity
from ._routing import Routing, elsewhere
from ._seal import Sealer
from ._statistics import DurableStatistics
from ._write import Write

__all__ = ["DurableStatistics", "Kind"]

Ready = Callable[[Activation | None, BaseException | None], None]

# How often a kind looks for actors that have been idle, in parts of `deactivate_after`.
_TICKS = 4
# Seconds until an actor is asked for again that a living host holds.
_AGAIN = 0.2

_log = logging.getLogger("koboshi.durable")


class Kind(Routing):
    """See the module."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self._use: StoreUse | None = None
        self.active: dict[str, Activation] = {}
        # Those that are being claimed, with who waits for them.
        self._waking: dict[str, list[Ready]] = {}
        self._by_cell: dict[Cell, Activation] = {}
        self._stopping = False
        # Rises with each sweep: a coarse clock for when an actor was last used.
        self.tick = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._unsaved: set[Activation] = set()
        self._save: asyncio.TimerHandle | None = None
        self._activated = self._deactivated = self._lost = 0

    async def on_start(self) -> None:
        self.trap_exits()
        definition = self.definition
        self._use = await StoreUse.begin(definition.store, self._kb_cell, lease=definition.lease)
        # From here on nothing waits until it can be found.
        definition.check_free(self._kinds().get((definition.system, definition.type)))
        self._place = Place(self._kb_cell.label())
        self._loop = asyncio.get_running_loop()
        self.deliveries, self.relays = Deliveries(self), Relays(self)
        self.announce(self.store.host)
        # Not before it has all that `owner_ended` ends: the store may be one that cannot be opened.
        _bonds.hold(self._kb_cell, self)
        self._kinds()[definition.system, definition.type] = self
        self._arm()
        self.deliveries.begin()
        definition.begin(self)
        if definition.name is not None:
            self.wake(definition.name, _reported)

    async def on_stop(self, reason: ExitReason) -> None:
        self._stopping = True
        for timer in (self._sweep, self._save):
            if timer is not None:
                timer.cancel()
        use = self._use
        if use is None:
            return
        self.deliveries.end()
        try:
            self._save_all(use.store)
            await self._end_all()
            self.relays.end()
            self.end_routed()
            await use.store.settled()
            definition = self.definition
            who = (use.store.host, definition.system, definition.type)
            await use.store.change(lambda session: release_all(session, *who))
        finally:
            self._use = None
            self._gone()
            await use.end()

    async def _end_all(self) -> None:
        """Let each finish the message in hand, then end it."""
        async with asyncio.TaskGroup() as group:
            for activation in tuple(self.active.values()):
                group.create_task(stopped(activation.ref))

    def format_status(self) -> object:
        """What a crash report shows."""
        return {"type": self.definition.type, "store": self.definition.store, "awake": len(self.active)}

    def _kinds(self) -> dict[tuple[str, str], Kind]:
        """The kinds of this node that use the same store."""
        stores = self._kb_cell.node.services.setdefault("koboshi.kinds", {})
        found: dict[tuple[str, str], Kind] = stores.setdefault(self.definition.store, {})
        return found

    def _gone(self) -> None:
        definition = self.definition
        if definition.live is self:
            definition.live = None
        if self._kinds().get((definition.system, definition.type)) is self:
            del self._kinds()[definition.system, definition.type]

    def owner_ended(self, cell: Cell) -> None:
        """The kind was killed; see `_bonds.Resource`."""
        self._stopping, self._use = True, None
        for timer in (self._sweep, self._save):
            if timer is not None:
                timer.cancel()
        self.deliveries.end()
        self.relays.end()
        self.end_routed()
        self._gone()
        for key in tuple(self._waking):
            self._woken(key, None, self._ended(key))

    @property
    def ends(self) -> bool:
        """Whether it wakes nobody any more."""
        return self._stopping

    def _ended(self, key: str) -> NotRunning:
        return NotRunning(f"durable {self.definition.type}", f"a message to {key!r}")

    @property
    def store(self) -> Store:
        """The store, while the kind runs."""
        assert self._use is not None
        return self._use.store

    # -- waking ------------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Whether an actor is awake here, or waking."""
        return key in self.active or key in self._waking

    def wake(self, key: str, ready: Ready) -> None:
        """Have an actor awake; `ready` is called with its activation or with why not, maybe at once."""
        activation = self.active.get(key)
        if activation is not None and activation.cell.state != DEAD:
            ready(activation, None)
            return
        waiting = self._waking.get(key)
        if waiting is not None:
            waiting.append(ready)
            return
        self._waking[key] = [ready]
        self._claim(key)

    def _claim(self, key: str) -> None:
        definition = self.definition
        who = Identity(definition.system, definition.type, key)
        claim = definition.claim(who, self.store.host)
        try:
            self.store.submit(claim, lambda claimed, error: self._claimed(who, claimed, error))
        except Exception as error:
            self._woken(key, None, error)

    def _claimed(self, who: Identity, claimed: Claimed, error: Exception | None) -> None:
        if error is not None or self._stopping:
            self._woken(who.key, None, error or self._ended(who.key))
        elif claimed.token is None:
            self._refused(who, claimed)
        else:
            try:
                activation = self._start(who, claimed.token, claimed)
            except Exception as failure:
                self._loop.call_soon(self._give_back, Release(who, claimed.token, claimed.revision))
                cause = failure.__cause__
                self._woken(who.key, None, cause if isinstance(cause, DurableError) else failure)
            else:
                self._woken(who.key, activation, None)

    def _refused(self, who: Identity, claimed: Claimed) -> None:
        """A living host holds it. It may have ended this very moment, or let the actor go soon."""
        owner = claimed.owner or "?"
        self.store.forget_lost([(owner, claimed.incarnation)] if claimed.incarnation else [])
        waiting = self._waking.get(who.key, [])
        other = elsewhere(self.definition, owner)
        if other is not None:
            self.remember(who.key, other)
            for ready in waiting:
                route = getattr(ready, "route", None)
                if route is not None:
                    route(other)
        still = [each for each in waiting if not (self._stopping or getattr(each, "given_up", False))]
        for ready in still:
            held_by = getattr(ready, "held_by", None)
            if held_by is not None:
                held_by(owner)
        if still:
            self._waking[who.key] = still
            self._loop.call_later(_AGAIN, self._claim_again, who.key, owner)
        else:
            self._waking.pop(who.key, None)
        for ready in waiting:
            if ready not in still:
                ready(None, OwnedElsewhere(str(who), owner))

    def _claim_again(self, key: str, owner: str) -> None:
        if self._use is not None and not self._stopping:
            self._claim(key)
        else:
            self._woken(key, None, OwnedElsewhere(f"{self.definition.type}/{key}", owner))

    def _woken(self, key: str, activation: Activation | None, error: BaseException | None) -> None:
        for ready in self._waking.pop(key, ()):
            ready(activation, error)

    def _start(self, who: Identity, token: bytes, claimed: Claimed) -> Activation:
        definition = self.definition
        sealer = definition.sealer_of(who, claimed)
        activation = definition.activates(self, self.store, who, token, claimed.revision, sealer)
        cls = definition.cls

        def prepare(cell: Cell) -> None:
            _bonds.link_to_parent(cell, self._kb_cell)
            _bonds.bonds_of(cell).place = self._place.inner(who.key)
            activation.cell = cell
            activation.ref = ActorRef(cell)
            if definition.mailbox is not None:
                cell.limit = definition.mailbox

        def make() -> Any:
            actor = cls(*definition.args, **definition.kwargs)
            activation.actor = actor
            actor._kb_activation = activation
            definition.load(activation, claimed)
            return actor

        # In a context of its own: whoever's message was first must not be inherited by all that follows.
        cell = self._kb_cell.node.context.copy().run(
            launch, self._kb_cell.node, cls._kb_info, (), NO_KWARGS, self._kb_cell, prepare, make
        )
        self.active[who.key] = activation
        self._by_cell[cell] = activation
        if cell.task is not None:
            # `on_start` is still running, and the exit of one that fails there is told to nobody.
            _bonds.hold(cell, Starting(self, activation))
        activation.used = self.tick
        self._activated += 1
        if len(self.active) > definition.max_active:
            self._make_room()
        return activation

    # -- writes ------------------------------------------------------------------------------------

    def submit(self, write: Write) -> None:
        """Have a write committed with the next group."""
        self.store.submit(write, write.told)

    def post(self, activation: Activation, to: Identity, sealer: Sealer, name: str, payload: bytes) -> None:
        """Add a message to what the turn in hand sends; its target's sealer binds it."""
        effect, who = activation.effect(), activation.who
        source = f"{who.type}/{who.key}"
        # The turn's revision first: a source's numbers rise with its turns.
        seq = first_number(activation.revision + 1) + len(effect.outbox)
        sealed, key_id = sealer.seal(to, "message", f"{source}#{seq}", payload)
        effect.outbox.append(
            (to.system, source, seq, to.type, to.key, name, sealed, "msgpack", key_id, "ready")
        )

    def lost(self, activation: Activation, error: Exception) -> None:
        """A write of it has failed: it is somebody else's now, or its state is unknown."""
        self._lost += 1
        if activation.is_current:
            # At once, and not with its exit, which may take long: what is in its mailbox goes to its successor, and
            # nothing newer passes it.
            del self.active[activation.who.key]
            self.deliveries.ended(activation.who.key)
        _log.info("the activation of %s was dropped: %s", activation.who, error)

    def save_later(self, activation: Activation) -> None:
        """Durability "snapshot": it has changed, and is saved with the next round."""
        self._unsaved.add(activation)
        if self._save is None:
            self._save = self._loop.call_later(self.definition.snapshot_every, self._save_round)

    def _save_round(self) -> None:
        self._save = None
        if self._use is not None:
            self._save_all(self._use.store)

    def _save_all(self, store: Store) -> None:
        unsaved, self._unsaved = self._unsaved, set()
        for activation in unsaved:
            if activation.cell.state != DEAD:
                activation.save()

    # -- sleeping ----------------------------------------------------------------------------------

    def _arm(self) -> None:
        after = self.definition.deactivate_after
        if after is not None:
            self._sweep = self._loop.call_later(after / _TICKS, self._swept)

    def _swept(self) -> None:
        self.tick += 1
        for activation in tuple(self.active.values()):
            if self.tick - activation.used > _TICKS and self._is_idle(activation):
                self.deactivate(activation)
        self._arm()

    def _is_idle(self, activation: Activation) -> bool:
        return activation.cell.state == IDLE and activation.is_quiet and activation not in self._unsaved

    def _make_room(self) -> None:
        """More are awake than may be: put those to sleep that were used the longest ago, a sixteenth at once."""
        for activation in self._idle()[: max(1, self.definition.max_active // 16)]:
            self.deactivate(activation)

    def _idle(self) -> list[Activation]:
        """Those that may be put to sleep, the ones used the longest ago first."""
        idle = (each for each in self.active.values() if self._is_idle(each))
        return sorted(idle, key=lambda each: each.used)

    def deactivate(self, activation: Activation) -> None:
        """Put an actor to sleep that is idle and has nothing to commit."""
        if self.active.get(activation.who.key) is activation:
            del self.active[activation.who.key]
        self._deactivated += 1
        activation.cell.condemn(Shutdown("deactivated"))
        self._give_back(Release(activation.who, activation.token, activation.revision))

    def _give_back(self, release: Release) -> None:
        if self._use is not None:
            self.store.submit(release, _released)

    def on_exit(self, exit: Exit) -> None:
        """One of its actors has ended, or the kind itself is told to end."""
        self.cell_ended(exit.sender._target())

    def cell_ended(self, cell: Cell) -> None:
        """One of its actors has ended, if it has not heard of that yet."""
        activation = self._by_cell.pop(cell, None)
        if activation is None:
            return
        key = activation.who.key
        for kind in self._kinds().values():
            kind.deliveries.distrust(f"{self.definition.type}/{key}")
        self._unsaved.discard(activation)
        if self.active.get(key) is activation:
            del self.active[key]
            self._give_back_after(activation)
            self.deliveries.ended(key)

    def _give_back_after(self, activation: Activation) -> None:
        """It has crashed: another host may take it, once what it had handed over is decided."""
        self._give_back(Release(activation.who, activation.token, max(1, activation.revision)))

    def statistics(self) -> DurableStatistics:
        """The kind as it is now."""
        deliveries = self.deliveries
        return DurableStatistics(
            type=self.definition.type,
            active=len(self.active),
            activating=len(self._waking),
            activated=self._activated,
            deactivated=self._deactivated,
            lost=self._lost,
            delivering=deliveries.in_flight,
            delivered=deliveries.delivered,
            dead_letters=deliveries.dead,
        )


def _reported(_: Activation | None, error: BaseException | None) -> None:
    if error is not None:
        _log.warning("a named durable actor could not be started: %s", error)


def _released(_: None, error: Exception | None) -> None:
    if error is not None:
        _log.info("a durable actor could not be given back, its lease has to run out: %s", error)
