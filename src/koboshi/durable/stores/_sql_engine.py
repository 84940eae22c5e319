"""A server as an engine: one connection, one group at a time, and what becomes of a group that fails.

- Until COMMIT is sent every failure is clean. A clash with another transaction is tried again here; so is
  the first failure of a connection that has been idle, since its server may have been started anew.
- While COMMIT is not answered the outcome is open. It is looked up in the host's own row, which every group
  that writes has changed: reading it for update waits until the old transaction has ended, so that it
  cannot commit after we have looked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from .._failures import DurableError, OutcomeUnknown, StoreUnavailable, StoreUnusable
from ._group import perform_group
from ._operation import Operation, Outcome
from ._presence import absent, hold
from ._report import StoreReport
from ._sql_dialect import Dialect, Fault
from ._sql_families import dialect_of
from ._sql_link import Link, Touch, open_link
from ._sql_schema import prepare, report
from ._sql_session import ServerLost, SqlConnection, fault_of, said
from ._sql_url import SqlURL
from ._tables import SCHEMA_VERSION

__all__ = ["SqlEngine", "check_server", "migrate_server"]

T = TypeVar("T")
Done = Callable[[list[Outcome]], None]

# How often a group is tried that clashes, and the seconds between: doubled each time, with jitter.
_ATTEMPTS = 6
_FIRST_PAUSE = 0.005
# Seconds after which a host that had no connection is looked for again: it may have been connecting anew.
_LOOK_AGAIN = 2.0

_FAILURES = (SQLAlchemyError, ServerLost, TimeoutError, OSError, EOFError)

_log = logging.getLogger("koboshi.durable")


class _Attempt:
    """One try at a group: what is known of it when it has failed."""

    def __init__(
        self, operations: Sequence[Operation[Any]], host: str, write: int, dialect: Dialect, url: SqlURL
    ) -> None:
        self._url = url
        self._operations = operations
        self._host = host
        self.write = write
        self._dialect = dialect
        self._connection: SqlConnection | None = None
        self.outcomes: list[Outcome] = []
        self.writes = False

    def run(self, connection: sa.Connection, touch: Touch) -> None:
        """Do the group and commit it."""
        steady = self._operations[0].steady
        self._connection = SqlConnection(connection, self._dialect, touch, self._url, steady=steady)
        self.outcomes, self.writes = perform_group(self._connection, self._operations, self._host, self.write)
        self._connection.commit()

    @property
    def committing(self) -> bool:
        """Whether COMMIT was sent and not answered with success."""
        return self._connection is not None and self._connection.committing


class SqlEngine:
    """See `Engine`.

    Args:
        dialect: the SQL to speak; that of the URL's family without one.
        randomness: for the pauses between attempts, 0.0 up to 1.0.
    """

    def __init__(
        self,
        url: SqlURL,
        *,
        dialect: Dialect | None = None,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self.url = url.shown
        self._url = url
        self._dialect = dialect or dialect_of(url)
        self._randomness = randomness
        self._host = ""
        # None after a failure that made the connection doubtful, until there is a new one.
        self._link: Link | None = None
        # How many groups of this host are committed: the count in its row.
        self._writes = 0
        self._work: asyncio.Task[None] | None = None
        # One piece of work at a time on the connection.
        self._turn = asyncio.Lock()
        self._can_look = True

    async def open(self, host: str) -> None:
        """See `Engine.open`."""
        self._host = host
        try:
            link = await self._linked()
            await link.call(lambda connection, _: prepare(connection, self._dialect, self._url))
        except _FAILURES as error:
            await self._discard()
            raise self._unavailable(error) from error
        except BaseException:
            await self._discard()
            raise

    def commit(self, operations: Sequence[Operation[Any]], done: Done) -> None:
        """See `Engine.commit`."""
        self._work = asyncio.get_running_loop().create_task(self._commit(operations, done))

    async def _commit(self, operations: Sequence[Operation[Any]], done: Done) -> None:
        try:
            outcomes = await self._parted(operations)
        except asyncio.CancelledError:  # the loop ends
            done([Outcome(None, OutcomeUnknown(self.url, "the program ended")) for _ in operations])
            raise
        except Exception as error:  # a bug of ours: nobody may wait for ever because of it
            _log.exception("the store %s failed", self.url)
            await self._discard()
            outcomes = [Outcome(None, OutcomeUnknown(self.url, repr(error))) for _ in operations]
        done(outcomes)

    async def _parted(self, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        """Do a group: first what may be done in one transaction, then, in another, what is to see one moment."""
        if not any(each.steady for each in operations):
            return await self._group(operations)
        found: dict[int, Outcome] = {}
        for steady in (False, True):
            places = [place for place, each in enumerate(operations) if each.steady is steady]
            if places:
                outcomes = await self._group([operations[place] for place in places])
                found.update(zip(places, outcomes, strict=True))
        return [found[place] for place in range(len(operations))]

    async def _group(self, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        try:
            async with self._turn:
                return await self._tried(operations)
        except DurableError as error:
            _log.warning("a group of %d operations on %s failed: %s", len(operations), self.url, error)
            return [Outcome(None, _fresh(error)) for _ in operations]

    async def _tried(self, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        last: BaseException = TimeoutError()
        for number in range(_ATTEMPTS):
            link = await self._reached()
            was_used = link.used
            attempt = _Attempt(operations, self._host, self._writes + 1, self._dialect, self._url)
            try:
                await link.call(attempt.run)
            except _FAILURES as error:
                fault = self._fault(error)
                if fault is not Fault.CLASH:
                    await self._discard()
                if attempt.committing and fault not in (Fault.CLASH, Fault.OPERATION) and attempt.writes:
                    return await self._looked_up(attempt, error)
                if fault is Fault.OPERATION:
                    return await self._apart(operations, error)
                stale = fault is Fault.SERVER and was_used and not isinstance(error, TimeoutError)
                if not (fault is Fault.CLASH or (stale and number == 0)):
                    raise self._unavailable(error) from error
                last = error
            else:
                self._writes += attempt.writes
                return attempt.outcomes
            if fault is Fault.CLASH:
                await asyncio.sleep(_FIRST_PAUSE * 2**number * (0.5 + self._randomness()))
        raise self._unavailable(last) from last

    def _fault(self, error: BaseException) -> Fault:
        if isinstance(error, OSError | EOFError):  # an operation's own would be its outcome
            return Fault.SERVER
        return fault_of(error, self._dialect)

    async def _apart(self, operations: Sequence[Operation[Any]], error: BaseException) -> list[Outcome]:
        """Do the operations of a group one by one whose COMMIT was refused because of one of them."""
        if len(operations) == 1:
            assert isinstance(error, Exception)
            return [Outcome(None, error)]
        found = {
            index: await self._group([operations[index]])
            for index in sorted(range(len(operations)), key=lambda index: operations[index].rank)
        }
        return [found[index][0] for index in range(len(operations))]

    async def _looked_up(self, attempt: _Attempt, error: BaseException) -> list[Outcome]:
        """What became of a group whose COMMIT was not answered.

        Raises:
            StoreUnavailable: it was not committed.
            OutcomeUnknown: nobody can tell.
        """
        try:
            link = await self._linked()
            found = await link.call(self._read_writes)
        except (*_FAILURES, DurableError) as second:
            _log.warning("%s could not be asked after a failed commit: %s", self.url, said(second))
            await self._discard()
            raise OutcomeUnknown(self.url, said(error)) from error
        if found == attempt.write:
            self._writes = attempt.write
            return attempt.outcomes
        if found == attempt.write - 1:
            raise self._unavailable(error) from error
        raise OutcomeUnknown(self.url, said(error)) from error

    def _read_writes(self, connection: sa.Connection, _: Touch) -> int | None:
        text = sa.text(self._dialect.writes)
        found = connection.execute(text, {"host": self._host}).scalar()
        connection.rollback()
        return None if found is None else int(found)

    # -- the connection ----------------------------------------------------------------------------

    async def _linked(self) -> Link:
        if self._link is None:
            link = await open_link(self._url, self._dialect)
            self._link = link
            incarnation = self._host.rpartition(".")[2]
            await link.call(lambda connection, _: hold(connection, self._dialect, incarnation))
        return self._link

    async def _reached(self) -> Link:
        """The connection, made anew if there is none; then our count of writes is what the row says."""
        if self._link is not None:
            return self._link
        try:
            link = await self._linked()
            # Another database may have come up in its place.
            await link.call(lambda connection, _: self._same_schema(connection))
            found = await link.call(self._read_writes)
        except _FAILURES as error:
            await self._discard()
            raise self._unavailable(error) from error
        except StoreUnusable as error:
            await self._discard()
            raise StoreUnavailable(self.url, str(error)) from error
        if found is not None:
            self._writes = found
        return link

    def _same_schema(self, connection: sa.Connection) -> None:
        version = connection.exec_driver_sql("SELECT max(version) FROM kb_schema").scalar()
        connection.rollback()
        if version != SCHEMA_VERSION:
            raise StoreUnavailable(self.url, f"its tables are of version {version} now")

    async def _discard(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            try:
                await link.discard()
            except _FAILURES as error:
                _log.debug("a broken connection to %s could not be closed: %s", self.url, said(error))

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        return error if isinstance(error, StoreUnavailable) else StoreUnavailable(self.url, said(error))

    async def close(self) -> None:
        """See `Engine.close`."""
        if self._work is not None:
            await asyncio.wait([self._work])
        link, self._link = self._link, None
        if link is not None:
            try:
                await link.close()
            except _FAILURES as error:
                _log.debug("the connection to %s could not be closed: %s", self.url, said(error))

    def lost_hosts(self, hosts: Sequence[tuple[str, str]]) -> list[str]:
        """None: nothing is sure of another machine before its lease ends; see `absent_hosts`."""
        return []

    async def absent_hosts(self, hosts: Sequence[tuple[str, str]], settled: float) -> list[str]:
        """Those that have no connection to the server, now and a little later."""
        for pause in (0.0, _LOOK_AGAIN):
            if not hosts:
                break
            await asyncio.sleep(pause)
            missing = await self._absent(hosts, settled + _LOOK_AGAIN)
            hosts = [each for each in hosts if each[0] in missing]
        return [host for host, _ in hosts]

    async def _absent(self, hosts: Sequence[tuple[str, str]], settled: float) -> list[str]:
        if not self._can_look:
            return []
        async with self._turn:
            try:
                link = await self._reached()
                return await link.call(
                    lambda connection, _: absent(connection, self._dialect, hosts, settled)
                )
            except (*_FAILURES, DurableError) as error:
                # Not allowed to look, say: then only leases tell.
                self._can_look = isinstance(error, DurableError) or self._fault(error) is not Fault.OPERATION
                level = logging.DEBUG if self._can_look else logging.WARNING
                _log.log(level, "%s could not be asked which hosts are there: %s", self.url, said(error))
                await self._discard()
                return []
            except asyncio.CancelledError:  # in the midst of an answer
                await self._discard()
                raise


def _fresh(error: DurableError) -> DurableError:
    """An exception of one caller's own."""
    if isinstance(error, OutcomeUnknown | StoreUnavailable):
        return type(error)(error.url, error.detail)
    return error


async def migrate_server(url: SqlURL) -> int:
    """Bring the tables of a server up to date; the version that was there, 0 for none."""
    dialect = dialect_of(url)
    return await _visit(url, dialect, lambda connection: prepare(connection, dialect, url, migrating=True))


async def check_server(url: SqlURL) -> StoreReport:
    """Look at the tables of a server without changing anything."""
    dialect = dialect_of(url)
    return await _visit(url, dialect, lambda connection: report(connection, dialect, url))


async def _visit(url: SqlURL, dialect: Dialect, work: Callable[[sa.Connection], T]) -> T:
    try:
        link = await open_link(url, dialect)
        try:
            return await link.call(lambda connection, _: work(connection))
        finally:
            await link.close()
    except _FAILURES as error:
        raise StoreUnavailable(url.shown, said(error)) from error
