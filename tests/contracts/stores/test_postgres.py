"""PostgreSQL keeps the contract of stores."""

import pytest

from .faults import FaultsContract, Server
from .groups import GroupsContract
from .hosts import HostsContract
from .place import Place
from .queries import QueriesContract
from .rows import RowsContract
from .schema import SchemaContract
from .taking import TakingContract
from .values import ValuesContract


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
