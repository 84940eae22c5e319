"""The task ledger: jobs in one SQLite file that survive any crash of the program."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from . import _queries, _transitions
from ._backoff import Backoff
from ._errors import LedgerClosed, StaleClaim
from ._jobs import Claim, Counts, DeadLetter, Job, LedgerStatistics, Result
from ._store import Connect, Store
from ._transitions import Transaction
from ._writer import Writer

__all__ = ["MAX_BYTES", "Ledger"]

MAX_BYTES = 64 * 1024 * 1024
"""The largest payload or result, in bytes."""

T = TypeVar("T")


class Ledger:
    """A durable set of jobs, each done once whatever crashes. Use it as `async with Ledger(path) as ledger:`.

    A method returns after what it did is committed and synced to disk. Methods that are called at the
    same time share one transaction. Operations take effect in the order in which they were called.
    One ledger belongs to the event loop that opened it.

    Args:
        path: the SQLite file; created with mode 0600 if missing. Its folder must exist.
        max_attempts: a job that failed this often becomes a dead letter (default 5).
        backoff: how long a failed job waits (default `Backoff()`: 1 s doubling to 300 s, half of it random).
        exclusive: no other process may open the file meanwhile (default True). With False several may,
            and a dead one's jobs wait for their lease.
        busy_timeout: seconds to wait for another process's lock before `StoreUnavailable` (default 5.0).
        queue_limit: operations that may wait for the disk before `StoreUnavailable` (default 65,536).
        clock: seconds since the epoch, for leases and delays (default `time.time`).
        randomness: for tokens and jitter (default the system's); seed it in simulations only.
        connect: opens the database (default `sqlite3.connect`); a seam for fault injection.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_attempts: int = 5,
        backoff: Backoff | None = None,
        exclusive: bool = True,
        busy_timeout: float = 5.0,
        queue_limit: int = 65_536,
        clock: Callable[[], float] = time.time,
        randomness: random.Random | None = None,
        connect: Connect = sqlite3.connect,
    ) -> None:
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {max_attempts!r}")
        if not 0.0 <= busy_timeout <= 86_400.0:
            raise ValueError(f"busy_timeout must be between 0 and 86400 seconds, got {busy_timeout!r}")
        if queue_limit < 1:
            raise ValueError(f"queue_limit must be at least 1, got {queue_limit!r}")
        self._path: str = os.path.abspath(path)
        self._max_attempts = max_attempts
        self._backoff = Backoff() if backoff is None else backoff
        self._exclusive = exclusive
        self._queue_limit = queue_limit
        self._clock = clock
        self._randomness = random.SystemRandom() if randomness is None else randomness
        self._store = Store(self._path, connect, busy_timeout)
        self._writer: Writer | None = None
        self._state = "not open"

    # -- opening and closing -------------------------------------------------------------------

    async def open(self) -> Self:
        """Opens the file; call it once, or use `async with`.

        Raises:
            NotALedger: the file is something else; it was not changed.
            WrongLedgerVersion: it has an older or newer layout.
            LedgerInUse: another process, or another `Ledger`, has it open.
            LedgerUnusable: the base of these; also for a missing folder.
            StoreUnavailable: locked by another program, or the disk is full.
        """
        if self._state != "not open":
            raise LedgerClosed(self._path, f"{self._state} already")
        self._state = "opening"
        writer = Writer(self._path, self._exclusive, self._store, self._queue_limit)
        try:
            await writer.start()
        except BaseException:
            self._state = "closed"
            raise
        self._writer = writer
        self._state = "open"
        return self

    async def close(self) -> None:
        """Commits what was asked for before, and closes the file. May be called again."""
        self._state = "closed"
        if self._writer is not None:
            await self._writer.stop()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if getattr(self, "_state", None) == "open":
            warnings.warn(f"unclosed ledger {self!r}", ResourceWarning, stacklevel=1, source=self)

    def __repr__(self) -> str:
        return f"<Ledger {self._path!r} {self._state}>"

    # -- putting jobs in -----------------------------------------------------------------------

    async def put(self, id: str, payload: bytes) -> bool:
        """Adds a job; False, changing nothing, if a job with this id was ever put."""
        return (await self.put_many([(id, payload)]))[0]

    async def put_many(self, jobs: Iterable[tuple[str, bytes]]) -> list[bool]:
        """Adds all jobs in one transaction, or none; for each, whether its id was new."""
        rows = [(_checked_name("id", id), _checked_bytes("payload", payload)) for id, payload in jobs]
        now = self._clock()
        return await self._submit(lambda tx: _transitions.put(tx, rows, now), rows=len(rows))

    async def requeue(self, id: str) -> bool:
        """Gives a dead letter all its attempts again; False if no dead job has this id."""
        return await self._submit(
            partial(_transitions.requeue, id=_checked_name("id", id), now=self._clock())
        )

    # -- working on jobs -----------------------------------------------------------------------

    async def claim(self, owner: str, *, limit: int = 1, lease: float = 60.0) -> list[Claim]:
        """Takes up to `limit` jobs that are due; an empty list if there is none.

        Each claim counts as an attempt. Jobs whose lease ran out are handed out again, or become dead
        letters if they have no attempts left.

        Args:
            owner: who takes them, for `reclaim` and for people who look.
            lease: seconds after which others may take the job, unless renewed.
        """
        _checked_name("owner", owner)
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit!r}")
        now = self._clock()
        until = now + _checked_lease(lease)
        token = self._randomness.randbytes(16)
        attempts = self._max_attempts
        future = self._future(
            lambda tx: _transitions.claim(tx, owner, token, limit, now, until, attempts),
            rows=limit,
            abandoned=self._give_back,
        )
        try:
            return await future
        except asyncio.CancelledError:
            # Answered and cancelled in the same tick: nobody will ever see these claims.
            if not future.cancelled() and future.done() and future.exception() is None:
                self._give_back(future.result())
            raise

    async def renew(self, *claims: Claim, lease: float = 60.0) -> None:
        """Makes the leases end `lease` seconds from now.

        Raises:
            StaleClaim: some were lost; the others are renewed.
        """
        until = self._clock() + _checked_lease(lease)
        await self._settle(
            "renew", partial(_transitions.renew, claims=claims, lease_until=until), len(claims)
        )

    async def release(self, *claims: Claim) -> None:
        """Gives jobs back unused: the attempt does not count, and they are due at once.

        Raises:
            StaleClaim: some were lost; the others are released.
        """
        await self._settle(
            "release", partial(_transitions.release, claims=claims, now=self._clock()), len(claims)
        )

    async def acknowledge(self, claim: Claim, result: bytes) -> None:
        """Stores the result and marks the job done, in one transaction.

        Doing it twice with the same claim is no error; the first result stands.

        Raises:
            StaleClaim: the job was given to another owner; nothing was changed.
        """
        await self.acknowledge_many([(claim, result)])

    async def acknowledge_many(self, results: Iterable[tuple[Claim, bytes]]) -> None:
        """`acknowledge` for many jobs in one transaction.

        Raises:
            StaleClaim: some were refused; the others are recorded.
        """
        rows = [(claim, _checked_bytes("result", result)) for claim, result in results]
        await self._settle("acknowledge", partial(_transitions.acknowledge, results=rows), len(rows))

    async def fail(self, claim: Claim, report: str, *, retry: bool = True) -> float | None:
        """Ends an attempt without a result.

        Args:
            report: what happened, kept with the job.
            retry: False makes it a dead letter at once.

        Returns:
            When the job may be claimed again (seconds since the epoch), or None: it is a dead letter.

        Raises:
            StaleClaim: the job was given to another owner; nothing was changed.
        """
        # File names and foreign output bring lone surrogates, which SQLite cannot store.
        text = report.encode("utf-8", "backslashreplace").decode("utf-8")
        if not retry or claim.attempt >= self._max_attempts:
            await self._settle("fail", partial(_transitions.bury, held=claim, report=text), 1)
            return None
        not_before = self._clock() + self._backoff.delay(claim.attempt, self._randomness.random())
        await self._settle(
            "fail", partial(_transitions.retry, held=claim, report=text, not_before=not_before), 1
        )
        return not_before

    async def reclaim(self, owner: str | None = None, *, refund: bool = False) -> int:
        """Takes back claims whose owner is known to be dead, without waiting for their leases.

        Args:
            owner: exactly this one's claims. None: the claims of all earlier runs of the program,
                which needs an exclusive ledger; call it after `open`.
            refund: the attempts do not count. By default they do, so that a job which takes its owner
                down each time ends as a dead letter.

        Returns:
            How many claims were taken back.
        """
        if owner is not None:
            _checked_name("owner", owner)
        elif not self._exclusive:
            raise ValueError(
                "reclaim() of all earlier runs needs exclusive=True, as others may be alive; name an owner"
            )
        now = self._clock()
        attempts = self._max_attempts
        return await self._submit(lambda tx: _transitions.reclaim(tx, owner, now, attempts, refund=refund))

    # -- looking -------------------------------------------------------------------------------

    async def counts(self) -> Counts:
        """How many jobs are pending, claimed, done and dead; the cost does not grow with them."""
        return await self._submit(_queries.counts, writes=False)

    async def job(self, id: str) -> Job | None:
        """One job with its state and result, or None if it was never put."""
        return await self._submit(partial(_queries.job, id=id), writes=False)

    async def next_due(self) -> float | None:
        """When something can be claimed at the earliest (in the past: now), or None: no job is left."""
        return await self._submit(_queries.next_due, writes=False)

    async def read_results(self, after: int = 0, limit: int = 1000) -> list[Result]:
        """Up to `limit` results with a position greater than `after`, in commit order."""
        query = partial(_queries.results, after=after, limit=limit)
        return await self._submit(query, writes=False, rows=limit)

    async def results(self, after: int = 0, page: int = 1000) -> AsyncIterator[Result]:
        """All results with a position greater than `after`, in commit order, `page` at a time."""
        while found := await self.read_results(after, page):
            for result in found:
                yield result
            after = found[-1].position

    async def dead_letters(self, after: int = 0, page: int = 1000) -> AsyncIterator[DeadLetter]:
        """All dead letters with a number greater than `after`, in the order of `put`."""
        while found := await self._submit(
            partial(_queries.dead_letters, after=after, limit=page), writes=False, rows=page
        ):
            for letter in found:
                yield letter
            after = found[-1].number

    def statistics(self) -> LedgerStatistics:
        """What the writer did since `open`."""
        writer, store = self._writer, self._store
        return LedgerStatistics(
            groups=store.groups,
            operations=writer.operations if writer else 0,
            rows=writer.rows if writer else 0,
            largest_group=writer.largest_group if writer else 0,
            isolated_groups=store.isolated_groups,
            failed_groups=store.failed_groups,
            reopened=store.reopened,
            queued=writer.queued if writer else 0,
            last_commit=store.last_commit,
        )

    # -- plumbing ------------------------------------------------------------------------------

    def _future(
        self,
        perform: Callable[[Transaction], T],
        *,
        rows: int = 1,
        writes: bool = True,
        abandoned: Callable[[T], None] | None = None,
    ) -> asyncio.Future[T]:
        if self._writer is None:
            raise LedgerClosed(self._path, self._state)
        return self._writer.submit(perform, rows=rows, writes=writes, abandoned=abandoned)

    async def _submit(self, perform: Callable[[Transaction], T], *, rows: int = 1, writes: bool = True) -> T:
        return await self._future(perform, rows=rows, writes=writes)

    async def _settle(self, operation: str, perform: Callable[[Transaction], list[Claim]], rows: int) -> None:
        refused = await self._future(perform, rows=rows)
        if refused:
            raise StaleClaim(operation, tuple(claim.id for claim in refused))

    def _give_back(self, claims: list[Claim]) -> None:
        """Releases jobs that were claimed for a caller who is gone."""
        if claims and self._state == "open":
            now = self._clock()
            self._future(lambda tx: _transitions.release(tx, claims, now), rows=len(claims))


def _checked_name(what: str, value: str) -> str:
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{what} must be a str, got {value!r}")
    if not value:
        raise ValueError(f"{what} must not be empty")
    return value


def _checked_bytes(what: str, value: bytes) -> bytes:
    if not isinstance(value, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"{what} must be bytes, got {value!r}; encode it first, e.g. with msgspec.msgpack.encode"
        )
    if len(value) > MAX_BYTES:
        raise ValueError(
            f"{what} may have {MAX_BYTES:,} bytes, got {len(value):,}; store a file and put its name"
        )
    return value


def _checked_lease(seconds: float) -> float:
    if not 0.0 < seconds < float("inf"):
        raise ValueError(f"lease must be a positive number of seconds, got {seconds!r}")
    return seconds
