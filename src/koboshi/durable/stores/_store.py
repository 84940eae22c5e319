"""One database as one event loop sees it: operations go in, outcomes come out of groups."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .._failures import StoreClosed, StoreUnavailable
from ._engine import Engine
from ._hosts import Beat, ForgetHosts, leave
from ._operation import Change, Operation, Outcome, Query
from ._session import Session

__all__ = ["LEASE", "Store", "StoreStatistics"]

T = TypeVar("T")
Done = Callable[[Any, "Exception | None"], None]

#: Seconds for which a host that is not heard of keeps what it has claimed.
LEASE = 15.0
# Operations under way from which they are two groups in turn: below that the commit itself is what takes time.
_TWO_GROUPS = 256
# Operations that may wait for the database before they are refused.
QUEUE_LIMIT = 65_536
# A query is answered from memory only until this share of the lease is over: clocks may run at other speeds.
_SAFE = 0.8
# Seconds between two looks at which other hosts are still there.
_LOOK = 0.5

_log = logging.getLogger("koboshi.durable")


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What a store did since it was opened: groups committed, operations in them, and what waits now."""

    url: str
    host: str
    groups: int
    operations: int
    largest_group: int
    failed: int
    queued: int


class Store:
    """A database that is open. One group is committed at a time; what is asked for meanwhile is the next one.

    Args:
        engine: what commits.
        lease: seconds for which this host keeps its claims when nothing is heard of it (default 15.0).
        queue_limit: operations that may wait before `StoreUnavailable` (default 65,536).
    """

    def __init__(self, engine: Engine, *, lease: float = LEASE, queue_limit: int = QUEUE_LIMIT) -> None:
        self._engine = engine
        self._lease = lease
        self._queue_limit = queue_limit
        self._loop = asyncio.get_running_loop()
        self.incarnation = secrets.token_hex(16)
        self.host = f"{socket.gethostname()[:20]}.{os.getpid()}.{self.incarnation}"
        self._waiting: list[tuple[Operation[Any], Done]] = []
        self._scheduled = False
        self._busy = False
        self._state = "not open yet"
        self._idle: asyncio.Future[None] | None = None
        # Whether the group that is being committed changes anything, and who waits for one that does.
        self._writing = False
        self._change: asyncio.Future[None] | None = None
        self._beat: asyncio.TimerHandle | None = None
        # On this loop's clock: until then nobody else can have been given what we hold.
        self._safe_until = 0.0
        self._watch: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._groups = self._operations = self._largest = self._failed = 0

    @property
    def url(self) -> str:
        """The database, as it is shown."""
        return self._engine.url

    @property
    def holds_lease(self) -> bool:
        """Whether this host's claims are surely its own at this moment."""
        return self._loop.time() < self._safe_until

    async def open(self) -> None:
        """Connect, make the tables if there are none, and take the lease.

        Raises:
            StoreUnusable: what is there cannot be used; it was not changed.
            StoreUnavailable: nobody is there, no space, locked.
        """
        await self._engine.open(self.host)
        self._state = "open"
        try:
            await self._first_beat()
        except BaseException:
            self._state = "closed"
            await self._engine.close()
            raise

    async def _first_beat(self) -> None:
        began = self._loop.time()
        others = await self.run(self._beating())
        self._safe_until = began + self._lease * _SAFE
        lost = self._engine.lost_hosts(others)
        if lost:
            await self.run(ForgetHosts(lost))
        self._look_for([each for each in others if each[0] not in lost])
        self._beat = self._loop.call_later(self._lease / 3, self._beats)

    def _beating(self) -> Beat:
        return Beat(self.host, self.incarnation, self._lease, "{}")

    def _beats(self) -> None:
        """Renew the lease; whether or not it succeeds, there is a next time."""
        if self._state != "open":
            return
        self._beat = self._loop.call_later(self._lease / 3, self._beats)
        began = self._loop.time()

        def done(others: Any, error: Exception | None) -> None:
            if error is not None:
                _log.warning("the lease of %s on %s was not renewed: %s", self.host, self.url, error)
                return
            self._safe_until = began + self._lease * _SAFE
            self.forget_lost(others)

        self._add(self._beating(), done)

    def forget_lost(self, hosts: list[tuple[str, str]]) -> None:
        """Take away the leases of those hosts that are surely gone."""
        lost = self._engine.lost_hosts(hosts)
        if lost and self._state == "open":
            self._add(ForgetHosts(lost), _reported)
        self._look_for([each for each in hosts if each[0] not in lost])

    def _look_for(self, hosts: list[tuple[str, str]]) -> None:
        now = self._loop.time()
        if hosts and self._watch is None and self._state == "open" and now >= self._next_look:
            self._next_look = now + _LOOK
            self._watch = self._loop.create_task(self._forget_absent(hosts))

    async def _forget_absent(self, hosts: list[tuple[str, str]]) -> None:
        try:
            absent = await self._engine.absent_hosts(hosts, self._lease / 3)
            if absent and self._state == "open":
                _log.info("hosts without a connection to %s lose their leases: %s", self.url, absent)
                self._add(ForgetHosts(absent), _reported)
        finally:
            self._watch = None

    # -- operations --------------------------------------------------------------------------------

    def submit(self, operation: Operation[T], done: Callable[[T, Exception | None], None]) -> None:
        """Have something done; `done` gets its value, or an error, after the commit.

        Raises:
            StoreClosed: the store is not open.
            StoreUnavailable: too much waits for it already.
        """
        if self._state != "open":
            raise StoreClosed(self.url, self._state)
        if len(self._waiting) >= self._queue_limit:
            raise StoreUnavailable(self.url, f"{self._queue_limit} operations wait already")
        self._add(operation, done)

    def _add(self, operation: Operation[Any], done: Done) -> None:
        self._waiting.append((operation, done))
        if not self._busy and not self._scheduled:
            # At once: what else this tick asks for is the next group, which is made while this one is committed.
            self._hand_over()

    async def run(self, operation: Operation[T]) -> T:
        """Have something done and wait for it. Cancelling the caller does not undo it.

        Raises:
            StoreUnavailable, OutcomeUnknown, StoreDamaged: as the database has it.
        """
        future: asyncio.Future[T] = self._loop.create_future()

        def done(value: T, error: Exception | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)

        self.submit(operation, done)
        return await future

    async def read(self, read: Callable[[Session], T], *, steady: bool = False) -> T:
        """Run a function of a session that changes nothing; `steady`: see `Operation.steady`."""
        return await self.run(Query(read, steady=steady))

    async def change(self, write: Callable[[Session], T]) -> T:
        """Run a function of a session; it may be run again after a rollback."""
        return await self.run(Change(write))

    def _hand_over(self, told: int = 0) -> None:
        """Have what waits committed; `told` operations more are about to ask again, or not."""
        self._scheduled = False
        if self._busy or not self._waiting:
            return
        group, self._waiting = self._waiting, []
        asking = len(group) + told
        if asking >= _TWO_GROUPS:
            # While one half is committed, whoever was told of the other asks for the next.
            half = (asking + 1) // 2
            group, self._waiting = group[:half], group[half:]
        self._busy = True
        for operation, _ in group:
            operation.seal()
        dones = [done for _, done in group]
        self._writing = any(operation.writes for operation, _ in group)
        self._groups += 1
        self._operations += len(group)
        self._largest = max(self._largest, len(group))
        self._engine.commit(
            [operation for operation, _ in group], lambda found: self._committed(dones, found)
        )

    def _committed(self, dones: list[Done], outcomes: list[Outcome]) -> None:
        self._busy, has_written = False, self._writing
        if len(outcomes) + len(self._waiting) >= _TWO_GROUPS:
            self._hand_over(len(outcomes))
        # What is asked for by those who are told now is one group: they run before what is called soon here.
        self._scheduled = True
        for done, (value, error) in zip(dones, outcomes, strict=True):
            self._failed += error is not None
            try:
                done(value, error)
            except Exception:  # one listener's mistake must not cost the others their answers
                _log.exception("an outcome of the store %s could not be handed on", self.url)
        self._loop.call_soon(self._hand_over)
        if has_written and self._change is not None:
            change, self._change = self._change, None
            if not change.done():
                change.set_result(None)
        if not self._waiting and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def changed(self) -> asyncio.Future[None]:
        """Is done when this program has changed the store the next time, and whoever asked for that was told.

        Many may wait for it: wait with `asyncio.wait`, which does not cancel it.
        """
        if self._change is None:
            self._change = self._loop.create_future()
        return self._change

    async def settled(self) -> None:
        """Wait until nothing waits for the database."""
        while self._busy or self._waiting:
            if self._idle is None or self._idle.done():
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    async def close(self) -> None:
        """Commit what was asked for before, give up the lease, and let the database go."""
        if self._state != "open":
            return
        self._state = "closing"
        if self._beat is not None:
            self._beat.cancel()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        self._add(leave(self.host), _reported)
        try:
            await self.settled()
        finally:
            self._state = "closed"
            await self._engine.close()

    def statistics(self) -> StoreStatistics:
        """What it did since it was opened."""
        return StoreStatistics(
            url=self.url,
            host=self.host,
            groups=self._groups,
            operations=self._operations,
            largest_group=self._largest,
            failed=self._failed,
            queued=len(self._waiting),
        )

    def __repr__(self) -> str:
        return f"<Store {self.url} {self._state}>"


def _reported(_: object, error: Exception | None) -> None:
    if error is not None:
        _log.warning("the row of a host could not be taken away: %s", error)
