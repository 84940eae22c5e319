"""MariaDB keeps the contract of stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from koboshi import StatementRefused, UsageError
from koboshi.durable.stores import Change
from koboshi.durable.stores._tables import COUNTER, REQUEST

from .faults import FaultsContract, Server
from .groups import GroupsContract
from .hosts import HostsContract
from .place import Place
from .queries import QueriesContract
from .rows import COLUMNS, RowsContract, found, rows_of
from .schema import SchemaContract
from .taking import TakingContract
from .values import ValuesContract
from .waits import WaitsContract


@pytest.fixture
def place(mariadb_url: str) -> Place:
    return Place(mariadb_url, presence=True)


@pytest.fixture
def server(mariadb_server: Server) -> Server:
    return mariadb_server


@pytest.fixture
def spare_server(spare_mariadb: Server) -> Server:
    return spare_mariadb


class TestRows(RowsContract): ...


class TestTaking(TakingContract): ...


class TestValues(ValuesContract): ...


class TestGroups(GroupsContract): ...


class TestHosts(HostsContract): ...


class TestSchema(SchemaContract): ...


class TestFaults(FaultsContract): ...


class TestQueries(QueriesContract): ...


class TestWaits(WaitsContract):
    slow = "SELECT count(*) FROM seq_1_to_1000000000 WHERE SHA2(seq, 512) = 'x'"
    limits = "SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout, @@max_statement_time"


@contextmanager
def told(server: Server, **settings: str) -> Iterator[None]:
    """What the server does with all sessions that begin now."""
    before = {name: server.sql(f"SELECT @@GLOBAL.{name}") for name in settings}
    for name, value in settings.items():
        server.sql(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        for name, value in before.items():
            server.sql(f"SET GLOBAL {name} = {value if value.isdecimal() else repr(value)}")


async def test_what_a_server_does_to_everybodys_sessions_is_not_done_to_a_stores(
    place: Place, mariadb_server: Server
) -> None:
    settings = {"sql_select_limit": "1", "sql_safe_updates": "1", "completion_type": "1", "wait_timeout": "1"}
    with told(mariadb_server, **settings):
        async with place.store() as store:
            rows = rows_of(3)
            await store.change(lambda session: session.insert(COUNTER, COLUMNS, rows))

            assert {name: amount for _, name, amount in rows} == await store.read(found)
            waits = await store.read(lambda session: session.execute("SELECT @@wait_timeout >= 3600", {}))
            assert [(1,)] == waits


class TestLongStatements:
    """A server that takes none longer than a megabyte."""

    PACKET = 1 << 20

    @pytest.fixture(autouse=True)
    def short(self, mariadb_server: Server) -> Iterator[None]:
        with told(mariadb_server, max_allowed_packet=str(self.PACKET)):
            yield

    @staticmethod
    def reply(number: int, reply: bytes) -> Change[int]:
        """An operation that files a reply."""
        columns = tuple(column.name for column in REQUEST.columns)
        row = ("here", "A", "a", f"request{number}", 1, reply, 0.0)
        return Change(lambda session: session.insert(REQUEST, columns, [row]))

    async def test_rows_that_are_too_many_for_one_go_in_several(self, place: Place) -> None:
        async with place.store() as store:
            replies = [(number, b"\0" * 50_000) for number in range(40)]
            columns = tuple(column.name for column in REQUEST.columns)
            rows = [("here", "A", "a", f"request{number}", 1, reply, 0.0) for number, reply in replies]

            assert 40 == await store.change(lambda session: session.insert(REQUEST, columns, rows))

    async def test_a_row_that_fits_is_stored_and_a_larger_one_fails_alone(self, place: Place) -> None:
        # Escaped, a zero takes two bytes.
        large = self.PACKET - 40_000
        async with place.store() as store:
            fits, not_escaped, at_all = await asyncio.gather(
                store.run(self.reply(1, b"a" * large)),
                store.run(self.reply(2, b"\0" * large)),
                store.run(self.reply(3, b"a" * 2 * large)),
                return_exceptions=True,
            )

            assert 1 == fits
            for error in (not_escaped, at_all):
                assert isinstance(error, UsageError)
                assert "max_allowed_packet is 1,048,576" in str(error)

    async def test_a_statement_of_the_programs_own_that_is_too_long_fails_alone(self, place: Place) -> None:
        async with place.store() as store:
            one, long = await asyncio.gather(
                store.run(self.reply(1, b"a")),  # type: ignore[arg-type]
                store.change(
                    lambda session: session.execute("SELECT :text", {"text": "a" * 2 * self.PACKET})
                ),
                return_exceptions=True,
            )

            assert 1 == one
            assert isinstance(long, StatementRefused)
            assert "max_allowed_packet is 1,048,576" in long.detail
