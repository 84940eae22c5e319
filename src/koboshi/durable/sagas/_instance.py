"""One instance of a saga: a durable actor that keeps its journal, and a runner while it is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from ..._kernel import _bonds
from ..._kernel._events import Stubborn
from ..._kernel._message import message
from ..actors._actor import DurableActor
from ..actors._identity import Identity
from ..stores import Session
from ..stores._tables import JOURNAL
from ._errors import UnknownSaga
from ._journal import Again, Cancelled, Entry, Failed, Failure, Signalled, Started, decode, encode
from ._rest import FOR_EVER
from ._runner import Runner

if TYPE_CHECKING:
    from ..actors._activation import Activation
    from ..actors._claim import Claimed
    from ._spec import Spec

__all__ = ["ACTIVE", "ALIVE", "DEAD", "TAG_NAME", "WAITING", "Instance", "State", "read_journals"]

#: The tag by which instances that are not at their end are found, and its values.
TAG_NAME = "saga"
#: "waiting" ones are at rest: nobody looks for them before their event or their time has come.
ACTIVE, WAITING, DEAD = "active", "waiting", "dead"
# The reminder of one at rest.
_WAKE = "wake"
#: Statuses of instances that have something to do; "dead" waits for a hand.
ALIVE = ("running", "undoing")


class State(msgspec.Struct, array_like=True):
    """What an instance's row holds. `length`: how many entries its journal has."""

    status: str = ""
    length: int = 0
    result: bytes = b""
    failure: Failure | None = None
    # Of a compensation that is a dead letter.
    stuck: Failure | None = None
    # A digest of the input; empty in rows from before it was kept.
    asked: bytes = b""


_KEY = ("system_name", "actor_type", "actor_key")


def read_journals(
    session: Session, whos: list[tuple[Identity, int, int]]
) -> dict[Identity, tuple[float, list[tuple[int, bytes]]]]:
    """The time, and the journals of actors as sealed bytes by number."""
    now = session.now
    found: dict[Identity, tuple[float, list[tuple[int, bytes]]]] = {who: (now, []) for who, _, _ in whos}
    rows = session.lookup(JOURNAL, (*_KEY, "seq", "payload"), _KEY, [who for who, *_ in whos])
    for system, type, key, seq, payload in rows:
        found[Identity(system, type, key)][1].append((int(seq), bytes(payload)))
    return found


class Instance(DurableActor[State]):
    """See the module."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._runner: Runner | None = None
        self._journal: list[Entry] = []
        # The database's time minus the loop's.
        self._base = 0.0
        # Whether the program that had it before has not given it back.
        self._interrupted = False
        # Whether its activation was ended so that it leaves memory, and not by a fault.
        self.put_to_sleep = False

    @classmethod
    def _kb_load(cls, actor: Instance, activation: Activation, claimed: Claimed) -> None:
        super()._kb_load(actor, activation, claimed)
        now, rows = claimed.more
        actor._interrupted = claimed.owner not in (None, activation.store.host)
        actor._base = now - asyncio.get_running_loop().time()
        for seq, blob in sorted(rows):
            actor._journal.append(decode(activation.sealer.open(activation.who, "journal", seq, blob)))

    async def on_start(self) -> None:
        _bonds.hold(self._kb_cell, self)
        if self.state.status in ALIVE:
            self._begin()

    def owner_ended(self, cell: object) -> None:
        """It is put to sleep, has crashed or was taken over; see `_bonds.Resource`."""
        self._end()

    def _begin(self) -> None:
        activation = self._kb_turn("a saga")
        context = self._kb_cell.node.context.copy()
        journal, cut = self._journal, self._interrupted
        runner = Runner(activation.who, self._spec, _Keeper(self), context, self._base, journal, cut)
        self._runner, self._journal = runner, []
        self._spec.running[runner.key] = runner
        self._runner.begin_all()

    def _end(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.end()
            if self._spec.running.get(runner.key) is runner:
                del self._spec.running[runner.key]

    @property
    def _kb_busy(self) -> bool:
        return self._runner is not None and self._runner.resting is None

    @property
    def is_found(self) -> bool:
        """Whether it is woken when there is something to do: one that is not has to be at rest before it sleeps."""
        return self.state.status not in ALIVE or self._tag == WAITING

    @property
    def _tag(self) -> str | None:
        return self._kb_turn("a saga").tags.get(TAG_NAME)

    def _stir(self) -> None:
        """It is not at rest any more: whoever finds it without a program wakes it."""
        if self._tag == WAITING:
            self._kb_turn("a saga").effect().tags = {TAG_NAME: ACTIVE}
            self.forget(_WAKE)

    def _add(self, entries: list[Entry]) -> None:
        """Have entries in the journal with the turn in hand."""
        self._stir()
        activation = self._kb_turn("a journal")
        activation.used = activation.kind.tick
        who, effect = activation.who, activation.effect()
        for entry in entries:
            blob, key_id = activation.sealer.seal(who, "journal", self.state.length, encode(entry))
            effect.journal.append((*who, self.state.length, blob, key_id))
            self.state.length += 1

    def _tell(self, entry: Entry) -> None:
        self._add([entry])
        if self._runner is not None:
            self._runner.arrived(entry)
        else:
            self._journal.append(entry)

    def _known(self) -> None:
        if not self.state.status:
            activation = self._kb_turn("a saga")
            raise UnknownSaga(str(activation.who))

    # -- what the outside sends ----------------------------------------------------------------------

    @message
    def start(self, input: bytes, digest: bytes) -> bytes:
        """Begin, unless it has begun before; the digest of the input that it has begun with, where that is kept."""
        if self.state.status:
            return self.state.asked
        self.state.status, self.state.asked = "running", digest
        self._kb_turn("a saga").effect().tags = {TAG_NAME: ACTIVE}
        self._tell(Started(input))
        self._begin()
        return digest

    @message
    def signal(self, name: str, value: bytes) -> bool:
        """Record an event; False when it has ended."""
        self._known()
        if self.state.status not in ALIVE:
            return False
        self._tell(Signalled(name, value))
        return True

    @message
    def cancel(self) -> bool:
        """Begin nothing new, and undo what is done; False when it is too late for that."""
        self._known()
        if self.state.status != "running":
            return False
        if self._runner is None or not self._runner.cancelled:
            self._tell(Cancelled())
        return True

    @message
    def retry(self) -> bool:
        """Try again to undo it, after something was mended; False when that is not what it waits for."""
        self._known()
        if self.state.status != "dead":
            return False
        self.state.status, self.state.stuck = "undoing", None
        self._kb_turn("a saga").effect().tags = {TAG_NAME: ACTIVE}
        self._tell(Again())
        if self._runner is None:
            self._begin()
        return True

    # -- what its runner sends -----------------------------------------------------------------------

    @message
    def record(self, entries: list[Any]) -> None:
        """Add to the journal."""
        if any(isinstance(entry, Failed) for entry in entries):
            self.state.status = "undoing"
        self._add(entries)

    @message
    def close(self, status: str, result: bytes, failure: Failure | None) -> None:
        """It has ended, or needs a hand."""
        self._stir()
        effect = self._kb_turn("a saga").effect()
        self.state.status = status
        if status == "dead":
            self.state.stuck = failure
            effect.tags = {TAG_NAME: DEAD}
            return
        self.state.result, self.state.failure, self.state.length = result, failure, 0
        effect.tags = {}
        effect.journal_ends = True

    # -- what its kind sends -------------------------------------------------------------------------

    @message
    def rest(self) -> bool:
        """Have nobody look for it before its event or its time has come; False when there is something to do."""
        until = None if self._runner is None else self._runner.resting
        if until is None or self.state.status not in ALIVE:
            return False
        self._kb_turn("a saga").effect().tags = {TAG_NAME: WAITING}
        if until != FOR_EVER:
            self.remind(_WAKE, Instance.due, at=until)
        return True

    @message
    def due(self) -> None:
        """The time that it waits for has come."""
        self._stir()


class _Keeper:
    """The instance as its runner sees it; see `Owner`."""

    def __init__(self, instance: Instance) -> None:
        activation = instance._kb_turn("a saga")
        self._instance = instance
        self._ref = activation.ref.within(None)
        self._who = activation.who
        self._instruments = instance._kb_cell.node.instruments

    async def record(self, entries: list[Entry]) -> None:
        """See `Owner`."""
        await self._ref.call(Instance.record, entries)

    async def close(self, status: str, result: Any, failure: Failure | None) -> None:
        """See `Owner`."""
        await self._ref.call(Instance.close, status, result, failure)
        spec = self._instance._spec
        if status != "dead":
            self._instance._end()
        spec.notify(self._who.key)

    def stubborn(self) -> None:
        """See `Owner`."""
        self._instruments.emit(Stubborn(str(self._who), "run"))
