"""Where durable actors are tested: in memory, and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, each way that needs no server."""
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"sqlite:///{tmp_path}/app.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file for a store that outlives its program."""
    return tmp_path / "app.db"


@pytest.fixture
def url(file: Path) -> str:
    """Its URL."""
    return f"sqlite:///{file}"
