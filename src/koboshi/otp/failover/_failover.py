"""`Failover`: one stream of items from whichever of its sources works, the most preferred first.

Each source that is in use is a child process, and all that it brings goes through this actor's mailbox. So
there is one cursor, one order, and one place where a change-over happens: between two deliveries.

The active run is the one whose items are taken. Besides it there is at most one probe, a run of a more
preferred source that is being tried; the first that is heard of it makes it the active one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from random import random
from typing import Any

from ..._kernel._bonds import Monitor, monitor
from ..._kernel._errors import KoboshiError, UsageError
from ..._kernel._message import MARK, Message
from ..._kernel._reasons import Down
from ..._kernel._ref import ActorRef
from ..._kernel._timers import Timer
from ..._supervision._child import SupervisorStatistics
from ..._supervision._dynamic import DynamicSupervisor
from ..._supervision._options import seconds
from ..._supervision._restart import Backoff, backoff_of
from ..._supervision._root import request
from ._delivery import Delivery
from ._events import ChangedOver, ItemRejected, SourceFailed
from ._sources import Feed, NotActive, Poll, Push


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One source: active, probing, standby or waiting (for its next try); its failures in a row."""

    name: str
    state: str
    failures: int


@dataclass(frozen=True, slots=True)
class FailoverStatistics(SupervisorStatistics):
    """A failover at one moment, besides what is said of it as a supervisor.

    Attributes:
        active: name of the source whose items are taken; None while there is none.
        cursor: of the last item that was delivered.
        delivered: items that the consumer has taken.
        rejected: items that the consumer failed on, or ended on; they are not delivered again.
        duplicates: items that were dropped because they had been delivered already.
        changeovers: how often another source has become the active one.
    """

    active: str | None
    cursor: Any
    delivered: int
    rejected: int
    duplicates: int
    changeovers: int
    sources: tuple[SourceInfo, ...]


@dataclass(slots=True, eq=False)
class _Run:
    """One life of one source."""

    number: int
    index: int
    ref: ActorRef[Any]
    watch: Monitor
    began: float
    heard: float


@dataclass(slots=True)
class _Record:
    """What is remembered of a source from one run to the next."""

    failures: int = 0
    retry_at: float = 0.0


class Failover(DynamicSupervisor):
    """Delivers what the best working source brings to a consumer.

    Args:
        sources: `otp.Push` and `otp.Poll`, the most preferred first.
        consumer, message: each item is sent by `await consumer.call(message, item)`, without a deadline, so a
            slow consumer slows the source down. While it is not running, the item waits for it.
        stale_after: seconds of silence after which a source has failed; 10.
        cursor: where to begin, or a function that tells; None is from the start.
        retry: how long a failed source is left alone, a `kb.Backoff`; 1 s to 60 s with a tenth of it
            drawn at random.

    Raises:
        UsageError: an option has no such value.
    """

    # It waits for its consumer inside its own mailbox, and a consumer that hangs must not keep it for ever.
    _kb_shutdown = 5.0

    def __init__(
        self,
        *sources: Push | Poll,
        consumer: ActorRef[Any],
        message: Message[Any, Any, Any, Any],
        stale_after: float = 10.0,
        cursor: Any = None,
        retry: Backoff | tuple[float, ...] = Backoff(1.0, 60.0, jitter=0.1),  # noqa: B008
    ) -> None:
        _check(sources, message, stale_after)
        _check_consumer(consumer)
        backoff = backoff_of(retry, "retry")
        if backoff is None:
            raise UsageError("retry takes a kb.Backoff or a tuple of its values, got None")
        super().__init__()
        options = {"consumer": consumer, "message": message, "stale_after": stale_after}
        self._made_with = sources, {**options, "cursor": cursor, "retry": retry}
        self._delivery = Delivery(consumer.within(None), message, backoff)
        self._prepare(sources, stale_after, cursor, backoff)

    def _prepare(
        self, sources: tuple[Push | Poll, ...], stale_after: float, cursor: Any, backoff: Backoff
    ) -> None:
        self._sources = sources
        self._stale_after = stale_after
        self._cursor = cursor() if callable(cursor) else cursor
        self._pause = backoff
        self._records = [_Record() for _ in sources]
        self._runs = itertools.count(1)
        self._active: _Run | None = None
        self._probe: _Run | None = None
        # The source that was active last, and how often another one has followed.
        self._last: int | None = None
        self._changeovers = -1
        self._duplicates = 0
        self._timer: Timer | None = None

    async def on_start(self) -> None:
        await super().on_start()
        self.me.cast(Failover.check)

    # -- what the sources bring ------------------------------------------------------------------

    @request
    async def take(self, run: int, item: Any, cursor: Any) -> None:
        """An item of a push source. Raises `NotActive`."""
        source = await self._speaks(run)
        if cursor is not None and _not_beyond(cursor, self._cursor):
            self._duplicates += 1
        else:
            await self._deliver(item)
            if cursor is not None:
                self._cursor = cursor
        source.heard = self._now()

    @request
    async def take_all(self, run: int, since: Any, items: Sequence[Any], cursor: Any) -> Any:
        """What a poll since a cursor has brought; returns where to poll from next. Raises `NotActive`."""
        source = await self._speaks(run)
        # Another source has delivered meanwhile: some of these items were among it, so it polls again.
        if since == self._cursor:
            for item in items:
                await self._deliver(item)
            self._cursor = cursor
        source.heard = self._now()
        return self._cursor

    @request
    async def heard(self, run: int) -> None:
        """A push source lives and has nothing to say. Raises `NotActive`."""
        (await self._speaks(run)).heard = self._now()

    async def _speaks(self, number: int) -> _Run:
        """The run that brings something: the active one, which a probe becomes by this."""
        if self._active is not None and self._active.number == number:
            return self._active
        probe = self._probe
        if probe is None or probe.number != number:
            raise NotActive(number)
        old, self._active, self._probe = self._active, probe, None
        if old is not None:
            await self._stop_run(old)
        self._changed("it works again")
        self._arm()
        return probe

    async def _deliver(self, item: Any) -> None:
        error = await self._delivery.deliver(item)
        if error is not None:
            self._emit(ItemRejected(self._kb_cell.label(), self._sources_name(self._active), error))

    # -- which source is in use ------------------------------------------------------------------

    @request
    async def check(self) -> None:
        """See who is silent, and who may be tried now."""
        for run in (self._active, self._probe):
            silent = 0.0 if run is None else self._now() - run.heard
            if run is not None and silent >= self._stale_after:
                await self._failed(run, f"it was silent for {silent:.3g} s")
        await self._advance()

    async def on_down(self, down: Down) -> None:
        for run in (self._active, self._probe):
            if run is not None and down.monitor is run.watch:
                await self._failed(run, f"it ended: {down.reason!r}")
                await self._advance()
                return
        super().on_down(down)

    async def _failed(self, run: _Run, why: str) -> None:
        """A run is over."""
        if run is self._active:
            self._active = None
        else:
            self._probe = None
        await self._stop_run(run)
        self._put_off(run.index, self._now() - run.began, why)

    def _put_off(self, index: int, ran_for: float, why: str) -> None:
        """Leave a source alone for a while."""
        record = self._records[index]
        record.failures = 1 if self._pause.forgets(ran_for) else record.failures + 1
        wait = self._pause.delay(record.failures, random)
        record.retry_at = self._now() + wait
        self._why = why
        self._emit(SourceFailed(self._kb_cell.label(), self._sources[index].name, why, wait))

    async def _advance(self) -> None:
        """Have a source active if any may be tried, and a better one probed."""
        if self._active is None and self._probe is not None:
            self._active, self._probe = self._probe, None
            self._changed(self._why)
        if self._active is None:
            self._active = await self._first_of(len(self._sources))
            if self._active is not None:
                self._changed(self._why)
        if self._active is not None and self._probe is None:
            self._probe = await self._first_of(self._active.index)
        self._arm()

    async def _first_of(self, count: int) -> _Run | None:
        """Start the most preferred of the first `count` sources that may be tried now."""
        for index, record in enumerate(self._records[:count]):
            if record.retry_at <= self._now() + 1e-6:
                run = await self._start_run(index)
                if run is not None:
                    return run
        return None

    async def _start_run(self, index: int) -> _Run | None:
        source, number, now = self._sources[index], next(self._runs), self._now()
        try:
            ref = await self.start_child(source.spec(Feed(self.me, source.name, number, self._cursor)))
        except UsageError:
            raise
        except KoboshiError as error:
            self._put_off(index, 0.0, f"it did not start: {error}")
            return None
        watch = monitor(self._kb_cell, ref._target(), ref)
        return _Run(number, index, ref, watch, now, self._now())

    async def _stop_run(self, run: _Run) -> None:
        run.watch.cancel(flush=True)
        child = self._by_cell.get(run.ref._target())
        if child is not None:
            await self.terminate_child(run.ref)

    def _changed(self, why: str) -> None:
        """Another run is the active one; tell, if it is of another source."""
        assert self._active is not None
        if self._active.index != self._last:
            before = None if self._last is None else self._sources[self._last].name
            self._last = self._active.index
            self._changeovers += 1
            self._emit(ChangedOver(self._kb_cell.label(), self._sources_name(self._active), before, why))

    _why = "it is the first"

    def _arm(self) -> None:
        """Set the timer for the next time at which something may have to be done."""
        runs = [run for run in (self._active, self._probe) if run is not None]
        due = [run.heard + self._stale_after for run in runs]
        better = len(self._sources) if self._active is None else self._active.index
        if self._probe is None:
            due += [record.retry_at for record in self._records[:better]]
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if due:
            self._timer = self.me.send_after(max(0.0, min(due) - self._now()), Failover.check)

    # -- looking ---------------------------------------------------------------------------------

    @request
    async def statistics(self) -> FailoverStatistics:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The figures since the start."""
        states = [child.status for child in self._children.values()]
        return FailoverStatistics(
            children=len(states),
            running=states.count("running"),
            restarting=0,
            parked=0,
            restarts=0,
            strategy="one_for_one",
            active=None if self._active is None else self._sources_name(self._active),
            cursor=self._cursor,
            delivered=self._delivery.delivered,
            rejected=self._delivery.rejected,
            duplicates=self._duplicates,
            changeovers=max(0, self._changeovers),
            sources=tuple(self._info(index) for index in range(len(self._sources))),
        )

    def _info(self, index: int) -> SourceInfo:
        record = self._records[index]
        state = "waiting" if record.retry_at > self._now() else "standby"
        if self._active is not None and self._active.index == index:
            state = "active"
        elif self._probe is not None and self._probe.index == index:
            state = "probing"
        return SourceInfo(self._sources[index].name, state, record.failures)

    def _sources_name(self, run: _Run | None) -> str:
        return "nobody" if run is None else self._sources[run.index].name

    def _now(self) -> float:
        return self._kb_cell.node.loop.time()

    def _emit(self, event: Any) -> None:
        self._kb_cell.node.instruments.emit(event)

    def __repr__(self) -> str:
        return f"<Failover of {len(self._sources)} sources, active: {self._sources_name(self._active)}>"


def _not_beyond(cursor: Any, last: Any) -> bool:
    """Whether an item with this cursor was delivered already; False where the two cannot be compared."""
    if last is None:
        return False
    try:
        return bool(cursor <= last)
    except TypeError:
        return False


def _check_consumer(consumer: object) -> None:
    if not isinstance(consumer, ActorRef):
        raise UsageError(
            "consumer takes the ref of an actor, such as kb.whereis(name) or tree.ref(Sink, id) gives, "
            f"got {consumer!r}"
        )


def _check(sources: tuple[Any, ...], what: object, stale_after: object) -> None:
    if not sources:
        raise UsageError("a failover takes at least one source, otp.Push(...) or otp.Poll(...)")
    for each in sources:
        if not isinstance(each, Push | Poll):
            raise UsageError(f"a failover takes otp.Push(...) and otp.Poll(...), got {each!r}")
    names = [each.name for each in sources]
    if len(set(names)) < len(names):
        raise UsageError(f"each source has a name of its own, got {names!r}")
    if not getattr(what, MARK, False):
        raise UsageError(f"message takes a message of the consumer, such as Sink.take, got {what!r}")
    seconds("stale_after", stale_after)
    for each in sources:
        if isinstance(each, Poll) and each.every >= stale_after:  # type: ignore[operator]
            raise UsageError(
                f"stale_after must be longer than the {each.every:g} s between two polls of {each.name!r}, "
                f"got {stale_after!r}"
            )
