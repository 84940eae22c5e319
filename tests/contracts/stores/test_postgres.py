"""PostgreSQL keeps the contract of stores."""

import pytest

from .groups import GroupsContract
from .hosts import HostsContract
from .place import Place
from .rows import RowsContract
from .values import ValuesContract


@pytest.fixture
def place(postgres_url: str) -> Place:
    return Place(postgres_url)


class TestRows(RowsContract): ...


class TestValues(ValuesContract): ...


class TestGroups(GroupsContract): ...


class TestHosts(HostsContract): ...
