"""The SQL for CockroachDB keeps the contract of stores on PostgreSQL; CockroachDB itself is not here to ask."""

from __future__ import annotations

import pytest

from koboshi.durable.stores import Engine
from koboshi.durable.stores._sql_engine import SqlEngine
from koboshi.durable.stores._sql_postgres import CockroachDialect
from koboshi.durable.stores._sql_url import parse_url

from .hosts import HostsContract
from .place import Place
from .queries import QueriesContract
from .rows import RowsContract
from .values import ValuesContract


def engine(url: str) -> Engine:
    return SqlEngine(parse_url(url), dialect=CockroachDialect())


@pytest.fixture
def place(postgres_url: str) -> Place:
    return Place(postgres_url, make=engine)


class TestRows(RowsContract): ...


class TestValues(ValuesContract): ...


class TestHosts(HostsContract): ...


class TestQueries(QueriesContract): ...
