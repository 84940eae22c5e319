"""What every engine of a server does when the server or the way to it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from koboshi.durable._failures import DurableError, OutcomeUnknown, StoreUnavailable
from koboshi.durable.stores import Store, engine_of
from koboshi.durable.stores._tables import COUNTER

from .groups import add
from .place import Place
from .proxy import Proxy
from .rows import COLUMNS, found

# Seconds within which a store must say that it cannot be reached.
BOUND = 8.0


class Server(Protocol):
    """What a test can do to a server."""

    port: int

    def url(self, database: str, port: int | None = None) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def sql(self, text: str) -> str: ...


class FaultsContract:
    """Faults; a subclass has the fixtures `place`, `server` and `spare_server`, which it may kill."""

    @pytest.fixture
    async def proxy(self, server: Server) -> AsyncIterator[Proxy]:
        proxy = Proxy(server.port)
        await proxy.start()
        yield proxy
        await proxy.close()

    @pytest.fixture
    async def store(self, place: Place, server: Server, proxy: Proxy) -> AsyncIterator[Store]:
        """A store that reaches the server by the proxy."""
        url = server.url(place.url.rpartition("/")[2], proxy.port)
        store = Store(engine_of(f"{url}?statement_timeout=2&connect_timeout=2"))
        await store.open()
        yield store
        proxy.refuse = False
        await store.close()

    async def seen(self, place: Place) -> dict[str, int]:
        """What is in the database, by a way of its own."""
        async with place.store() as other:
            return await other.read(found)

    async def test_a_commit_that_never_arrived_is_reported_as_such(
        self, place: Place, proxy: Proxy, store: Store
    ) -> None:
        proxy.cut = "before"
        with pytest.raises(StoreUnavailable):
            await store.run(add("lost"))

        assert {} == await self.seen(place)
        assert 1 == await store.run(add("next"))
        assert {"next": 0} == await self.seen(place)

    @pytest.mark.slow
    @pytest.mark.parametrize("cut", ["after", "late"])
    async def test_a_commit_whose_answer_got_lost_is_found_and_told(
        self, place: Place, proxy: Proxy, store: Store, cut: str
    ) -> None:
        proxy.cut = cut  # type: ignore[assignment]

        assert 1 == await store.run(add("kept", 7))
        assert {"kept": 7} == await self.seen(place)
        assert 1 == await store.run(add("next"))

    @pytest.mark.slow
    @pytest.mark.parametrize(("cut", "there"), [("before", {}), ("after", {"doubtful": 3})])
    async def test_a_commit_that_cannot_be_looked_up_is_unknown(
        self, place: Place, proxy: Proxy, store: Store, cut: str, there: dict[str, int]
    ) -> None:
        proxy.cut, proxy.refuse_after_cut = cut, True  # type: ignore[assignment]
        with pytest.raises(OutcomeUnknown):
            await store.run(add("doubtful", 3))
        with pytest.raises(StoreUnavailable):
            await store.run(add("later"))

        assert there == await self.seen(place)
        proxy.refuse = False
        assert 1 == await store.run(add("again"))

    async def test_the_end_of_an_idle_connection_is_no_failure(
        self, place: Place, proxy: Proxy, store: Store
    ) -> None:
        await store.run(add("one"))
        proxy.cut_all()

        assert 1 == await store.run(add("two"))
        assert {"one": 0, "two": 0} == await self.seen(place)

    @pytest.mark.slow
    async def test_a_server_that_says_nothing_is_unavailable_after_a_bounded_wait(
        self, place: Place, proxy: Proxy, store: Store
    ) -> None:
        proxy.silent = True
        async with asyncio.timeout(BOUND):
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await store.run(add("unheard"))
        proxy.silent = False

        assert {} == await self.seen(place)
        assert 1 == await store.run(add("heard"))

    @pytest.mark.slow
    async def test_a_server_that_was_killed_is_unavailable_until_it_is_back(
        self, spare_server: Server
    ) -> None:
        spare_server.sql("CREATE DATABASE spare")
        place = Place(spare_server.url("spare"))
        async with place.store() as store:
            await store.change(lambda session: session.insert(COUNTER, COLUMNS, [("here", "before", 1)]))
            spare_server.kill()
            try:
                async with asyncio.timeout(BOUND):
                    for name in ("one", "two", "three"):
                        with pytest.raises(StoreUnavailable):
                            await store.run(add(name))
                    with pytest.raises(StoreUnavailable):
                        await Store(place.engine()).open()
            finally:
                spare_server.start()

            assert {"before": 1} == await store.read(found)
            assert 1 == await store.run(add("after", 2))
            assert {"before": 1, "after": 2} == await self.seen(place)

    async def test_a_database_that_is_not_there_is_unavailable(self, place: Place, server: Server) -> None:
        with pytest.raises(DurableError, match="nowhere"):
            await Store(engine_of(server.url("nowhere"))).open()
