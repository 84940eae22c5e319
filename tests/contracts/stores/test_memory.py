"""The store in memory keeps the contract of stores."""

import pytest

from .groups import GroupsContract
from .place import Place
from .queries import QueriesContract
from .rows import RowsContract
from .values import ValuesContract


@pytest.fixture
def place() -> Place:
    return Place("memory://", shared=False, strict=False)


class TestRows(RowsContract): ...


class TestValues(ValuesContract): ...


class TestGroups(GroupsContract): ...


class TestQueries(QueriesContract): ...
