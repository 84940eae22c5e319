"""PostgreSQL keeps the contract of stores."""

import pytest
from tests.servers.postgres import PostgresServer

from .faults import FaultsContract, Server
from .groups import GroupsContract
from .hosts import HostsContract
from .place import Place
from .queries import QueriesContract
from .rows import RowsContract
from .schema import SchemaContract
from .taking import TakingContract
from .values import ValuesContract
from .waits import WaitsContract


@pytest.fixture
def place(postgres_url: str) -> Place:
    return Place(postgres_url, presence=True)


@pytest.fixture
def server(postgres_server: Server) -> Server:
    return postgres_server


@pytest.fixture
def spare_server(spare_postgres: Server) -> Server:
    return spare_postgres


class TestRows(RowsContract): ...


class TestTaking(TakingContract): ...


class TestValues(ValuesContract): ...


class TestGroups(GroupsContract): ...


class TestHosts(HostsContract): ...


class TestSchema(SchemaContract): ...


class TestFaults(FaultsContract): ...


class TestQueries(QueriesContract): ...


class TestWaits(WaitsContract):
    slow = "SELECT pg_sleep(60)"
    limits = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"


async def test_a_server_that_ends_idle_sessions_does_not_end_those_of_hosts(
    place: Place, postgres_server: PostgresServer
) -> None:
    name = place.url.rpartition("/")[2]
    postgres_server.sql(f"ALTER DATABASE {name} SET idle_session_timeout = 1000")
    async with place.store() as store:
        found = await store.read(lambda session: session.execute("SHOW idle_session_timeout", {}))

    assert [("0",)] == found
