"""A store that outlives the programs of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import world


@pytest.fixture
def store() -> Iterator[KeptStore]:
    world.clear()
    made = KeptStore()
    yield made
    made.drop()
