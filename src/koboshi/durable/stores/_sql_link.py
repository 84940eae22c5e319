"""A connection to a server as the event loop holds it: it is opened, work is done on it, it is thrown away.

The work itself is synchronous. With an asyncio driver it runs in a greenlet on the loop, else in a thread.
Every wait is bounded: a statement that takes longer than it may ends the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ._sql_dialect import Dialect
from ._sql_url import SqlURL
from ._switching import begin_quick_turns, end_quick_turns

__all__ = ["AsyncLink", "Link", "ThreadLink", "open_link"]

T = TypeVar("T")
# Called before each statement.
Touch = Callable[[], None]
# Seconds that the client waits longer than the server, so that the server's own report comes first.
_LONGER = 2.0


class Link(Protocol):
    """One connection."""

    #: Whether work was done on it before: then its server may be gone without anybody having noticed.
    used: bool

    async def call(self, work: Callable[[sa.Connection, Touch], T]) -> T:
        """Do something on it.

        Raises:
            TimeoutError: a statement took too long; the connection is unusable.
        """
        ...

    async def discard(self) -> None:
        """Close it without waiting for the server's consent."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...


async def open_link(url: SqlURL, dialect: Dialect) -> Link:
    """Connect.

    Raises:
        TimeoutError, OSError, SQLAlchemyError: there is no connection.
    """
    options: dict[str, Any] = {
        "poolclass": NullPool,
        "hide_parameters": True,
        "connect_args": dialect.options(url),
        "isolation_level": "READ COMMITTED",
    }
    if url.family == "mssql":
        link: Link = await ThreadLink.open(sa.create_engine(url.address, **options))
    else:
        link = await AsyncLink.open(create_async_engine(url.address, **options), url)
    try:
        await link.call(lambda connection, touch: _set_up(connection, dialect, url))
    except BaseException:
        await link.discard()
        raise
    return link


def _set_up(connection: sa.Connection, dialect: Dialect, url: SqlURL) -> None:
    for text in dialect.setup(url, connection.dialect.server_version_info or ()):
        connection.exec_driver_sql(text)
    if dialect.question is not None:
        dialect.learn(connection.exec_driver_sql(dialect.question).scalar_one())
    connection.commit()


class AsyncLink:
    """See `Link`."""

    def __init__(self, engine: AsyncEngine, connection: AsyncConnection, limit: float) -> None:
        self._engine = engine
        self._connection = connection
        self._limit = limit
        self.used = False

    @classmethod
    async def open(cls, engine: AsyncEngine, url: SqlURL) -> AsyncLink:
        """Connect."""
        async with asyncio.timeout(url.connect_timeout + _LONGER):
            connection = await engine.connect()
        return cls(engine, connection, url.statement_timeout + _LONGER)

    async def call(self, work: Callable[[sa.Connection, Touch], T]) -> T:
        """See `Link.call`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._limit) as bound:

            def touch() -> None:
                if not bound.expired():
                    bound.reschedule(loop.time() + self._limit)

            result = await self._connection.run_sync(work, touch)
        self.used = True
        return result

    async def discard(self) -> None:
        """See `Link.discard`."""
        # Before anything is awaited: some drivers would wait for an answer.
        if not self._connection.closed and not self._connection.invalidated:
            await self._connection.invalidate()
        await self.close()

    async def close(self) -> None:
        """See `Link.close`."""
        await self._connection.close()
        await self._engine.dispose()


class ThreadLink:
    """See `Link`; for drivers that block. The driver's own limits bound the waits."""

    def __init__(self, engine: sa.Engine, connection: sa.Connection, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._connection = connection
        self._thread = thread
        self.used = False

    @classmethod
    async def open(cls, engine: sa.Engine) -> ThreadLink:
        """Connect."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, engine.connect)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(engine, connection, thread)

    async def call(self, work: Callable[[sa.Connection, Touch], T]) -> T:
        """See `Link.call`."""
        begin_quick_turns()
        try:
            result = await asyncio.get_running_loop().run_in_executor(
                self._thread, work, self._connection, lambda: None
            )
        finally:
            end_quick_turns()
        self.used = True
        return result

    async def discard(self) -> None:
        """See `Link.discard`."""
        await self._end(self._connection.invalidate)

    async def close(self) -> None:
        """See `Link.close`."""
        await self._end(lambda: None)

    async def _end(self, before: Callable[[], None]) -> None:
        def end() -> None:
            if not self._connection.closed and not self._connection.invalidated:
                before()
            self._connection.close()
            self._engine.dispose()

        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, end)
        finally:
            self._thread.shutdown(wait=False)
