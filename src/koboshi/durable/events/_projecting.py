"""`projection`: whose events a projection is told of, and how it is run, waited for, made again and mended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..._kernel._cell import Cell
from ..._kernel._errors import CallTimeout, UsageError
from ..._kernel._message import Message
from ..._kernel._reasons import Crashed, ExitReason
from ..._supervision._options import seconds, whole
from ..._supervision._restart import Backoff
from ..._supervision._spec import ChildSpec, child
from .._failures import Fenced, OwnedElsewhere
from ..actors._handle import Durable, durable
from ..actors._identity import Identity, checked_name
from ..actors._kind import Kind
from ..actors._ref import DurableRef
from ..actors._rotation import KeyRotation
from ..stores import Session, Store
from ._feed import Feed, ProjectionStatus, Settings
from ._handlers import Happened, Source
from ._log import Offset, last_place
from ._projection import Batch, Projection
from ._rebuild import LIVE, NEW, ShadowOffset, Swap, Turn, create, let_go, make_tables, new_names
from ._sourced import EventSourced

if TYPE_CHECKING:
    from typing import ParamSpec

    P = ParamSpec("P")

__all__ = ["Projecting", "projection"]

PP = TypeVar("PP", bound=Projection[Any])
PA = TypeVar("PA", bound=Projection[Any])
R = TypeVar("R")

# Seconds to wait for another program that has the projection; nobody here can have it stand still meanwhile.
_TAKING = 1.0
# What the last transaction of a rebuild applies at most, while nobody can commit.
_LAST = 200
# How often, and with how many seconds between, a rebuild tries what another one is in the way of.
_TRIES, _PAUSE = 20, 0.1


class ProjectionKind(Kind):
    """Runs a projection: its actor, and what feeds it."""

    def __init__(self, projecting: Projecting[Any]) -> None:
        super().__init__(projecting._durable._definition)
        self._projecting = projecting
        self._task: asyncio.Task[None] | None = None
        self.feed: Feed | None = None

    async def on_start(self) -> None:
        await super().on_start()
        projecting = self._projecting
        tables = projecting._tables
        if tables:
            same = {name: name for name in tables}
            await self.store.change(lambda session: create(session, tables, same))
        if projecting.is_sync:
            return
        self.feed = projecting._feed(self, projecting._offset, LIVE)
        for definition in projecting._settings.sources.values():
            definition.listeners.append(self.feed.wake)
        self._task = asyncio.get_running_loop().create_task(self.feed.run())
        self._task.add_done_callback(self._feed_ended)

    def _feed_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._kb_cell.condemn(Crashed(error))

    def _end_feed(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if self.feed is not None:
            for definition in self._projecting._settings.sources.values():
                if self.feed.wake in definition.listeners:
                    definition.listeners.remove(self.feed.wake)

    async def on_stop(self, reason: ExitReason) -> None:
        task = self._task
        self._end_feed()
        if task is not None:
            await asyncio.wait([task])
        await super().on_stop(reason)

    def owner_ended(self, cell: Cell) -> None:
        """See `Kind.owner_ended`."""
        self._end_feed()
        super().owner_ended(cell)


class Projecting(Generic[PP]):
    """A projection that is fed from some kinds; made by `kb.projection`."""

    def __init__(self, cls: type[PP], settings: Settings, store: Any, is_sync: bool) -> None:
        self._settings = settings
        self._durable: Durable[PP] = durable(
            cls,
            store=store,
            system=settings.system,
            type=f"projection:{settings.name}",
            deactivate_after=None,
            keys=next(filter(None, (each.ring for each in settings.sources.values())), None),
        )
        self._handlers = cls._kb_handlers
        self._tables = dict(cls.tables)
        self._offset = Offset(settings.system, f"projection/{settings.name}")
        self._new_offset = Offset(settings.system, f"projection/{settings.name}/new")
        self.is_sync = is_sync
        self._rebuilding = asyncio.Lock()
        if is_sync:
            for definition in settings.sources.values():
                definition.sync.append(self._in_turn)

    @property
    def name(self) -> str:
        """Its name."""
        return self._settings.name

    def child(self) -> ChildSpec[Kind]:
        """What a supervisor starts to run it. A synchronous one comes before the kinds whose events it is told of."""
        return cast("ChildSpec[Kind]", child(ProjectionKind, self)).options(id=f"projection {self.name}")

    async def call(
        self: Projecting[PA], message: Message[PA, P, R, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Ask it: as `DurableRef.call`."""
        return await self._durable[LIVE].call(message, *args, **kwargs)

    # -- feeding -----------------------------------------------------------------------------------

    def _in_turn(self, who: Identity, emitted: list[tuple[int, Any]]) -> Callable[[Session], object]:
        """What a turn with these events does in its transaction."""
        wanted = self._handlers.with_tables
        found = [(revision, event) for revision, event in emitted if type(event) in wanted]
        names = {name: name for name in self._tables}

        def change(session: Session) -> None:
            now = session.now
            happened = [
                Happened(Source(who.type, who.key, revision, now), event) for revision, event in found
            ]
            self._handlers.change_tables(session, happened, names)

        return change

    def _feed(self, kind: ProjectionKind, offset: Offset, key: str) -> Feed:
        ref = cast("DurableRef[Projection[Any]]", self._durable[key]).within(None)
        names = {name: name for name in self._tables} if key == LIVE else new_names(self._tables)

        async def to_actor(batch: Batch) -> None:
            # While another program has it this feed comes back now and then, to see how far that one is.
            await ref.within(_TAKING).awake()
            await ref.call(cast("Any", Projection)._kb_apply, batch)

        async def to_tables(batch: Batch) -> None:
            def change(session: Session) -> None:
                if offset.move(session, batch.since, batch.until):
                    self._handlers.change_tables(session, batch.happened, names)

            await kind.store.change(change)

        return Feed(self._settings, kind.store, offset, to_tables if self.is_sync else to_actor, names)

    def _kind(self, what: str) -> ProjectionKind:
        return cast("ProjectionKind", self._durable._definition.running(what))

    def _running(self, what: str) -> Feed:
        feed = self._kind(what).feed
        if feed is None:
            raise UsageError(
                f"the projection {self.name} is synchronous; {what} is for one that follows the log"
            )
        return feed

    # -- reading -----------------------------------------------------------------------------------

    def status(self) -> ProjectionStatus:
        """How far it has come, and why it is stopped, if it is.

        Raises:
            NotRunning: it does not run on this event loop.
            UsageError: it is synchronous.
        """
        return self._running("status").status()

    async def lag(self) -> int:
        """How many events are committed that it has not come to yet; 0 for a synchronous one."""
        kind = self._kind("lag")
        if kind.feed is None:
            return 0
        last = await kind.store.read(lambda session: last_place(session, self._settings.system))
        return max(0, last - kind.feed.reached)

    async def wait_for(
        self, place: int | DurableRef[Any] | None = None, *, timeout: float | None = 5.0
    ) -> None:
        """Wait until it has applied everything up to a place, so that a reader finds its own write.

        Args:
            place: as `ref.place()` gives it, or the address of an actor: its last event. None: all that is
                committed now.
            timeout: seconds (default 5.0; None waits for ever).

        Raises:
            TimeoutError: it has not come so far in time.
        """
        kind = self._kind("wait_for")
        feed = kind.feed
        if feed is None:
            return
        if isinstance(place, DurableRef):
            place = await place.place()
        elif place is None:
            place = await kind.store.read(lambda session: last_place(session, self._settings.system))
        async with asyncio.timeout(timeout):
            await feed.wait_for(place)

    # -- operating ---------------------------------------------------------------------------------

    async def skip(self) -> bool:
        """Leave out the event at which it has stopped and go on behind it; False when it had not stopped."""
        return await self._running("skip").skip()

    def resume(self) -> None:
        """Try the event again at which it has stopped."""
        self._running("resume").resume()

    async def rotate_keys(self, *, portion: int = 500) -> KeyRotation:
        """See `Durable.rotate_keys`."""
        return await self._durable.rotate_keys(portion=portion)

    async def keys_in_use(self) -> dict[str | None, int]:
        """See `Durable.keys_in_use`."""
        return await self._durable.keys_in_use()

    async def rebuild(self) -> None:
        """Make it again from the first event, beside the old one, and have it take the old one's place.

        The old one can be read meanwhile. An event that cannot be applied ends the rebuild with its error, and the
        old one stays. A second one in this program waits for the first; one that another program begins meanwhile
        takes the place of this one.

        Raises:
            UsageError: an event cannot be applied, or another program has begun a rebuild since.
        """
        kind = self._kind("rebuild")
        async with self._rebuilding:
            turn = Turn(self._settings)
            try:
                await self._rebuilt(kind, turn)
            except Exception:
                # Another one has its tables and its state by then, so this may have failed in any way. And it waits
                # for the actor, which is still held here where its last turn was refused.
                store, definition = kind.store, self._durable._definition
                self._put_to_sleep(kind, NEW)
                await store.settled()
                await store.change(lambda session: let_go(session, definition, store.host))
                await store.read(turn.check)
                raise

    async def _rebuilt(self, kind: ProjectionKind, turn: Turn) -> None:
        store, definition, tables = kind.store, self._durable._definition, self._tables
        new = ShadowOffset(self._new_offset, turn)
        self._put_to_sleep(kind, NEW)
        await store.settled()

        def begin(session: Session) -> None:
            turn.take(session)
            make_tables(session, tables, definition, new)

        await store.change(begin)
        shadow = self._feed(kind, new, NEW)
        swap = Swap(self._settings, tables, self._handlers, definition, self._offset, new, turn)
        await _catch_up(shadow, store, turn)
        if kind.feed is None:
            while not await store.change(lambda session: swap.finish_tables(session, _LAST)):
                await _catch_up(shadow, store, turn)
            return
        async with kind.feed.standing:
            await _catch_up(shadow, store, turn)
            for key in (LIVE, NEW):
                self._put_to_sleep(kind, key)
            await store.settled()
            await store.change(swap.finish)
            self._put_to_sleep(kind, LIVE)
            kind.feed.resume()

    def _put_to_sleep(self, kind: ProjectionKind, key: str) -> None:
        activation = kind.active.get(key)
        if activation is not None:
            kind.deactivate(activation)

    def __repr__(self) -> str:
        return f"<Projection {self.name}>"


async def _catch_up(feed: Feed, store: Store, turn: Turn) -> None:
    failures, more = 0, True
    while more:
        try:
            more = await feed.step()
        except (CallTimeout, Fenced, OwnedElsewhere):
            # A rebuild that was begun before this one has what this one needs until it looks at its turn.
            failures += 1
            if failures > _TRIES:
                raise
            await store.read(turn.check)
            await asyncio.sleep(_PAUSE)
            feed.resume()
        if feed.stopped_at is not None:
            raise UsageError(
                f"the projection cannot be made again: the event at place {feed.stopped_at} cannot be applied; the "
                f"old one stays as it is\n{feed.report}"
            )


def projection(
    cls: type[PP],
    *,
    of: Durable[Any] | Sequence[Durable[Any]],
    sync: bool = False,
    name: str | None = None,
    batch: int = 500,
    poll: float = 1.0,
    max_attempts: int = 5,
    backoff: float = 0.1,
) -> Projecting[PP]:
    """Have a projection told of the events of event-sourced actors.

    Args:
        cls: a subclass of `Projection`.
        of: the kinds whose events it is told of; all of one store and one system. Its state is encrypted with the
            keys of the first of them that has any.
        sync: in the turn's own transaction, so that a reply tells of what can be read already (default False: it
            follows the log, each event once).
        name: under which its offset is kept (default the class's name).
        batch: events in one transaction at most (default 500).
        poll: seconds between looks at what other programs have committed (default 1.0).
        max_attempts: how often an event is tried before the projection stops there (default 5).
        backoff: seconds before the second attempt, doubled with each (default 0.1, at most 60).

    Raises:
        UsageError: an option has no such value, or an event that it handles is of none of these kinds.
    """
    given: object = cls
    if not (isinstance(given, type) and issubclass(given, Projection)):
        raise UsageError(f"kb.projection takes a subclass of kb.Projection, got {cls!r}")
    kinds: list[Any] = [of] if isinstance(of, Durable) else list(of)
    definitions = [each._definition for each in kinds]
    first = definitions[0] if definitions else None
    if first is None or not all(issubclass(each.cls, EventSourced) for each in definitions):
        raise UsageError(f"of takes kinds of kb.EventSourced actors, as kb.durable makes them, got {of!r}")
    if any((each.store, each.system) != (first.store, first.system) for each in definitions):
        raise UsageError(
            "a projection is of kinds with one store and one system, in which it is kept as well"
        )
    handlers = cls._kb_handlers
    known = {event for each in definitions for event in each.cls._kb_folds.by_class}
    for event in handlers.events - known:
        raise UsageError(f"{cls.__qualname__} handles {event.__name__}, which none of {kinds} emits")
    if not handlers.events:
        raise UsageError(f"{cls.__qualname__} handles no event; mark a method for each with @kb.on")
    if sync and handlers.with_state:
        raise UsageError(
            f"{cls.__qualname__} changes a state of its own, and sync=True has the turn's transaction only; give its "
            "handlers a transaction: a static def name(tx: kb.Transaction, event: Event)"
        )
    seconds("poll", poll)
    seconds("backoff", backoff)
    settings = Settings(
        name=checked_name("name", name or cls.__name__, 100),
        system=first.system,
        sources={each.type: each for each in definitions},
        batch=whole("batch", batch, 1),
        poll=poll,
        max_attempts=whole("max_attempts", max_attempts, 1),
        backoff=Backoff(backoff, max(backoff, 60.0)),
    )
    return Projecting(cls, settings, first.store, sync)
