"""From a URL to a store, and one store for all that use the same URL on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from ..._kernel._bonds import hold, let_go
from ..._kernel._cell import Cell
from ..._kernel._errors import UsageError
from ..._kernel._node import Node, this_node
from ._engine import Engine
from ._sql_url import SERVERS, check_extra, parse_url, shown
from ._sqlite_engine import MemoryEngine, SqliteEngine
from ._store import LEASE, Store

__all__ = ["StoreURL", "StoreUse", "check_url", "engine_of"]

#: Where a store is: a URL, or what makes an engine (for tests that break one).
StoreURL = str | Callable[[], Engine]

_KNOWN = ", ".join(("sqlite:///PATH", "memory://NAME", *(f"{name}://..." for name in SERVERS)))


def check_url(url: StoreURL) -> None:
    """Raise `UsageError` for what is no store's URL; nothing is opened."""
    if callable(url):
        return
    if not isinstance(url, str):
        raise UsageError(f"store takes a URL, got {url!r}; known are {_KNOWN}")
    scheme, mark, rest = url.partition("://")
    family = scheme.partition("+")[0]
    if not mark or family not in ("sqlite", "memory", *SERVERS):
        raise UsageError(f"store {shown(url)!r} is no URL of a store; known are {_KNOWN}")
    if family in SERVERS:
        parse_url(url)
    if family == "sqlite" and (not rest.startswith("/") or len(rest) == 1):
        raise UsageError(
            f"store {shown(url)!r} names no file; write sqlite:///relative/path or sqlite:////absolute/path"
        )
    if family == "sqlite" and "?" in rest:
        raise UsageError(
            f"store {shown(url)!r} has options, which are for servers; leave them away, or write %3F where a file's "
            "name has a question mark: sqlite:///path"
        )


def engine_of(url: StoreURL) -> Engine:
    """The engine for a URL; nothing is opened.

    Raises:
        UsageError: it is no URL of a store.
        ExtraNeeded: its client is not installed.
    """
    check_url(url)
    if callable(url):
        return url()
    scheme, _, rest = url.partition("://")
    family = scheme.partition("+")[0]
    if family == "sqlite":
        return SqliteEngine(unquote(rest[1:]))
    if family == "memory":
        return MemoryEngine(rest)
    return _server_engine(url)


def _server_engine(url: str) -> Engine:
    server = parse_url(url)
    check_extra(server)
    from ._sql_engine import SqlEngine  # half a second of imports that a file does not need

    return SqlEngine(server)


class _Shared:
    """A store and how many use it."""

    def __init__(self) -> None:
        self.users = 0
        self.opening: asyncio.Task[Store] | None = None


async def _opened(url: StoreURL, lease: float) -> Store:
    store = Store(engine_of(url), lease=lease)
    await store.open()
    return store


class StoreUse:
    """One process's use of a store; it ends with the process, or before by `end`."""

    def __init__(self, node: Node, url: StoreURL, shared: _Shared, cell: Cell, store: Store) -> None:
        self._node = node
        self._url = url
        self._shared: _Shared | None = shared
        self._cell = cell
        self.store = store
        hold(cell, self)

    @classmethod
    async def begin(cls, url: StoreURL, cell: Cell, *, lease: float = LEASE) -> StoreUse:
        """Open the store, unless somebody on this loop has it open already.

        Raises:
            StoreUnusable, StoreUnavailable: as `Store.open`.
        """
        node = this_node()
        stores: dict[StoreURL, _Shared] = node.services.setdefault("koboshi.stores", {})
        while True:
            shared = stores.get(url)
            if shared is None:
                shared = stores[url] = _Shared()
            shared.users += 1
            try:
                if shared.opening is None:
                    shared.opening = asyncio.get_running_loop().create_task(_opened(url, lease))
                store = await asyncio.shield(shared.opening)
                return cls(node, url, shared, cell, store)
            except BaseException:
                await _leave(stores, url, shared)
                raise

    async def end(self) -> None:
        """Close the store if nobody else uses it."""
        shared, self._shared = self._shared, None
        if shared is not None:
            let_go(self._cell, self)
            await _leave(self._node.services["koboshi.stores"], self._url, shared)

    def owner_ended(self, cell: Cell) -> None:
        """The process was killed: nobody else will end its use."""
        shared, self._shared = self._shared, None
        if shared is not None:
            closing = asyncio.ensure_future(_leave(self._node.services["koboshi.stores"], self._url, shared))
            self._node.unfinished.add(closing)
            closing.add_done_callback(self._node.unfinished.discard)


async def _leave(stores: dict[StoreURL, Any], url: StoreURL, shared: _Shared) -> None:
    shared.users -= 1
    if shared.users:
        return
    if stores.get(url) is shared:
        del stores[url]
    opening = shared.opening
    if opening is None:
        return
    await asyncio.wait([opening])
    if not opening.cancelled() and opening.exception() is None:
        await opening.result().close()
