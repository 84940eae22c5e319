"""Where a contract is tested: what makes engines for one database, and how to open them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from koboshi.durable.stores import Engine, Store, engine_of

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """A database by its URL.

    Attributes:
        shared: whether two engines of the URL see the same rows.
        strict: whether text that is longer than its column is refused.
        presence: whether it shows which hosts are connected.
        make: makes an engine for the URL.
    """

    url: str
    shared: bool = True
    strict: bool = True
    presence: bool = False
    make: Callable[[str], Engine] = engine_of

    def engine(self) -> Engine:
        """Another engine for it."""
        return self.make(self.url)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """An open store, closed in the end."""
        store = Store(self.engine())
        await store.open()
        try:
            yield store
        finally:
            await store.close()
