"""Waiting until a store holds something: it is looked at after each change that this program makes to it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

import koboshi as kb
from koboshi.durable.stores import Session, Store

__all__ = ["delivered", "until"]

T = TypeVar("T")


def store_of(kind: kb.Durable[Any] | kb.Sagas[Any, Any] | kb.Queue | Store) -> Store:
    """The open store of what runs in this program."""
    if isinstance(kind, Store):
        return kind
    if isinstance(kind, kb.Queue):
        return kind._live().store
    definition = kind._actors._definition if isinstance(kind, kb.Sagas) else kind._definition
    return definition.running("until").store


@overload
async def until(condition: Callable[[], Awaitable[T | None]], *kinds: Any) -> T: ...
@overload
async def until(condition: Callable[[], T | None], *kinds: Any) -> T: ...
async def until(condition: Callable[[], Any], *kinds: Any) -> Any:
    """What the condition gives once that is true; it is looked at now, and after each change of these kinds' stores.

    The test's time limit ends a wait in vain.
    """
    stores = {id(store): store for store in map(store_of, kinds)}.values()
    while True:
        changes = [store.changed() for store in stores]
        found = condition()
        seen = await found if inspect.isawaitable(found) else found
        if seen:
            return seen
        await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)


def _under_way(session: Session) -> int:
    [(count,)] = session.execute("SELECT count(*) FROM kb_outbox WHERE state <> 'dead'", {})
    return int(count)


async def delivered(*kinds: Any) -> None:
    """Wait until each message that these kinds' stores hold was handled or is a dead letter."""
    for store in map(store_of, kinds):
        await until(functools.partial(_nothing_under_way, store), store)


async def _nothing_under_way(store: Store) -> bool:
    return not await store.read(_under_way)
