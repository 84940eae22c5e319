"""SQLite keeps the contract of stores."""

from pathlib import Path

import pytest

from .groups import GroupsContract
from .hosts import HostsContract
from .place import Place
from .queries import QueriesContract
from .rows import RowsContract
from .schema import SchemaContract
from .values import ValuesContract


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(f"sqlite:///{tmp_path / 'store.db'}", strict=False)


class TestRows(RowsContract): ...


class TestValues(ValuesContract): ...


class TestGroups(GroupsContract): ...


class TestHosts(HostsContract): ...


class TestSchema(SchemaContract): ...


class TestQueries(QueriesContract): ...
