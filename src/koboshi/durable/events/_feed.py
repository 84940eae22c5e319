"""What moves an asynchronous projection on: reads the log after its offset and applies it, batch by batch.

A batch and its offset are one transaction, so each event is applied once whatever crashes. An event that cannot be
applied is tried again with growing delays, then the projection stops there with a report; `skip` goes on behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..._kernel._errors import ActorExited, CallTimeout, MailboxFull, NotRunning
from ..._kernel._reasons import Crashed
from ..._supervision._restart import Backoff
from .._failures import Fenced, OutcomeUnknown, OwnedElsewhere, StoreClosed, StoreUnavailable
from ..stores import Store
from ._log import Offset, read_log
from ._projection import Batch

if TYPE_CHECKING:
    from ..actors._definition import Definition

__all__ = ["Feed", "ProjectionStatus", "Settings"]

# Trouble of the store or of this host, which no event is to blame for.
_PASSING = (
    *(Fenced, OutcomeUnknown, OwnedElsewhere, StoreClosed, StoreUnavailable),
    *(CallTimeout, MailboxFull, NotRunning),
)

_log = logging.getLogger("koboshi.durable")


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """A projection at one moment: how far it has come, and at which place and why it is stopped, if it is."""

    name: str
    state: Literal["running", "retrying", "stopped"]
    place: int
    attempts: int = 0
    stopped_at: int | None = None
    report: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How a feed goes about it; see `kb.projection`."""

    name: str
    system: str
    sources: Mapping[str, Definition]
    batch: int
    poll: float
    max_attempts: int
    backoff: Backoff


class Feed:
    """See the module.

    Args:
        apply: applies a batch, in one transaction with its offset.
        names: what the tables are called now.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        offset: Offset,
        apply: Callable[[Batch], Awaitable[None]],
        names: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._store = store
        self.offset = offset
        self._apply = apply
        self._names = names
        # Everything up to here is applied, or is of other kinds. The stored offset is at `_stored`.
        self.reached = 0
        self._stored = 0
        self._known = False
        self._size: int = settings.batch
        # While a batch that has failed is applied one by one: its end.
        self._careful_until = 0
        self._attempts = 0
        self.stopped_at: int | None = None
        self.report: str | None = None
        self._wake = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        # Held while a batch is applied; who holds it otherwise has the projection stand still.
        self.standing = asyncio.Lock()

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    def status(self) -> ProjectionStatus:
        """How it is doing."""
        name = self._settings.name
        if self.stopped_at is not None:
            state: Literal["running", "retrying", "stopped"] = "stopped"
        else:
            state = "retrying" if self._attempts else "running"
        return ProjectionStatus(name, state, self.reached, self._attempts, self.stopped_at, self.report)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._wake.clear()
            try:
                async with self.standing:
                    more = self.stopped_at is None and await self.step()
            except CallTimeout as error:
                _log.debug("the projection %s is run by another program: %s", self._settings.name, error)
                self._known = more = False
            except _PASSING as error:
                _log.warning("the projection %s waits for its store: %s", self._settings.name, error)
                self._known = more = False
            if not more:
                await self._pause(self._settings.poll)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def step(self) -> bool:
        """Apply the next batch; whether there was one."""
        if not self._known:
            self.reached = self._stored = await self._store.read(self.offset.get)
            self._known = True
        settings, after, size = self._settings, self.reached, self._size
        log = await self._store.read(lambda session: read_log(session, settings.system, after, size))
        rows = log.rows
        if not rows:
            self._tell()
            return False
        until = int(rows[-1][0])
        try:
            found = log.happened(settings.sources)
            if found or until - self._stored >= 1_000:
                await self._apply(Batch(found, self._stored, until, self.offset, self._names))
                self._stored = until
        except _PASSING:
            raise
        except Exception as error:
            self._known = False
            await self._failed(rows, error)
            return True
        self.reached = until
        self._attempts = 0
        if until >= self._careful_until:
            self._size = settings.batch
        self._tell()
        return True

    async def _failed(self, rows: list[tuple[Any, ...]], error: Exception) -> None:
        if len(rows) > 1:
            # One of them is bad: one by one until it is found.
            self._careful_until, self._size = int(rows[-1][0]), 1
            return
        self._attempts += 1
        place, type, key, seq, name = rows[0][:5]
        cause = (
            error.reason.error
            if isinstance(error, ActorExited) and isinstance(error.reason, Crashed)
            else error
        )
        self.report = "".join(traceback.format_exception(cause))
        what = f"{name} of {type}/{key} with revision {seq}"
        if self._attempts >= self._settings.max_attempts:
            self.stopped_at = int(place)
            _log.error(
                "the projection %s has stopped at place %d, %s, after %d attempts: %s",
                *(self._settings.name, place, what, self._attempts, cause),
            )
            return
        delay = self._settings.backoff.delay(self._attempts, random.random)
        _log.warning("the projection %s could not apply %s: %s", self._settings.name, what, cause)
        await asyncio.sleep(delay)

    # -- who waits, and what operators do --------------------------------------------------------------

    async def wait_for(self, place: int) -> None:
        """Wait until everything up to a place is applied."""
        if self.reached < place:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((place, future))
            self.wake()
            await future

    def _tell(self) -> None:
        still = [each for each in self._waiting if each[0] > self.reached and not each[1].done()]
        for place, future in self._waiting:
            if place <= self.reached and not future.done():
                future.set_result(None)
        self._waiting = still

    async def skip(self) -> bool:
        """Leave the event out at which it has stopped; whether it had."""
        async with self.standing:
            place = self.stopped_at
            if place is None:
                return False
            since = await self._store.read(self.offset.get)
            await self._apply(Batch([], since, place, self.offset, self._names))
            self.resume()
            return True

    def resume(self) -> None:
        """Try again where it has stopped."""
        self.stopped_at = self.report = None
        self._attempts = 0
        self._known = False
        self.wake()
