"""Stores for the tests of events, and a way to look into them and to damage them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Sql = Callable[..., list[Any]]


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    return f"sqlite:///{tmp_path / 'app.db'}" if request.param == "sqlite" else f"memory://{tmp_path.name}"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "app.db")


@pytest.fixture
def sql(path: str) -> Sql:
    """Runs one statement on the file, as somebody from outside."""

    def run(text: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(path)
        try:
            found = connection.execute(text, values).fetchall()
            connection.commit()
            return found
        finally:
            connection.close()

    return run
