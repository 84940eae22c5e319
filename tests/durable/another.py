"""The store of a program that a test has as its own beside those of its kinds: another host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koboshi.durable.stores import Store, engine_of

__all__ = ["another_program"]


@asynccontextmanager
async def another_program(url: str) -> AsyncIterator[Store]:
    """Its store, open."""
    store = Store(engine_of(url))
    await store.open()
    try:
        yield store
    finally:
        await store.close()
