"""Any other server keeps the contract of stores: KOBOSHI_TEST_STORES has their URLs, with commas between.

All tables named kb_... in those databases are dropped.
"""

import os

import pytest
import sqlalchemy as sa

from koboshi.durable.stores._sql_families import dialect_of
from koboshi.durable.stores._sql_link import open_link
from koboshi.durable.stores._sql_url import parse_url
from koboshi.durable.stores._tables import TABLES

from .groups import GroupsContract
from .hosts import HostsContract
from .place import Place
from .queries import QueriesContract
from .rows import RowsContract
from .schema import SchemaContract
from .values import ValuesContract

URLS = [url for url in os.environ.get("KOBOSHI_TEST_STORES", "").split(",") if url]
if not URLS:
    pytest.skip("KOBOSHI_TEST_STORES names no other servers", allow_module_level=True)


def drop_all(connection: sa.Connection) -> None:
    for name in (*TABLES, "kb_schema"):
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
    connection.commit()


@pytest.fixture(params=URLS)
async def place(request: pytest.FixtureRequest) -> Place:
    url = parse_url(request.param)
    link = await open_link(url, dialect_of(url))
    await link.call(lambda connection, _: drop_all(connection))
    await link.close()
    return Place(request.param)


class TestRows(RowsContract): ...


class TestValues(ValuesContract): ...


class TestGroups(GroupsContract): ...


class TestHosts(HostsContract): ...


class TestSchema(SchemaContract): ...


class TestQueries(QueriesContract): ...
